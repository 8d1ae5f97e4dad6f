package approval

import (
	"fmt"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Assessment is what became of a request at some time, for its conditions.
type Assessment struct {
	// Reason is Pending, Approved, Denied, Expired, Withdrawn or Consumed.
	Reason  string
	Message string
}

// Assess judges a request by the tally that decides whether a command is released.
func Assess(r *v1alpha1.ApprovalRequest, now time.Time) Assessment {
	v := tally(r)
	until := r.Spec.ExpiresAt.UTC().Format(time.RFC3339)
	switch {
	case r.Status.Consumed != nil:
		return Assessment{v1alpha1.ReasonConsumed, fmt.Sprintf("session %s ran the command", r.Status.Consumed.Session)}
	case r.Status.WithdrawnAt != nil && r.Spec.Kind == v1alpha1.RequestGrant:
		return Assessment{v1alpha1.ReasonWithdrawn, "the grant was changed, revoked or deleted, or other approvals are needed"}
	case r.Status.WithdrawnAt != nil:
		return Assessment{v1alpha1.ReasonWithdrawn, "the waiting client is gone"}
	case v.denied:
		return Assessment{v1alpha1.ReasonDenied, fmt.Sprintf("denied by %s", v.denier)}
	case r.Spec.Kind == v1alpha1.RequestGrant && AssessGrant(r, now).Outcome == v1alpha1.ApprovalApproved:
		return Assessment{v1alpha1.ReasonApproved, fmt.Sprintf("approved by %s", strings.Join(v.approvers, ", "))}
	case !now.Before(r.Spec.ExpiresAt.Time):
		return Assessment{v1alpha1.ReasonExpired, fmt.Sprintf("it lapsed at %s", until)}
	case v.approved:
		return Assessment{v1alpha1.ReasonApproved, fmt.Sprintf("approved by %s; good until %s", strings.Join(v.approvers, ", "), until)}
	}
	return Assessment{v1alpha1.ReasonPending, fmt.Sprintf("%d of %d approvals; open until %s", len(v.approvers), r.Spec.Required, until)}
}
