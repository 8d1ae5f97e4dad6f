package accessgrant

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// approve lets a grant begin that policies admit without approval, or of which what they
// want now was approved as it is now. For others it asks, once for each state of the grant
// and of its Target.
func (r *Reconciler) approve(ctx context.Context, s *scope) (ctrl.Result, error) {
	if len(s.terms.Needs) == 0 {
		if s.grant.Status.Approval != nil {
			// Its request may be open still: an older policy wanted it.
			if err := r.withdrawRequests(ctx, s.grant.Namespace, s.grant.Name, ""); err != nil {
				return ctrl.Result{}, err
			}
			s.grant.Status.Approval = nil
		}
		return r.approved(s, "no approval is asked for")
	}
	if policy.IsApproved(s.terms, s.grant, s.target) {
		return r.approved(s, "approved by request %s", s.grant.Status.Approval.Request)
	}
	if s.grant.Annotations[v1alpha1.AnnotationCreatedBy] == "" {
		return ctrl.Result{}, r.stop(ctx, s, conditions.Stalled(v1alpha1.ConditionApproved, v1alpha1.ReasonInvalid, 0,
			"it is not known who made the grant, and so not who may approve it: make a new one with the admission policies installed"))
	}
	_, digest, err := policy.Asked(s.grant, s.target)
	if err != nil {
		return ctrl.Result{}, r.stop(ctx, s, conditions.Stalled(v1alpha1.ConditionApproved, v1alpha1.ReasonInvalid, 0, "approvers cannot be asked: %s", err))
	}
	// What was denied, or not answered, stays so until the grant or its Target changes.
	if a := s.grant.Status.Approval; a == nil || a.Digest != digest || a.Outcome == v1alpha1.ApprovalPending || a.Outcome == v1alpha1.ApprovalApproved {
		if err := r.ask(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
	}
	return r.conclude(ctx, s)
}

// approved notes when the grant was approved first: duration counts from then, whatever is
// asked anew later.
func (r *Reconciler) approved(s *scope, format string, a ...any) (ctrl.Result, error) {
	if s.grant.Status.ApprovedAt == nil {
		s.grant.Status.ApprovedAt = stamp(s.now)
	}
	s.grant.Status.StartsAt, s.grant.Status.ExpiresAt = effective(s.grant)
	s.set.True(v1alpha1.ConditionApproved, v1alpha1.ReasonApproved, format, a...)
	return s.until(s.grant.Status.ExpiresAt.Time), nil
}

// ask sees to it that exactly one request asks about the grant as it is, and takes what became
// of it.
func (r *Reconciler) ask(ctx context.Context, s *scope) error {
	have, err := approval.AskGrant(s.grant, s.target, s.terms, s.now, func(want *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
		return r.request(ctx, want)
	})
	if errors.Is(err, approval.ErrUnaskable) {
		return r.stop(ctx, s, conditions.Stalled(v1alpha1.ConditionApproved, v1alpha1.ReasonInvalid, 0, "%s", err))
	}
	if err != nil {
		return err
	}
	if err := r.withdrawRequests(ctx, s.grant.Namespace, s.grant.Name, have.Name); err != nil {
		return err
	}
	a := approval.AssessGrant(have, s.now)
	s.grant.Status.Approval, s.lapse = &a, have.Spec.ExpiresAt.Time
	return nil
}

// request returns the stored request of want's name, which it makes if there is none.
func (r *Reconciler) request(ctx context.Context, want *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	have := &v1alpha1.ApprovalRequest{}
	key := client.ObjectKeyFromObject(want)
	err := r.Client.Get(ctx, key, have)
	if apierrors.IsNotFound(err) {
		have = want.DeepCopy()
		if err = r.Client.Create(ctx, have); apierrors.IsAlreadyExists(err) {
			// The cache is behind, or another operator was faster.
			have = &v1alpha1.ApprovalRequest{}
			err = r.Live.Get(ctx, key, have)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ask for approval in ApprovalRequest %s: %w", key, err)
	}
	return have, nil
}

// conclude lets the grant begin, or says what it waits for.
func (r *Reconciler) conclude(ctx context.Context, s *scope) (ctrl.Result, error) {
	const condition = v1alpha1.ConditionApproved
	a := s.grant.Status.Approval
	switch a.Outcome {
	case v1alpha1.ApprovalPending: // below, as what is not known
	case v1alpha1.ApprovalApproved:
		if policy.IsApproved(s.terms, s.grant, s.target) {
			r.Recorder.Eventf(s.grant, nil, corev1.EventTypeNormal, v1alpha1.ReasonApproved, "Approve", "request %s was approved", a.Request)
			return r.approved(s, "approved by request %s", a.Request)
		}
		return ctrl.Result{}, r.stop(ctx, s, conditions.Stalled(condition, v1alpha1.ReasonInvalid, again, "the approval of request %s does not hold for the grant as it is", a.Request))
	case v1alpha1.ApprovalDenied:
		return ctrl.Result{}, r.stop(ctx, s, conditions.Stalled(condition, v1alpha1.ReasonDenied, 0, "%s", approval.Denial(a)))
	case v1alpha1.ApprovalUnanswered:
		return ctrl.Result{}, r.stop(ctx, s, conditions.Stalled(condition, v1alpha1.ReasonUnanswered, 0, "request %s was not approved in time: make a new grant to ask again", a.Request))
	}
	return ctrl.Result{}, r.stop(ctx, s, conditions.Waiting(condition, v1alpha1.ReasonPending, max(s.lapse.Sub(s.now), 0)+time.Second,
		"request %s awaits approval: kubectl access approve %s -n %s", a.Request, a.Request, s.grant.Namespace))
}

// stop takes away what a grant has that is not permitted now, and says why. It gets a new
// credential if that changes.
func (r *Reconciler) stop(ctx context.Context, s *scope, why error) error {
	if err := r.withdraw(ctx, s); err != nil {
		return err
	}
	if s.set.Get(v1alpha1.ConditionCredentialIssued) != nil {
		s.set.False(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonCredentialRemoved, "the grant is not open: see the other conditions")
	}
	return why
}

// withdrawRequests closes the open requests of a grant, but for one: nobody should be asked
// in vain.
func (r *Reconciler) withdrawRequests(ctx context.Context, namespace, grant, but string) error {
	var list v1alpha1.ApprovalRequestList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelGrant: grant}); err != nil {
		return fmt.Errorf("list ApprovalRequests of the grant: %w", err)
	}
	now := r.Clock.Now()
	for i := range list.Items {
		q := &list.Items[i]
		if q.Spec.Kind != v1alpha1.RequestGrant || q.Name == but || q.Status.WithdrawnAt != nil || approval.AssessGrant(q, now).Outcome != v1alpha1.ApprovalPending {
			continue
		}
		base := q.DeepCopy()
		q.Status.WithdrawnAt = &metav1.Time{Time: now.UTC().Truncate(time.Second)}
		patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
		if err := client.IgnoreNotFound(r.Client.Status().Patch(ctx, q, patch)); err != nil {
			return fmt.Errorf("withdraw ApprovalRequest %s: %w", client.ObjectKeyFromObject(q), err)
		}
	}
	return nil
}

// grantOfRequest returns the grant that a request asks about.
func grantOfRequest(_ context.Context, obj client.Object) []ctrl.Request {
	q, ok := obj.(*v1alpha1.ApprovalRequest)
	if !ok || q.Spec.Kind != v1alpha1.RequestGrant {
		return nil
	}
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: q.Namespace, Name: q.Spec.GrantRef.Name}}}
}
