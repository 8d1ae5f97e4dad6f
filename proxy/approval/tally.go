package approval

import (
	"slices"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// productPrefix begins the user names of the product itself, which never approve.
const productPrefix = "cardea:"

// verdict is what the decisions on a request amount to. The zero verdict is undecided.
type verdict struct {
	approved  bool
	denied    bool
	approvers []string // who approved, each once, in order of their names
	denier    string
	comment   string // of the denial
}

// tally counts the valid decisions on a request about a command or a grant. One denial decides, whoever made it:
// only who may approve can write one, and where that fails the command is denied.
func tally(r *v1alpha1.ApprovalRequest) verdict {
	var v verdict
	for i := range r.Status.Decisions {
		d := &r.Status.Decisions[i]
		switch {
		case d.Decision == v1alpha1.DecisionDenied:
			return verdict{denied: true, denier: d.Approver, comment: d.Comment}
		case isCounted(&r.Spec, d) && !slices.Contains(v.approvers, d.Approver):
			v.approvers = append(v.approvers, d.Approver)
		}
	}
	slices.Sort(v.approvers)
	v.approved = r.Spec.Required >= 1 && len(v.approvers) >= int(r.Spec.Required)
	if r.Spec.Kind == v1alpha1.RequestGrant {
		v.approved = grantApproved(r)
	}
	return v
}

func isCounted(s *v1alpha1.ApprovalRequestSpec, d *v1alpha1.ApprovalDecision) bool {
	if s.Kind == v1alpha1.RequestGrant {
		return s.Grant != nil && inTime(s, d) && policy.Counts(s.Grant.Needs, d, parties(s))
	}
	return counts(s, d)
}

// inTime reports whether a decision was made before its request lapsed.
func inTime(s *v1alpha1.ApprovalRequestSpec, d *v1alpha1.ApprovalDecision) bool {
	return d.Time == nil || !d.Time.After(s.ExpiresAt.Time)
}

// counts reports whether a decision is an approval by somebody who may approve.
func counts(s *v1alpha1.ApprovalRequestSpec, d *v1alpha1.ApprovalDecision) bool {
	if d.Decision != v1alpha1.DecisionApproved || d.Approver == "" {
		return false
	}
	if d.Approver == s.Requester || d.Approver == s.GrantCreator || strings.HasPrefix(d.Approver, productPrefix) {
		return false
	}
	if !inTime(s, d) {
		return false
	}
	return slices.ContainsFunc(s.Approvers, func(a v1alpha1.Subject) bool { return policy.Names(a, d) })
}

// usable reports whether a request can still be decided or consumed at now.
func usable(r *v1alpha1.ApprovalRequest, now time.Time) bool {
	return r.Status.Consumed == nil && r.Status.WithdrawnAt == nil && r.DeletionTimestamp == nil && now.Before(r.Spec.ExpiresAt.Time)
}

// undecided reports whether a request still asks humans.
func undecided(r *v1alpha1.ApprovalRequest, now time.Time) bool {
	v := tally(r)
	return usable(r, now) && !v.approved && !v.denied
}
