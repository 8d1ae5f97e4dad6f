package conditions

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Step is one named step of a reconcile over a scope S.
type Step[S any] struct {
	Name string
	Run  func(context.Context, S) (ctrl.Result, error)
}

// Run runs the steps in order until one returns an error, and returns the earliest time at
// which any wants to be called again.
func Run[S any](ctx context.Context, scope S, steps ...Step[S]) (ctrl.Result, error) {
	var result ctrl.Result
	for _, step := range steps {
		r, err := step.Run(ctx, scope)
		result = Earliest(result, r)
		if err != nil {
			return result, fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	return result, nil
}

// announce emits an event when Ready's status or reason is not what it was before.
func announce(recorder events.EventRecorder, obj runtime.Object, before *metav1.Condition, set Set) {
	after := set.Get(v1alpha1.ConditionReady)
	if after == nil || (before != nil && before.Status == after.Status && before.Reason == after.Reason) {
		return
	}
	kind := corev1.EventTypeNormal
	if after.Status == metav1.ConditionFalse {
		kind = corev1.EventTypeWarning
	}
	recorder.Eventf(obj, nil, kind, after.Reason, "Reconcile", "%s", after.Message)
}

func isConflict(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
