package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Bounds of what policies ask for, the same as in the API's schema.
const (
	maxQuorums         = 8
	maxQuorumApprovers = 32
	maxNeeds           = 16
	maxAllApprovers    = 128
	minAsked           = time.Minute
	maxAsked           = 720 * time.Hour
)

const (
	// productPrefix begins the user names of the product itself, which never approve.
	productPrefix        = "cardea:"
	anonymous            = "system:anonymous"
	serviceAccountPrefix = "system:serviceaccount:"
)

// Parties are those whose own request it is. They never approve it.
type Parties struct {
	// Subject of the grant; members of a Group are parties.
	Subject v1alpha1.Subject
	// Creator is the user that made the grant, empty if unknown.
	Creator string
}

// PartiesOf returns the parties of a grant.
func PartiesOf(g *v1alpha1.AccessGrant) Parties {
	return Parties{Subject: g.Spec.Subject, Creator: g.Annotations[v1alpha1.AnnotationCreatedBy]}
}

// include reports whether whoever decided is a party, or of the product itself.
func (p Parties) include(d *v1alpha1.ApprovalDecision) bool {
	if d.Approver == "" || d.Approver == anonymous || strings.HasPrefix(d.Approver, productPrefix) {
		return true
	}
	if p.Subject.Kind == v1alpha1.SubjectGroup && slices.Contains(d.Groups, p.Subject.Name) {
		return true
	}
	return d.Approver == p.Subject.Username() || d.Approver == p.Creator
}

// Names reports whether an entry of approvers names who decided. A ServiceAccount must be
// named itself: membership in a group is not enough.
func Names(a v1alpha1.Subject, d *v1alpha1.ApprovalDecision) bool {
	switch a.Kind {
	case v1alpha1.SubjectUser, v1alpha1.SubjectServiceAccount:
		return a.Name != "" && a.Username() == d.Approver
	case v1alpha1.SubjectGroup:
		return a.Name != "" && !strings.HasPrefix(d.Approver, serviceAccountPrefix) && slices.Contains(d.Groups, a.Name)
	}
	return false
}

// Met reports whether decisions meet every need. One denial meets none, whoever made it: only
// who may decide can write one.
func Met(needs []v1alpha1.ApprovalNeed, decisions []v1alpha1.ApprovalDecision, parties Parties) bool {
	if slices.ContainsFunc(decisions, func(d v1alpha1.ApprovalDecision) bool { return d.Decision != v1alpha1.DecisionApproved }) {
		return false
	}
	for _, n := range needs {
		if !slices.ContainsFunc(n.AnyOf, func(q v1alpha1.ApprovalQuorum) bool { return reached(q, decisions, parties) }) {
			return false
		}
	}
	return true
}

// reached reports whether a quorum is reached by distinct approvers.
func reached(q v1alpha1.ApprovalQuorum, decisions []v1alpha1.ApprovalDecision, parties Parties) bool {
	var who []string
	for i := range decisions {
		d := &decisions[i]
		if d.Decision == v1alpha1.DecisionApproved && !parties.include(d) && !slices.Contains(who, d.Approver) &&
			slices.ContainsFunc(q.Approvers, func(a v1alpha1.Subject) bool { return Names(a, d) }) {
			who = append(who, d.Approver)
		}
	}
	return q.Required >= 1 && len(who) >= int(q.Required)
}

// Counts reports whether a decision is an approval by somebody whom some quorum names.
func Counts(needs []v1alpha1.ApprovalNeed, d *v1alpha1.ApprovalDecision, parties Parties) bool {
	return d.Decision == v1alpha1.DecisionApproved && !parties.include(d) &&
		slices.ContainsFunc(Approvers(needs), func(a v1alpha1.Subject) bool { return Names(a, d) })
}

// Approvers returns everybody whom the quorums name, each once.
func Approvers(needs []v1alpha1.ApprovalNeed) []v1alpha1.Subject {
	var all []v1alpha1.Subject
	for _, n := range needs {
		for _, q := range n.AnyOf {
			for _, a := range q.Approvers {
				if !slices.Contains(all, a) {
					all = append(all, a)
				}
			}
		}
	}
	return all
}

