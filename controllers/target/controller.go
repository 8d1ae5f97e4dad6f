package target

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/gather"
	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// again is when a reference that is missing is looked for once more: not all of them are
	// watched.
	again = 5 * time.Second
	// resync is how often a Target is looked at although nothing is heard of it: pods of
	// others and certificate authorities are not watched.
	resync = time.Minute
)

// summary says how Ready follows. A foreign pod is told of in a condition of its own; an
// upstream server that cannot be reached is the proxy's to tell.
var summary = conditions.Summary{Owned: []string{v1alpha1.ConditionAccepted}, Reason: v1alpha1.ReasonReady}

// Reconciler keeps the conditions of Targets, all but UpstreamReachable, which is the
// proxy's.
type Reconciler struct {
	Client        client.Client
	Live          client.Reader // reads from the API server and not from a cache
	Recorder      events.EventRecorder
	Clock         clock.PassiveClock
	RootNamespace string
}

// scope is one reconcile of one Target.
type scope struct {
	target *v1alpha1.Target
	set    conditions.Set
}

// Reconcile computes the conditions of one Target.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	t := &v1alpha1.Target{}
	if err := r.Client.Get(ctx, req.NamespacedName, t); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !t.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	s := &scope{target: t}
	s.set = conditions.Set{List: &t.Status.Conditions, Generation: t.Generation, Now: r.Clock.Now()}
	patcher := conditions.NewPatcher(r.Client, t, s.set)
	t.Status.ObservedGeneration = t.Generation
	defer func() {
		result, err = patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, s,
		conditions.Step[*scope]{Name: "look for foreign pods", Run: r.checkPods},
		conditions.Step[*scope]{Name: "check the login", Run: r.checkLogin},
		conditions.Step[*scope]{Name: "check the client certificate", Run: r.checkCertificate},
		conditions.Step[*scope]{Name: "check the authorities", Run: r.checkAuthorities},
		conditions.Step[*scope]{Name: "judge rules and store", Run: r.judge},
		conditions.Step[*scope]{Name: "reflect reachability", Run: r.reflect},
	)
}

// judge asks the function by which the proxy opens the Target or not.
func (r *Reconciler) judge(ctx context.Context, s *scope) (ctrl.Result, error) {
	in, err := gather.Input(ctx, r.Client, s.target.Namespace, r.RootNamespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	a := policy.AssessTarget(in, s.target)
	switch {
	case a.OK:
		s.set.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "every reference is there and every rule that selects the Target compiles")
		return ctrl.Result{RequeueAfter: resync}, nil
	case a.Reason == v1alpha1.ReasonInvalid || a.Reason == v1alpha1.ReasonRuleInvalid:
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionAccepted, a.Reason, resync, "%s", a.Message)
	}
	return ctrl.Result{}, conditions.Waiting(v1alpha1.ConditionAccepted, a.Reason, resync, "%s", a.Message)
}

// reflect lets Ready say what the proxy found when it last signed in. It comes last: what
// is wrong with the Target itself is told first.
func (r *Reconciler) reflect(_ context.Context, s *scope) (ctrl.Result, error) {
	c := meta.FindStatusCondition(s.target.Status.Conditions, v1alpha1.ConditionUpstreamReachable)
	if c == nil || c.Status != metav1.ConditionFalse {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, &conditions.Blocked{
		Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonUnreachable, After: resync,
		Message: fmt.Sprintf("the proxy could not sign in: %s", c.Message),
	}
}
