package policy

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// sessionRules decides on the commands of one session. Deny wins over RequireApproval,
// that over Allow, that over Audit, that over the grant's access level.
type sessionRules struct {
	engine string
	rules  *ruleSet
	masks  *masks
	grant  v1alpha1.RuleReference
	level  v1alpha1.AccessLevel
	// session is what expressions may know of it.
	session *sessionFacts
	// last is the decision that was taken last: commands are repeated, mostly.
	last atomic.Pointer[decided]
}

// decided is a decision and all that it followed from besides the rules. Facts are never
// changed once they are made.
type decided struct {
	facts         *sql.Facts
	inTransaction bool
	decision      Decision
}

// ruleSet is what governs the commands on one Target. Each list is ordered: rules of the
// root namespace first, then by namespace and name.
type ruleSet struct {
	baseline                    []*BaselineRule
	deny, approve, allow, audit []*commandRule
}

// Decide decides on one command as a whole.
func (s *sessionRules) Decide(c *Command) Decision {
	if c == nil {
		return Decision{Refusal: refuseUnknown(c)}
	}
	if l := s.last.Load(); l != nil && c.Engine == s.engine && l.facts == c.SQL && l.inTransaction == c.InTransaction {
		return l.decision
	}
	d := s.judge(c)
	if d.Action == Allow && len(d.Audit) == 0 {
		s.last.Store(&decided{facts: c.SQL, inTransaction: c.InTransaction, decision: d})
	}
	return d
}

// understands reports whether a command can be decided on.
func (s *sessionRules) understands(c *Command) bool {
	return c != nil && c.Engine == s.engine && c.SQL != nil && c.SQL.Known && isSound(c.SQL)
}

func (s *sessionRules) judge(c *Command) Decision {
	if !s.understands(c) {
		return Decision{Refusal: refuseUnknown(c)}
	}
	q := &question{facts: c.SQL, session: s.session, inTransaction: c.InTransaction}
	// The decision comes first: what it costs must not depend on rules that only mark.
	d := s.decide(q)
	for _, r := range s.rules.audit {
		if governs, _ := r.governs(q); governs {
			d.Audit = append(d.Audit, r.ref)
		}
	}
	return d
}

func (s *sessionRules) decide(q *question) Decision {
	f := q.facts
	if d, denied := s.denied(q); denied {
		return d
	}
	var exception v1alpha1.RuleReference
	if d, lifted := s.calls(q); d != nil {
		return *d
	} else if lifted != nil {
		exception = lifted.ref
	}
	for i := range f.Nodes {
		if within(s.level, f.Nodes[i].Group) {
			continue
		}
		r := s.exception(func(r *commandRule) bool { return r.admits(&f.Nodes[i], q) })
		if r == nil {
			return s.beyond(&f.Nodes[i])
		}
		exception = r.ref
	}
	if r := s.strictest(q); r != nil {
		return Decision{Action: RequireApproval, Rule: r.ref, Terms: r.terms, Message: r.message}
	}
	return Decision{Action: Allow, Rule: exception}
}

// refuseUnknown refuses a command that cannot be decided on.
func refuseUnknown(c *Command) *Refusal {
	r := &Refusal{Code: CodeUnknownCommand, Message: "the command is not understood, and what is not understood is denied",
		Hint: "write the command in another way, or ask an administrator"}
	if c != nil && c.SQL != nil && c.SQL.Unknown != "" {
		r.Message = "the command is denied because it is not understood: " + Printable(c.SQL.Unknown, maxShownText)
		r.point(&c.SQL.Fault)
	}
	return r
}

// What to do about a refusal that keeps masks, where the fault says nothing better.
const (
	hintMasked = "select masked columns as plain output columns, and leave them out of conditions, joins, sorting and expressions;" +
		" docs/masking.md says what a rule can admit (predicates: Equality, expressions: MaskOutput)"
	hintOtherwise = "write it in a plainer way; docs/masking.md says what is taken where columns are masked"
)

// point adds what a fault says.
func (r *Refusal) point(f *sql.Fault) {
	r.Fault, r.Position = f.Kind, f.Position
	if f.Advice != "" {
		r.Hint = Printable(f.Advice, maxShownText)
	}
}

// isSound reports whether facts speak of known things alone and do not contradict
// themselves; otherwise they are as good as none.
func isSound(f *sql.Facts) bool {
	if f.Statements < 0 || (f.Statements == 0) != (len(f.Nodes) == 0) {
		return false
	}
	if f.Statements == 0 && len(f.Relations)+len(f.Functions)+len(f.Attributes)+len(f.Features) > 0 {
		return false
	}
	for i := range f.Nodes {
		if !knownStatements[f.Nodes[i].Kind] || !slices.Contains(knownGroups, f.Nodes[i].Group) {
			return false
		}
	}
	for _, feature := range f.Features {
		if !knownFeatures[feature] {
			return false
		}
	}
	return true
}

