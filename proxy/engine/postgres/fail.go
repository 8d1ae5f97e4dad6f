package postgres

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// SQLSTATEs that the gate itself answers with.
const (
	stateProtocol       = "08P01"
	stateConnection     = "08006"
	stateAuthorization  = "28000"
	statePassword       = "28P01"
	stateNoStatement    = "26000"
	stateNoPortal       = "34000"
	statePrivilege      = "42501"
	stateTooMany        = "53300"
	stateLimit          = "54000"
	stateCanceled       = "57014"
	stateShutdown       = "57P01"
	stateIdle           = "57P05"
	stateSyntax         = "42601"
	stateNoColumn       = "42703"
	stateNoRelation     = "42P01"
	stateNoDatabase     = "3D000"
	stateCannotConnect  = "57P03"
	stateFailed         = "25P02"
	stateInvalidSetting = "22023"
	stateSystem         = "58000"
)

// failure is an error as the protocol tells it: ErrorResponse or NoticeResponse without
// the severity.
type failure struct {
	state   string
	message string
	detail  string
	hint    string
	at      int    // position in the text, in characters from 1; zero for none
	routine string // of the target's source
	ours    bool   // in place of what the target says
}

// Error returns the message; a failure holds nothing that a client may not see.
func (f *failure) Error() string { return f.message }

// response returns an ErrorResponse or NoticeResponse.
func (f *failure) response(kind byte, severity string) []byte {
	m := beginMessage(nil, kind)
	position := ""
	if f.at > 0 {
		position = strconv.Itoa(f.at)
	}
	for _, field := range []struct {
		code byte
		text string
	}{{'S', severity}, {'V', severity}, {'C', f.state}, {'M', f.message}, {'D', f.detail}, {'H', f.hint}, {'P', position}, {'R', f.routine}} {
		if field.text != "" {
			m = appendString(append(m, field.code), strings.ReplaceAll(field.text, "\x00", ""))
		}
	}
	return endMessage(append(m, 0), 0)
}

// during is the moment of a refusal; the same refusal has another SQLSTATE at sign-in.
type during int

const (
	duringSignIn during = iota
	duringSession
)

// failureOf renders an error. Only refusals and failures say what they are: the text of
// another error may hold anything.
func failureOf(err error, when during) *failure {
	if f := new(failure); errors.As(err, &f) {
		return f
	}
	if end := new(sessionEnd); errors.As(err, &end) {
		err = end.refusal
	}
	r := new(policy.Refusal)
	if !errors.As(err, &r) {
		return &failure{state: stateShutdown, message: string(policy.CodeShutdown) + ": the session was ended",
			hint: "connect again; an administrator finds the cause in the proxy's log"}
	}
	f := &failure{state: stateOf(r.Code, when), message: r.Error(), hint: r.Hint, at: r.Position}
	if state, ok := faultStates[r.Fault]; ok {
		f.state = state
	}
	var detail []string
	if r.Rule != "" {
		detail = append(detail, "Rule: "+r.Rule+".")
	}
	if r.Request != "" {
		detail = append(detail, "ApprovalRequest: "+r.Request+".")
	}
	f.detail = strings.Join(detail, " ")
	return f
}

// faultStates are the server's own SQLSTATEs for faults of the client's, which programs look
// for.
var faultStates = map[sql.FaultKind]string{sql.FaultSyntax: stateSyntax, sql.FaultNoRelation: stateNoRelation, sql.FaultNoColumn: stateNoColumn,
	sql.FaultNoDatabase: stateNoDatabase}

func stateOf(code policy.Code, when during) string {
	switch code {
	case policy.CodeAuthentication:
		return statePassword
	case policy.CodeGrantInactive, policy.CodeGrantExpired, policy.CodeGrantRevoked, policy.CodeLocked, policy.CodeNotPermitted, policy.CodePolicy:
		if when == duringSignIn {
			return stateAuthorization
		}
	case policy.CodeTargetShut, policy.CodeStale, policy.CodeShutdown:
		if when == duringSignIn {
			return stateCannotConnect
		}
	case policy.CodeTerminated: // at any time
	case policy.CodeIdle:
		return stateIdle
	case policy.CodeUpstream:
		return stateConnection
	case policy.CodeRecorder:
		return stateSystem
	case policy.CodeLimit:
		if when == duringSignIn {
			return stateTooMany
		}
		return stateLimit
	case policy.CodeProtocol:
		return stateProtocol
	case policy.CodeDeniedByRule, policy.CodeDeniedByAccess, policy.CodeUnknownCommand, policy.CodeMaskedColumn,
		policy.CodeApprovalPending, policy.CodeApprovalDenied, policy.CodeApprovalTimeout, policy.CodeApprovalFailed,
		policy.CodeDefinitionChange:
		return statePrivilege
	}
	return stateShutdown
}
