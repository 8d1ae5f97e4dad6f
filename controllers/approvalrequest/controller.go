package approvalrequest

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/proxy/approval"
)

// keep is how long a request is kept after it lapsed. What was decided is in the
// recording of the session that asked.
const keep = 24 * time.Hour

// summary says how Ready follows: the steps set it directly.
var summary = conditions.Summary{Owned: []string{v1alpha1.ConditionReady}}

// Reconciler keeps the conditions of ApprovalRequests.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
}

// scope is one reconcile of one ApprovalRequest.
type scope struct {
	request *v1alpha1.ApprovalRequest
	set     conditions.Set
	now     time.Time
}

// Reconcile says what became of one ApprovalRequest.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	request := &v1alpha1.ApprovalRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, request); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !request.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	s := &scope{request: request, now: r.Clock.Now()}
	s.set = conditions.Set{List: &request.Status.Conditions, Generation: request.Generation, Now: s.now}
	patcher := conditions.NewPatcher(r.Client, request, s.set)
	defer func() {
		result, err = patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, s,
		conditions.Step[*scope]{Name: "tally", Run: r.tally},
		conditions.Step[*scope]{Name: "forget", Run: r.forget},
	)
}

func (r *Reconciler) tally(_ context.Context, s *scope) (ctrl.Result, error) {
	a := approval.Assess(s.request, s.now)
	switch a.Reason {
	case v1alpha1.ReasonPending:
		s.set.Unknown(v1alpha1.ConditionReady, a.Reason, "%s", a.Message)
	case v1alpha1.ReasonApproved, v1alpha1.ReasonConsumed:
		s.set.True(v1alpha1.ConditionReady, a.Reason, "%s", a.Message)
	default:
		s.set.False(v1alpha1.ConditionReady, a.Reason, "%s", a.Message)
	}
	if left := s.request.Spec.ExpiresAt.Sub(s.now); left > 0 {
		return ctrl.Result{RequeueAfter: left + time.Millisecond}, nil
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) forget(ctx context.Context, s *scope) (ctrl.Result, error) {
	left := s.request.Spec.ExpiresAt.Add(keep).Sub(s.now)
	if left > 0 {
		return ctrl.Result{RequeueAfter: left + time.Millisecond}, nil
	}
	uid := s.request.UID
	if err := client.IgnoreNotFound(r.Client.Delete(ctx, s.request, client.Preconditions{UID: &uid})); err != nil {
		return ctrl.Result{}, fmt.Errorf("delete the request after its time: %w", err)
	}
	return ctrl.Result{}, nil
}

// SetupWithManager starts watching.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("approvalrequest").For(&v1alpha1.ApprovalRequest{}).Complete(r)
}
