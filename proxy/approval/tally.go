package approval

import (
	"slices"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const (
	// productPrefix begins the user names of the product itself, which never approve.
	productPrefix        = "cardea:"
	serviceAccountPrefix = "system:serviceaccount:"
)

// verdict is what the decisions on a request amount to. The zero verdict is undecided.
type verdict struct {
	approved  bool
	denied    bool
	approvers []string // who approved, each once, in order of their names
	denier    string
	comment   string // of the denial
}

// tally counts the valid decisions on a request. One denial decides, whoever made it:
// only who may approve can write one, and where that fails the command is denied.
func tally(r *v1alpha1.ApprovalRequest) verdict {
	var v verdict
	for i := range r.Status.Decisions {
		d := &r.Status.Decisions[i]
		switch {
		case d.Decision == v1alpha1.DecisionDenied:
			return verdict{denied: true, denier: d.Approver, comment: d.Comment}
		case counts(&r.Spec, d) && !slices.Contains(v.approvers, d.Approver):
			v.approvers = append(v.approvers, d.Approver)
		}
	}
	slices.Sort(v.approvers)
	v.approved = r.Spec.Required >= 1 && len(v.approvers) >= int(r.Spec.Required)
	return v
}

// counts reports whether a decision is an approval by somebody who may approve.
func counts(s *v1alpha1.ApprovalRequestSpec, d *v1alpha1.ApprovalDecision) bool {
	if d.Decision != v1alpha1.DecisionApproved || d.Approver == "" {
		return false
	}
	if d.Approver == s.Requester || d.Approver == s.GrantCreator || strings.HasPrefix(d.Approver, productPrefix) {
		return false
	}
	if d.Time != nil && d.Time.After(s.ExpiresAt.Time) {
		return false
	}
	return slices.ContainsFunc(s.Approvers, func(a v1alpha1.Subject) bool { return names(a, d) })
}

// names reports whether an entry of the approvers names who decided. A ServiceAccount must
// be named itself: membership in a group is not enough.
func names(a v1alpha1.Subject, d *v1alpha1.ApprovalDecision) bool {
	switch a.Kind {
	case v1alpha1.SubjectUser, v1alpha1.SubjectServiceAccount:
		return a.Name != "" && a.Username() == d.Approver
	case v1alpha1.SubjectGroup:
		return a.Name != "" && !strings.HasPrefix(d.Approver, serviceAccountPrefix) && slices.Contains(d.Groups, a.Name)
	}
	return false
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
