package policy

import (
	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// Action is what happens to a command. The zero value denies.
type Action uint8

// The actions.
const (
	Deny Action = iota
	RequireApproval
	Allow
)

// Decision is the outcome for one command. The zero Decision denies.
type Decision struct {
	Action Action
	// Rule decided; its zero value where the default did.
	Rule v1alpha1.RuleReference
	// Refusal tells the client why; set where Action is Deny.
	Refusal *Refusal
	// Terms and Message of the rule, where Action is RequireApproval.
	Terms   *v1alpha1.ApprovalTerms
	Message string
	// Audit lists the Audit rules that matched.
	Audit []v1alpha1.RuleReference
}

// Parameter is one bound value. Text is the value as text, or empty for Null; a binary
// value is in hex with Binary set.
type Parameter struct {
	Text   string
	Null   bool
	Binary bool
	Type   uint32 // OID in PostgreSQL
}

// Command is one request of a client, to be decided as a whole.
type Command struct {
	// Engine is the protocol, for example "postgres".
	Engine string
	// Text is the exact command, Parameters its bound values. Both are borrowed: they are
	// valid only during the call they are passed to.
	Text       []byte
	Parameters []Parameter
	// SQL is what is known of the command; nil is unknown.
	SQL *sql.Facts
	// Kubernetes is what is known of a request to a Kubernetes API server; nil is unknown.
	Kubernetes *kubeapi.Facts
	// SSH is what is known of a request to an SSH server; nil is unknown.
	SSH *sshapi.Facts
	// InTransaction says that the client has an open transaction.
	InTransaction bool
	// EstimatedRows is how many rows the target expects the command to change or return; nil
	// if that is not known. It is for approvers alone: a client could learn from it.
	EstimatedRows *int64
	// Context is what gives the command its meaning: database, role, searchPath.
	Context map[string]string
}
