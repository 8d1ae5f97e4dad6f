package commandrule

import (
	"context"

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
	"github.com/cardea-dev/cardea/controllers/gather"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// summary says how Ready follows: the steps set it directly.
var summary = conditions.Summary{Owned: []string{v1alpha1.ConditionReady}}

// Reconciler keeps the conditions of CommandRules.
type Reconciler struct {
	Client        client.Client
	Recorder      events.EventRecorder
	Clock         clock.PassiveClock
	RootNamespace string
}

// scope is one reconcile of one CommandRule.
type scope struct {
	rule *v1alpha1.CommandRule
	set  conditions.Set
}

// Reconcile says whether one CommandRule compiles and how many Targets it selects.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	rule := &v1alpha1.CommandRule{}
	if err := r.Client.Get(ctx, req.NamespacedName, rule); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{rule: rule}
	s.set = conditions.Set{List: &rule.Status.Conditions, Generation: rule.Generation, Now: r.Clock.Now()}
	patcher := conditions.NewPatcher(r.Client, rule, s.set)
	rule.Status.ObservedGeneration = rule.Generation
	defer func() {
		result, err = patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, s,
		conditions.Step[*scope]{Name: "count Targets", Run: r.count},
		conditions.Step[*scope]{Name: "compile", Run: r.compile},
	)
}

func (r *Reconciler) count(ctx context.Context, s *scope) (ctrl.Result, error) {
	n, err := gather.Selected(ctx, r.Client, s.rule.Namespace, r.RootNamespace, &s.rule.Spec.TargetSelector)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.rule.Status.Targets = n
	return ctrl.Result{}, nil
}

func (r *Reconciler) compile(_ context.Context, s *scope) (ctrl.Result, error) {
	if a := policy.AssessCommandRule(s.rule); !a.OK {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionReady, a.Reason, 0, "%s", a.Message)
	}
	s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, "the rule compiles")
	return ctrl.Result{}, nil
}

// SetupWithManager starts watching.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("commandrule").
		For(&v1alpha1.CommandRule{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Target{}, handler.EnqueueRequestsFromMapFunc(r.rulesFor), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Complete(r)
}

func (r *Reconciler) rulesFor(ctx context.Context, target client.Object) []reconcile.Request {
	return gather.RulesFor(ctx, r.Client, &v1alpha1.CommandRuleList{}, target, r.RootNamespace)
}
