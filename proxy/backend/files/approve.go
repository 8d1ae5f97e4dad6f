package files

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// approve says what a grant waits for, where policies want it approved; nothing if it may
// begin. The caller has accepted the grant.
func (b *Backend) approve(ctx context.Context, w *world, g *v1alpha1.AccessGrant, r *record, now time.Time) string {
	t := w.target(g.Spec.TargetRef.Name)
	terms, violations := policy.JudgeGrant(w.input, g, t)
	if len(violations) > 0 {
		return violations[0].Message
	}
	g.Status.Approval = r.Approval
	if len(terms.Needs) == 0 {
		g.Status.Approval, r.Approval = nil, nil
		return ""
	}
	if policy.IsApproved(terms, g, t) {
		return ""
	}
	_, digest, err := policy.Asked(g, t)
	if err != nil {
		return err.Error()
	}
	if a := r.Approval; a == nil || a.Digest != digest || a.Outcome == v1alpha1.ApprovalPending || a.Outcome == v1alpha1.ApprovalApproved {
		have, err := approval.AskGrant(g, t, terms, now, func(want *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
			have, err := b.Get(ctx, want.Name)
			if apierrors.IsNotFound(err) {
				return b.Create(ctx, want)
			}
			return have, err
		})
		if err != nil {
			return err.Error()
		}
		a := approval.AssessGrant(have, now)
		r.Approval, g.Status.Approval = &a, &a
	}
	switch a := r.Approval; a.Outcome {
	case v1alpha1.ApprovalApproved:
		if policy.IsApproved(terms, g, t) {
			return ""
		}
		return "the approval does not hold for the grant as it is"
	case v1alpha1.ApprovalDenied:
		return approval.Denial(a)
	case v1alpha1.ApprovalUnanswered:
		return "nobody approved request " + a.Request + " in time"
	default:
		b.waiting[a.Request] = true
		return "it waits for .approvals/" + a.Request + ".yaml"
	}
}

// target returns the Target of a name; nil if there is none.
func (w *world) target(name string) *v1alpha1.Target {
	for _, t := range w.input.Targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// withdrawOthers closes the open requests about grants that no grant waits for.
func (q *requests) withdrawOthers(ctx context.Context, waiting map[string]bool, now time.Time) {
	q.mu.Lock()
	var old []*v1alpha1.ApprovalRequest
	for name, r := range q.asked {
		if r.Spec.Kind != v1alpha1.RequestGrant || waiting[name] || r.Status.WithdrawnAt != nil || !now.Before(r.Spec.ExpiresAt.Time) {
			continue
		}
		if have, err := q.get(ctx, name); err == nil && approval.AssessGrant(have, now).Outcome == v1alpha1.ApprovalPending {
			old = append(old, have)
		}
	}
	q.mu.Unlock()
	for _, r := range old {
		r.Status.WithdrawnAt = &metav1.Time{Time: now.UTC().Truncate(time.Second)}
		if err := q.b.UpdateStatus(ctx, r); err != nil {
			q.b.c.Log.Error(err, "Cannot withdraw an ApprovalRequest", "ApprovalRequest", r.Name)
		}
	}
}
