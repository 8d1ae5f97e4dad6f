package conditions

import (
	"cmp"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Summary says how Ready and Stalled follow from the conditions that a reconciler owns.
type Summary struct {
	// Owned conditions in the order of the steps that set them. Ready is the first that is
	// not true; if all are, Ready is true with Reason.
	Owned []string
	// Reason of Ready when everything owned is true; that of the last one if it is empty.
	Reason string
	// Settled are reasons of the last owned condition with which the object is done although
	// that condition is false: Ready is then true with the reason.
	Settled []string
}

// progressing are the reasons with which something is under way rather than wrong: they
// make a condition unknown instead of false.
var progressing = []string{v1alpha1.ReasonProgressing, v1alpha1.ReasonPending}

// Finish writes Ready and Stalled into set for the outcome err of the steps, and returns
// what the reconciler returns. A Blocked becomes a condition; a conflict with another
// writer is tried again at once and is no error; every other error is returned.
func (s Summary) Finish(set Set, err error) (ctrl.Result, error) {
	var blocked *Blocked
	switch {
	case err == nil, errors.Is(err, ErrSettled):
		s.ready(set)
		set.Remove(v1alpha1.ConditionStalled)
		return ctrl.Result{}, nil
	case errors.As(err, &blocked):
		s.blocked(set, blocked)
		return ctrl.Result{RequeueAfter: blocked.After}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{}, err
	}
	set.Unknown(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, "will be tried again: %s", err)
	set.Remove(v1alpha1.ConditionStalled)
	return ctrl.Result{}, err
}

func (s Summary) blocked(set Set, b *Blocked) {
	set.set(b.Type, statusFor(b.Reason), b.Reason, "%s", b.Message)
	// A grant that is not accepted is not active either.
	if last := s.Owned[len(s.Owned)-1]; slices.Contains(s.Owned, b.Type) && last != b.Type {
		set.set(last, statusFor(b.Reason), b.Reason, "%s", b.Message)
	}
	set.set(v1alpha1.ConditionReady, statusFor(b.Reason), b.Reason, "%s", b.Message)
	if b.intent == intentStalled {
		set.True(v1alpha1.ConditionStalled, b.Reason, "%s", b.Message)
	} else {
		set.Remove(v1alpha1.ConditionStalled)
	}
}

func (s Summary) ready(set Set) {
	last := set.Get(s.Owned[len(s.Owned)-1])
	if last != nil && slices.Contains(s.Settled, last.Reason) {
		set.True(v1alpha1.ConditionReady, last.Reason, "%s", last.Message)
		return
	}
	for _, t := range s.Owned {
		c := set.Get(t)
		switch {
		case c == nil:
			set.Unknown(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, "%s is not known yet", t)
			return
		case c.Status != metav1.ConditionTrue:
			set.set(v1alpha1.ConditionReady, c.Status, c.Reason, "%s", c.Message)
			return
		}
	}
	set.True(v1alpha1.ConditionReady, cmp.Or(s.Reason, last.Reason), "%s", last.Message)
}

func statusFor(reason string) metav1.ConditionStatus {
	if slices.Contains(progressing, reason) {
		return metav1.ConditionUnknown
	}
	return metav1.ConditionFalse
}

// Earliest returns the result that asks to be called again first.
func Earliest(results ...ctrl.Result) ctrl.Result {
	var out ctrl.Result
	for _, r := range results {
		if r.RequeueAfter > 0 && (out.RequeueAfter == 0 || r.RequeueAfter < out.RequeueAfter) {
			out.RequeueAfter = r.RequeueAfter
		}
	}
	return out
}
