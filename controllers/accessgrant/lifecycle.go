package accessgrant

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/gather"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// again is when something that waits for another object is looked at although nothing was
// heard of that.
const again = time.Minute

// revoke ends a grant that an administrator revoked. It comes first: nothing that is wrong
// with a grant stands in its way.
func (r *Reconciler) revoke(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.grant.Spec.DesiredState != v1alpha1.GrantRevoked {
		return ctrl.Result{}, nil
	}
	if err := r.withdraw(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.withdrawRequests(ctx, s.grant.Namespace, s.grant.Name, ""); err != nil {
		return ctrl.Result{}, err
	}
	s.end(v1alpha1.ReasonRevoked, "an administrator revoked the grant: make a new one to restore access")
	return r.bury(ctx, s)
}

// expire ends a grant whose time is over, and otherwise sees to it that this is not missed.
func (r *Reconciler) expire(ctx context.Context, s *scope) (ctrl.Result, error) {
	_, end := effective(s.grant)
	if end == nil {
		return ctrl.Result{}, nil
	}
	if s.now.Before(end.Time) {
		return s.until(end.Time), nil
	}
	if err := r.withdraw(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.withdrawRequests(ctx, s.grant.Namespace, s.grant.Name, ""); err != nil {
		return ctrl.Result{}, err
	}
	s.grant.Status.ExpiresAt = end
	s.end(v1alpha1.ReasonExpired, "the grant ended at %s: make a new one for further access", end.UTC().Format(time.RFC3339))
	return r.bury(ctx, s)
}

// bury deletes a grant that ended, if it says so and the time has come.
func (r *Reconciler) bury(ctx context.Context, s *scope) (ctrl.Result, error) {
	ttl := s.grant.Spec.TTLAfterExpired
	if ttl == nil {
		return ctrl.Result{}, conditions.ErrSettled
	}
	at := s.endedAt().Add(ttl.Duration)
	if s.now.Before(at) {
		return s.until(at), conditions.ErrSettled
	}
	uid := s.grant.UID
	if err := client.IgnoreNotFound(r.Client.Delete(ctx, s.grant, client.Preconditions{UID: &uid})); err != nil {
		return ctrl.Result{}, fmt.Errorf("delete the grant after its time: %w", err)
	}
	return ctrl.Result{}, conditions.ErrSettled
}

// accept judges the grant by the function that the proxy judges it by.
func (r *Reconciler) accept(ctx context.Context, s *scope) (ctrl.Result, error) {
	const condition = v1alpha1.ConditionAccepted
	if s.grant.Namespace == r.RootNamespace {
		return ctrl.Result{}, conditions.Stalled(condition, v1alpha1.ReasonInvalid, 0,
			"the operator's own namespace is no gate: make the grant in the gate namespace of its Target")
	}
	if err := r.deliverable(s.grant); err != nil {
		return ctrl.Result{}, err
	}
	in, err := gather.Input(ctx, r.Client, s.grant.Namespace, r.RootNamespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	if a := policy.AssessGrant(in, s.grant); !a.OK {
		switch a.Reason {
		case v1alpha1.ReasonInvalid:
			return ctrl.Result{}, conditions.Stalled(condition, a.Reason, 0, "%s", a.Message)
		case v1alpha1.ReasonPolicyViolated:
			// A policy may have been tightened under a running grant.
			return ctrl.Result{}, r.stop(ctx, s, conditions.Stalled(condition, a.Reason, 0, "%s", a.Message))
		}
		return ctrl.Result{}, conditions.Waiting(condition, a.Reason, again, "%s", a.Message)
	}
	for _, t := range in.Targets {
		if t.Name == s.grant.Spec.TargetRef.Name {
			s.target = t
		}
	}
	s.terms, _ = policy.JudgeGrant(in, s.grant, s.target)
	s.set.True(condition, v1alpha1.ReasonAccepted, "the grant fits its Target")
	return ctrl.Result{}, nil
}

// schedule leaves alone a grant that begins later.
func (r *Reconciler) schedule(ctx context.Context, s *scope) (ctrl.Result, error) {
	start := s.grant.Status.StartsAt.Time
	early := start.Add(-r.Lead)
	if !s.now.Before(early) {
		return ctrl.Result{}, nil
	}
	const message = "the grant begins at %s; credential and proxy are there before"
	at := start.UTC().Format(time.RFC3339)
	s.set.False(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonScheduled, message, at)
	s.set.False(v1alpha1.ConditionActive, v1alpha1.ReasonScheduled, message, at)
	return s.until(early), conditions.ErrSettled
}

// activate says whether the subject can use the grant now.
func (r *Reconciler) activate(_ context.Context, s *scope) (ctrl.Result, error) {
	if start := s.grant.Status.StartsAt.Time; s.now.Before(start) {
		s.set.False(v1alpha1.ConditionActive, v1alpha1.ReasonScheduled, "the grant begins at %s", start.UTC().Format(time.RFC3339))
		return s.until(start), nil
	}
	if c := meta.FindStatusCondition(s.target.Status.Conditions, v1alpha1.ConditionAccepted); c == nil ||
		c.Status != metav1.ConditionTrue || c.ObservedGeneration != s.target.Generation {
		why := "it has not been looked at yet"
		if c != nil && c.Status == metav1.ConditionFalse {
			why = c.Message
		}
		return ctrl.Result{}, conditions.Waiting(v1alpha1.ConditionActive, v1alpha1.ReasonTargetNotReady, again,
			"Target %s is shut: %s", s.target.Name, why)
	}
	s.set.True(v1alpha1.ConditionActive, v1alpha1.ReasonActive, "open until %s",
		s.grant.Status.ExpiresAt.UTC().Format(time.RFC3339))
	return ctrl.Result{}, nil
}

// effective returns when a grant starts and ends; nil where that is not known before it is
// approved.
func effective(g *v1alpha1.AccessGrant) (start, end *metav1.Time) {
	start = g.Spec.StartsAt
	if approved := g.Status.ApprovedAt; approved != nil && (start == nil || start.Before(approved)) {
		start = approved
	}
	switch {
	case g.Spec.ExpiresAt != nil:
		return start, g.Spec.ExpiresAt
	case g.Spec.Duration != nil && g.Status.ApprovedAt != nil:
		return start, stamp(start.Add(g.Spec.Duration.Duration))
	}
	return start, nil
}