// denied asks the baseline, the Deny rules and the masks. None of them can be overruled.
func (s *sessionRules) denied(q *question) (Decision, bool) {
	f := q.facts
	for _, b := range s.rules.baseline {
		if !b.liftable && b.matches(f) {
			return deniedByBaseline(b), true
		}
	}
	for _, r := range s.rules.deny {
		if governs, undecided := r.governs(q); governs {
			return deniedByRule(r, undecided), true
		}
	}
	if f.MaskViolation != "" && !s.masks.Empty() {
		rule := s.masks.behind(f.MaskedColumn)
		r := &Refusal{Code: CodeMaskedColumn, Rule: RuleName(rule), Hint: hintOtherwise,
			Message: withMessage("the command is denied to keep masked columns masked", Printable(f.MaskViolation, maxShownText))}
		switch {
		case f.Fault.Kind != "":
			r.Message = Printable(f.MaskViolation, maxShownText)
		case f.MaskedColumn != "":
			r.Hint = hintMasked
		}
		r.point(&f.Fault)
		return Decision{Rule: rule, Refusal: r}, true
	}
	return Decision{}, false
}

// calls decides on calls whose effect is not established. Whatever the access level, they
// need a rule that names every function of the command. It returns the denial, or the
// rule that admits the calls.
func (s *sessionRules) calls(q *question) (*Decision, *commandRule) {
	f := q.facts
	for _, b := range s.rules.baseline {
		if !b.liftable || !b.matches(f) {
			continue
		}
		r := s.exception(func(r *commandRule) bool {
			return slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return r.admitsFunctions(&n, q) })
		})
		if r == nil {
			d := deniedByBaseline(b)
			return &d, nil
		}
		return nil, r
	}
	return nil, nil
}

// exception returns the first rule that admits what the default would refuse: an Allow
// rule, or one that asks humans.
func (s *sessionRules) exception(admits func(*commandRule) bool) *commandRule {
	for _, rules := range [...][]*commandRule{s.rules.allow, s.rules.approve} {
		if i := slices.IndexFunc(rules, admits); i >= 0 {
			return rules[i]
		}
	}
	return nil
}

// strictest returns the rule whose terms hold where several ask for approval: one of the
// root namespace before all others, then the one that requires most approvers, then the
// one with the shortest timeout, then the first by namespace and name.
func (s *sessionRules) strictest(q *question) *commandRule {
	var best *commandRule
	for _, r := range s.rules.approve {
		if best != nil && (best.root != r.root || !stricter(r.terms, best.terms)) {
			continue
		}
		if governs, _ := r.governs(q); governs {
			best = r
		}
	}
	return best
}

func stricter(a, b *v1alpha1.ApprovalTerms) bool {
	return cmp.Or(cmp.Compare(b.Required, a.Required), cmp.Compare(a.Timeout.Duration, b.Timeout.Duration)) < 0
}

func (s *sessionRules) beyond(n *sql.Node) Decision {
	return Decision{Rule: s.grant, Refusal: &Refusal{Code: CodeDeniedByAccess, Rule: RuleName(s.grant),
		Message: fmt.Sprintf("the grant permits access %s, and %s statements of group %s are beyond it", s.level, n.Kind, n.Group),
		Hint:    "ask for a grant with more access"}}
}

// deniedByRule refuses a command. undecided says that the rule's expression could not be
// evaluated for it.
func deniedByRule(r *commandRule, undecided error) Decision {
	sentence := fmt.Sprintf("%s denies the command", RuleName(r.ref))
	if undecided != nil {
		sentence += ", because its expression cannot be evaluated for it"
	}
	return Decision{Rule: r.ref, Message: r.message, Refusal: &Refusal{Code: CodeDeniedByRule, Rule: RuleName(r.ref),
		Message: withMessage(sentence, r.message), Hint: "change the command, or ask the owner of the rule"}}
}

func deniedByBaseline(b *BaselineRule) Decision {
	return Decision{Rule: b.Reference(), Refusal: &Refusal{Code: CodeDeniedByRule, Rule: RuleName(b.Reference()),
		Message: fmt.Sprintf("baseline rule %s denies: %s", b.Name, b.Denies),
		Hint:    "docs/baseline.md says why; an administrator can switch the rule off for a Target in spec.baseline.disable"}}
}

func withMessage(sentence, message string) string {
	if message == "" {
		return sentence
	}
	return sentence + ": " + message
}
