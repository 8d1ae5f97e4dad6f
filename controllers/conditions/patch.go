package conditions

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Patcher writes the status of one object during one reconcile.
type Patcher struct {
	client client.Client
	obj    client.Object
	base   client.Object
	before *metav1.Condition
}

// NewPatcher returns a Patcher for obj as it was just read, with its conditions.
func NewPatcher(c client.Client, obj client.Object, set Set) *Patcher {
	base, _ := obj.DeepCopyObject().(client.Object)
	return &Patcher{client: c, obj: obj, base: base, before: set.Get(v1alpha1.ConditionReady)}
}

// Patch writes the object's status where it differs from what is stored. It fails with a
// conflict if the stored object is not the one that was read: then somebody else wrote,
// and what was computed may be wrong. An object that is gone is no error.
func (p *Patcher) Patch(ctx context.Context) error {
	if equality.Semantic.DeepEqual(p.base, p.obj) {
		return nil
	}
	patch := client.MergeFromWithOptions(p.base, client.MergeFromWithOptimisticLock{})
	if err := client.IgnoreNotFound(p.client.Status().Patch(ctx, p.obj, patch)); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	p.base, _ = p.obj.DeepCopyObject().(client.Object)
	return nil
}

// Finish ends a reconcile: it computes Ready and Stalled from the outcome of the steps,
// writes the status once, emits an event if Ready changed, and returns what the
// reconciler returns.
func (p *Patcher) Finish(ctx context.Context, s Summary, set Set, recorder events.EventRecorder, result ctrl.Result, err error) (ctrl.Result, error) {
	again, err := s.Finish(set, err)
	if err != nil && isConflict(err) {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	if patchErr := p.Patch(ctx); patchErr != nil {
		if isConflict(patchErr) {
			return ctrl.Result{RequeueAfter: conflictDelay}, nil
		}
		return ctrl.Result{}, patchErr
	}
	announce(recorder, p.obj, p.before, set)
	if err != nil {
		return ctrl.Result{}, err
	}
	return Earliest(result, again), nil
}
