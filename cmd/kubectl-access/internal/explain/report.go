package explain

import (
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Outcome is what would happen to a statement.
type Outcome string

// The outcomes.
const (
	Allowed       Outcome = "Allowed"
	Denied        Outcome = "Denied"
	NeedsApproval Outcome = "NeedsApproval"
	// NotEstablished says that the rules let the statement pass as it is, and that masks,
	// without the database, were not looked at.
	NotEstablished Outcome = "NotEstablished"
)

// Report says what would happen to a statement and why. Its JSON form is an interface.
type Report struct {
	Outcome  Outcome   `json:"outcome"`
	Rule     string    `json:"rule,omitempty"` // that decided
	Client   *Client   `json:"client,omitempty"`
	Approval *Approval `json:"approval,omitempty"`
	Audit    []string  `json:"audit,omitempty"`

	Target   string `json:"target"`
	Grant    string `json:"grant,omitempty"`
	Access   string `json:"access"`
	Database string `json:"database,omitempty"`
	// Namespace is that of the pod that a command is for.
	Namespace string `json:"namespace,omitempty"`
	// Login is the account on a host that a command is for.
	Login string `json:"login,omitempty"`

	Understood bool       `json:"understood"`
	Unknown    string     `json:"unknown,omitempty"` // why a command is not understood
	Programs   []Program  `json:"programs,omitempty"`
	Statements []Node     `json:"statements,omitempty"`
	Relations  []Relation `json:"relations,omitempty"`
	Functions  []string   `json:"functions,omitempty"`
	Attributes []string   `json:"attributes,omitempty"`
	Features   []Feature  `json:"features,omitempty"`
	Masks      Masks      `json:"masks,omitzero"`
	Outputs    []Output   `json:"outputs,omitempty"`
	Findings   []Finding  `json:"findings,omitempty"`
}

// Program is one that a command starts, or a builtin of the shell.
type Program struct {
	Words []string `json:"words"`
	// Transparent says that it only starts others, and needs no place in a list.
	Transparent bool `json:"transparent,omitempty"`
	// Opaque says why it is not known what it does.
	Opaque string `json:"opaque,omitempty"`
	// Files are opened for it by redirection.
	Files []string `json:"files,omitempty"`
}

// Client is what a client would be told.
type Client struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Approval is who would have to approve.
type Approval struct {
	Required      int32    `json:"required"`
	Approvers     []string `json:"approvers"`
	Timeout       string   `json:"timeout"`
	WhilePending  string   `json:"whilePending"`
	InTransaction string   `json:"inTransaction"`
}

// Node is one statement of the text, or one nested in it.
type Node struct {
	Kind       string `json:"kind"`
	Group      string `json:"group"`
	Object     string `json:"object,omitempty"`
	Unfiltered bool   `json:"unfiltered,omitempty"`
	// Within says that the access level includes it.
	Within bool `json:"withinAccess"`
}

// Relation is one that the statement uses. Schema is empty if it is not known.
type Relation struct {
	Schema string `json:"schema,omitempty"`
	Name   string `json:"name,omitempty"`
	Write  bool   `json:"write,omitempty"`
}

// Feature is a construct that a baseline rule names.
type Feature struct {
	Name string `json:"name"`
	// Rule is the baseline rule that denies it; empty for one that none denies.
	Rule string `json:"rule,omitempty"`
	// Disabled says that the Target has switched the rule off.
	Disabled bool `json:"disabled,omitempty"`
}

// MaskState says what is known of masked columns.
type MaskState string

// The states of masks.
const (
	MasksNone           MaskState = "None"        // no MaskingRule selects the Target
	MasksEstablished    MaskState = "Established" // each output is known
	MasksNotEstablished MaskState = "NotEstablished"
	MasksViolated       MaskState = "Violated"
)

// Masks says what is known of masked columns.
type Masks struct {
	State   MaskState `json:"state"`
	Message string    `json:"message,omitempty"`
	Column  string    `json:"column,omitempty"`
}

// Output is one column of the result.
type Output struct {
	Name string `json:"name,omitempty"` // as the database calls it
	// Masked is the rule that masks the column; Withheld says that its origin is not known.
	Masked   string `json:"masked,omitempty"`
	Withheld bool   `json:"withheld,omitempty"`
}

// Finding is one rule that speaks of the statement.
type Finding struct {
	Rule   string `json:"rule"`
	Action string `json:"action"`
	Item   *int   `json:"item,omitempty"` // index in spec.match
	// Undecided says why the item's expression could not be evaluated.
	Undecided string `json:"undecided,omitempty"`
	// Unqualified says that the rule matches because a relation is named without its schema.
	Unqualified bool   `json:"unqualified,omitempty"`
	Message     string `json:"message,omitempty"`
}

func (r *Report) takeFacts(f *sql.Facts, beyond []sql.Node, a *policy.Admission) {
	r.Understood = f.Known
	for _, n := range f.Nodes {
		within := true
		for _, b := range beyond {
			within = within && b != n
		}
		r.Statements = append(r.Statements, Node{string(n.Kind), string(n.Group), n.Object, n.Unfiltered, within})
	}
	for _, x := range f.Relations {
		r.Relations = append(r.Relations, Relation{x.Schema, x.Name, x.Write})
	}
	for _, x := range f.Functions {
		name := x.Name
		if x.Schema != "" {
			name = x.Schema + "." + name
		}
		r.Functions = append(r.Functions, name)
	}
	r.Attributes = f.Attributes
	disabled := map[string]bool{}
	if b := a.Target.Spec.Baseline; b != nil {
		for _, name := range b.Disable {
			disabled[name] = true
		}
	}
	for _, name := range f.Features {
		rule := policy.BaselineFor(name)
		r.Features = append(r.Features, Feature{name, rule, disabled[rule]})
	}
}

func (r *Report) takeDecision(e policy.Explanation) {
	d := e.Decision
	r.Rule, r.Audit = policy.RuleName(d.Rule), nil
	for _, ref := range d.Audit {
		r.Audit = append(r.Audit, policy.RuleName(ref))
	}
	switch d.Action {
	case policy.Allow:
		r.Outcome = Allowed
	case policy.RequireApproval:
		r.Outcome = NeedsApproval
		r.Client = &Client{Code: string(policy.CodeApprovalPending), Message: r.Rule + " holds the command until it is approved"}
		if d.Message != "" {
			r.Client.Message += ": " + d.Message
		}
		if t := d.Terms; t != nil {
			r.Approval = &Approval{Required: t.Required, Timeout: t.Timeout.Duration.String(), WhilePending: string(t.WhilePending), InTransaction: string(t.InTransaction)}
			for _, s := range t.Approvers {
				name := s.Name
				if s.Namespace != "" {
					name = s.Namespace + "/" + name
				}
				r.Approval.Approvers = append(r.Approval.Approvers, string(s.Kind)+" "+name)
			}
		}
	default:
		r.refused(d.Refusal)
	}
	for _, f := range e.Findings {
		out := Finding{Rule: policy.RuleName(f.Rule), Action: string(f.Action), Unqualified: f.Unqualified, Message: f.Message}
		if f.Item >= 0 {
			out.Item = &f.Item
		}
		if f.Undecided != nil {
			out.Undecided = f.Undecided.Error()
		}
		r.Findings = append(r.Findings, out)
	}
}

func (r *Report) refused(refusal *policy.Refusal) {
	r.Outcome, r.Rule = Denied, refusal.Rule
	r.Client = &Client{Code: string(refusal.Code), Message: refusal.Message, Hint: refusal.Hint}
}
