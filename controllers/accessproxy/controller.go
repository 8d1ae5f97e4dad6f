package accessproxy

import (
	"context"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/desired"
)

// again is when a proxy that is under way is looked at although nothing was heard.
const again = 30 * time.Second

// summary says how Ready follows: the step sets it directly.
var summary = conditions.Summary{Owned: []string{v1alpha1.ConditionReady}}

// Reconciler keeps the conditions of AccessProxies.
type Reconciler struct {
	Client        client.Client
	Recorder      events.EventRecorder
	Clock         clock.PassiveClock
	RootNamespace string
}

// scope is one reconcile of one AccessProxy.
type scope struct {
	proxy *v1alpha1.AccessProxy
	set   conditions.Set
}

// Reconcile compares one AccessProxy with the proxies that run.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	proxy := &v1alpha1.AccessProxy{}
	if err := r.Client.Get(ctx, req.NamespacedName, proxy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !proxy.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	s := &scope{proxy: proxy}
	s.set = conditions.Set{List: &proxy.Status.Conditions, Generation: proxy.Generation, Now: r.Clock.Now()}
	patcher := conditions.NewPatcher(r.Client, proxy, s.set)
	proxy.Status.ObservedGeneration = proxy.Generation
	defer func() {
		result, err = patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, s, conditions.Step[*scope]{Name: "look at the Deployment", Run: r.look})
}

func (r *Reconciler) look(ctx context.Context, s *scope) (ctrl.Result, error) {
	status := &s.proxy.Status
	status.Replicas, status.ReadyReplicas = 0, 0
	if s.proxy.Namespace == r.RootNamespace {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionReady, v1alpha1.ReasonInvalid, 0,
			"the operator's own namespace is no gate: make the AccessProxy beside Targets")
	}
	d := &appsv1.Deployment{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.proxy.Namespace, Name: v1alpha1.ProxyName}, d)
	if apierrors.IsNotFound(err) {
		s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonIdle, "no Target or grant is in the namespace: there is no proxy")
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read the proxy's Deployment: %w", err)
	}
	status.Replicas, status.ReadyReplicas = d.Status.Replicas, d.Status.ReadyReplicas
	var wanted int32
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	switch {
	case d.Annotations[desired.AnnotationProxy] != strconv.FormatInt(s.proxy.Generation, 10):
		return ctrl.Result{}, conditions.Waiting(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, again,
			"the spec is not applied yet: other gates come first, or the operator's log says why not")
	case d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < wanted || d.Status.AvailableReplicas < wanted || d.Status.Replicas > wanted:
		return ctrl.Result{}, conditions.Waiting(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, again,
			"%d of %d proxies run with the spec and take sessions", min(d.Status.UpdatedReplicas, d.Status.AvailableReplicas), wanted)
	case wanted == 0:
		s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonIdle, "nothing is to be done: no proxy runs")
	default:
		s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, "%d proxies take sessions", wanted)
	}
	return ctrl.Result{}, nil
}

// SetupWithManager starts watching.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("accessproxy").
		For(&v1alpha1.AccessProxy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(proxyOf)).
		Complete(r)
}

func proxyOf(_ context.Context, obj client.Object) []reconcile.Request {
	if obj.GetName() != v1alpha1.ProxyName {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: v1alpha1.AccessProxyDefault}}}
}