// Least returns the least number of approvers with which needs can be met.
func Least(needs []v1alpha1.ApprovalNeed) int32 {
	least := int32(1)
	for _, n := range needs {
		few := int32(maxRequired)
		for _, q := range n.AnyOf {
			few = min(few, q.Required)
		}
		least = max(least, few)
	}
	return least
}

// ask takes the approvals that a policy wants. What another policy wants in the same words is
// wanted once.
func (t *Terms) ask(p *accessPolicy) {
	a := p.spec.Approvals
	if a == nil {
		return
	}
	add := func(n v1alpha1.ApprovalNeed) {
		if !slices.ContainsFunc(t.Needs, func(have v1alpha1.ApprovalNeed) bool { return equality.Semantic.DeepEqual(have, n) }) {
			t.Needs = append(t.Needs, n)
		}
	}
	for _, q := range a.AllOf {
		add(v1alpha1.ApprovalNeed{AnyOf: []v1alpha1.ApprovalQuorum{q}})
	}
	if len(a.AnyOf) > 0 {
		add(v1alpha1.ApprovalNeed{AnyOf: a.AnyOf})
	}
	t.AskedBy = append(t.AskedBy, p.ref)
	t.Timeout = shorter(t.Timeout, a.Timeout.Duration)
}

// checkNeeds refuses what one request cannot ask: it would be asked in part.
func (t *Terms) checkNeeds() *Violation {
	if len(t.Needs) > maxNeeds || len(Approvers(t.Needs)) > maxAllApprovers {
		return &Violation{Policy: t.AskedBy[0], Message: fmt.Sprintf("AccessPolicy %s/%s and others ask for more than %d approvals or %d approvers at once: have them put together",
			shownName(t.AskedBy[0].Namespace), shownName(t.AskedBy[0].Name), maxNeeds, maxAllApprovers)}
	}
	return nil
}

func checkApprovals(a *v1alpha1.GrantApprovals) error {
	if a == nil {
		return nil
	}
	if len(a.AllOf)+len(a.AnyOf) == 0 || len(a.AllOf) > maxQuorums || len(a.AnyOf) > maxQuorums {
		return fmt.Errorf("spec.approvals: allOf and anyOf must have 1 to %d items, and one of them must be set", maxQuorums)
	}
	if d := a.Timeout.Duration; d < minAsked || d > maxAsked {
		return fmt.Errorf("spec.approvals.timeout: must be between %s and %s", short(minAsked), short(maxAsked))
	}
	for _, list := range []struct {
		field   string
		quorums []v1alpha1.ApprovalQuorum
	}{{"allOf", a.AllOf}, {"anyOf", a.AnyOf}} {
		for i, q := range list.quorums {
			if err := checkQuorum(q); err != nil {
				return fmt.Errorf("spec.approvals.%s[%d]: %w", list.field, i, err)
			}
		}
	}
	return nil
}

func checkQuorum(q v1alpha1.ApprovalQuorum) error {
	switch {
	case q.Required < 1 || q.Required > maxRequired:
		return fmt.Errorf("required must be between 1 and %d", maxRequired)
	case len(q.Approvers) == 0 || len(q.Approvers) > maxQuorumApprovers:
		return fmt.Errorf("approvers must have 1 to %d items", maxQuorumApprovers)
	}
	people := map[v1alpha1.Subject]bool{}
	for _, a := range q.Approvers {
		if err := checkSubject(a); err != nil {
			return fmt.Errorf("approvers: %w", err)
		}
		people[a] = true
	}
	groups := slices.ContainsFunc(q.Approvers, func(a v1alpha1.Subject) bool { return a.Kind == v1alpha1.SubjectGroup })
	if !groups && len(people) < int(q.Required) {
		return errors.New("fewer approvers are named than required, so that it can never be met")
	}
	return nil
}
