package policy

import (
	"fmt"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Code is a stable, machine-readable reason of a refusal. docs/refusals.md lists them with
// what to do about each.
type Code string

// The codes. They are part of the product's interface and never change their meaning.
const (
	CodeAuthentication   Code = "CDA-1001" // credential wrong, expired or unknown
	CodeGrantInactive    Code = "CDA-1002" // grant not accepted, not approved or not started
	CodeGrantExpired     Code = "CDA-1003"
	CodeGrantRevoked     Code = "CDA-1004" // revoked or deleted
	CodeLocked           Code = "CDA-1005" // an AccessLock matches
	CodeNotPermitted     Code = "CDA-1006" // database, login or namespace outside the grant
	CodeTargetShut       Code = "CDA-1007" // target missing, invalid, or a required rule missing
	CodeUpstream         Code = "CDA-1008" // target cannot be reached or refused the proxy
	CodeStale            Code = "CDA-1009" // policy not proven fresh
	CodeTerminated       Code = "CDA-1010" // session terminated by an administrator
	CodeRecorder         Code = "CDA-1011" // recording not possible
	CodeLimit            Code = "CDA-1012" // a bound on size, count or time
	CodeProtocol         Code = "CDA-1013" // the client broke the protocol
	CodeShutdown         Code = "CDA-1014" // the proxy stops
	CodeIdle             Code = "CDA-1015" // nothing was sent for too long
	CodePolicy           Code = "CDA-1016" // no AccessPolicy admits the grant, or one refuses it
	CodeDeniedByRule     Code = "CDA-2001" // a CommandRule or baseline rule denies
	CodeDeniedByAccess   Code = "CDA-2002" // beyond the grant's access level
	CodeUnknownCommand   Code = "CDA-2003" // not understood
	CodeMaskedColumn     Code = "CDA-2004" // use of a masked column other than as plain output
	CodeApprovalPending  Code = "CDA-3001" // approve, then send again
	CodeApprovalDenied   Code = "CDA-3002"
	CodeApprovalTimeout  Code = "CDA-3003"
	CodeApprovalFailed   Code = "CDA-3004" // could not be asked, or no longer valid
	CodeDefinitionChange Code = "CDA-2005" // a definition changed between analysis and execution
)

// Refusal is an error that a client may see. An engine renders it in its protocol.
// Message and Hint are sentences that hold no literal, row or credential.
type Refusal struct {
	Code    Code
	Rule    string // kind/namespace/name of what refused, empty if nothing by name
	Request string // name of the ApprovalRequest, if there is one
	Message string // what was refused and by what
	Hint    string // what to do next
	// Fault and Position are of the command's text, as in sql.Fault.
	Fault    sql.FaultKind
	Position int
}

// Error returns code and message.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Message) }
