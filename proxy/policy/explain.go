package policy

import (
	"slices"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// Explanation says how a decision came about.
type Explanation struct {
	Decision Decision
	// Findings are all rules that speak of the command, those that cannot be overruled
	// first, whether or not they decided.
	Findings []Finding
	// Beyond are the statements that the access level by itself does not include.
	Beyond []sql.Node
}

// Finding is one rule that speaks of a command.
type Finding struct {
	Rule   v1alpha1.RuleReference
	Action v1alpha1.RuleAction
	// Item is the index in spec.match of what matches; -1 for a rule that ships with the
	// product.
	Item int
	// Undecided says why the item's expression could not be evaluated, if so: such a rule
	// applies, unless it allows.
	Undecided error
	// Unqualified says that the item matches only because the command names a relation
	// without its schema, which is then taken for that of any.
	Unqualified bool
	Message     string
}

// Explain decides on a command as rules would, and says which of them speak of it. Rules
// that are not those of an Admission are asked for their decision alone.
func Explain(rules Rules, c *Command) Explanation {
	e := Explanation{Decision: rules.Decide(c)}
	if s, is := rules.(*requestRules); is && c.Kubernetes != nil && c.Kubernetes.Known {
		e.Findings = s.findings(c.Kubernetes)
	}
	if s, is := rules.(*sshRules); is && c.SSH != nil && c.SSH.Known {
		e.Findings = s.findings(c.SSH)
	}
	s, ours := rules.(*sessionRules)
	if !ours || !s.understands(c) {
		return e
	}
	q := &question{facts: c.SQL, session: s.session, inTransaction: c.InTransaction}
	for _, b := range s.rules.baseline {
		if b.matches(c.SQL) {
			e.Findings = append(e.Findings, Finding{Rule: b.Reference(), Action: v1alpha1.ActionDeny, Item: -1, Message: b.Denies})
		}
	}
	for _, list := range [][]*commandRule{s.rules.deny, s.rules.approve, s.rules.allow, s.rules.audit} {
		for _, r := range list {
			e.Findings = append(e.Findings, r.findings(q)...)
		}
	}
	for _, n := range c.SQL.Nodes {
		if !within(s.level, n.Group) {
			e.Beyond = append(e.Beyond, n)
		}
	}
	return e
}

// findings returns the rules that speak of a request.
func (s *requestRules) findings(f *kubeapi.Facts) []Finding {
	var found []Finding
	for _, b := range s.rules.baseline {
		if b.request != nil && b.request(f) {
			found = append(found, Finding{Rule: b.Reference(), Action: v1alpha1.ActionDeny, Item: -1, Message: b.Denies})
		}
	}
	for _, list := range [][]*commandRule{s.rules.deny, s.rules.approve, s.rules.allow, s.rules.audit} {
		for _, r := range list {
			for i := range r.matches {
				m := &r.matches[i]
				applies := m.about(f) && (m.shell == nil || started(f) != nil && m.shell.matches(started(f)))
				if r.action == v1alpha1.ActionAllow {
					applies = m.about(f) && m.shell != nil && m.shell.admits(started(f))
				}
				if applies {
					found = append(found, Finding{Rule: r.ref, Action: r.action, Item: i, Message: r.message})
				}
			}
		}
	}
	return found
}

// findings returns the rules that speak of a request.
func (s *sshRules) findings(f *sshapi.Facts) []Finding {
	var found []Finding
	for _, b := range s.rules.baseline {
		if b.ssh != nil && b.ssh(f) {
			found = append(found, Finding{Rule: b.Reference(), Action: v1alpha1.ActionDeny, Item: -1, Message: b.Denies})
		}
	}
	for _, list := range [][]*commandRule{s.rules.deny, s.rules.approve, s.rules.allow, s.rules.audit} {
		for _, r := range list {
			for i := range r.matches {
				m := &r.matches[i]
				applies := m.concernsSSH(f)
				if r.action == v1alpha1.ActionAllow {
					applies = m.aboutSSH(f) && m.shell != nil && startedSSH(f) != nil && m.shell.admits(startedSSH(f))
				}
				if applies {
					found = append(found, Finding{Rule: r.ref, Action: r.action, Item: i, Message: r.message})
				}
			}
		}
	}
	return found
}

// findings returns the items of the rule that speak of a command.
func (r *commandRule) findings(q *question) []Finding {
	var found []Finding
	for i := range r.matches {
		m := &r.matches[i]
		applies, undecided := m.matches(q)
		if r.action == v1alpha1.ActionAllow {
			applies = undecided != nil || slices.ContainsFunc(q.facts.Nodes, func(n sql.Node) bool { return m.admits(&n, q) })
		}
		if applies {
			found = append(found, Finding{Rule: r.ref, Action: r.action, Item: i, Undecided: undecided, Unqualified: m.guesses(q.facts), Message: r.message})
		}
	}
	return found
}

// guesses reports whether no relation that an item names is known to be in the command: one
// of unknown schema, or unknown name, stands for it.
func (m *match) guesses(f *sql.Facts) bool {
	return len(m.relations) > 0 && !slices.ContainsFunc(f.Relations, func(r sql.Relation) bool {
		return slices.ContainsFunc(m.relations, func(g relationGlob) bool {
			return r.Name != "" && g.name.match(r.Name) && (g.schema.any() || r.Schema != "" && g.schema.match(r.Schema))
		})
	})
}
