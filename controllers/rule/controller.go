package rule

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// Kind is one of the kinds of rules, CommandRules, MaskingRules or AccessPolicies.
type Kind struct {
	name string
	list func() client.ObjectList
	make func() scope
}

// CommandRules are the rules about commands.
var CommandRules = Kind{
	name: string(v1alpha1.RuleKindCommand),
	list: func() client.ObjectList { return &v1alpha1.CommandRuleList{} },
	make: func() scope {
		r := &v1alpha1.CommandRule{}
		return scope{rule: r, selector: &r.Spec.TargetSelector, status: &r.Status, assess: func() policy.Assessment { return policy.AssessCommandRule(r) }}
	},
}

// MaskingRules are the rules about columns.
var MaskingRules = Kind{
	name: string(v1alpha1.RuleKindMasking),
	list: func() client.ObjectList { return &v1alpha1.MaskingRuleList{} },
	make: func() scope {
		r := &v1alpha1.MaskingRule{}
		return scope{rule: r, selector: &r.Spec.TargetSelector, status: &r.Status, assess: func() policy.Assessment { return policy.AssessMaskingRule(r) }}
	},
}

// AccessPolicies are the rules about grants.
var AccessPolicies = Kind{
	name: "AccessPolicy",
	list: func() client.ObjectList { return &v1alpha1.AccessPolicyList{} },
	make: func() scope {
		r := &v1alpha1.AccessPolicy{}
		return scope{rule: r, selector: &r.Spec.TargetSelector, status: &r.Status, assess: func() policy.Assessment { return policy.AssessAccessPolicy(r) }}
	},
}

// Reconciler keeps the conditions of the rules of one kind.
type Reconciler struct {
	Kind          Kind
	Client        client.Client
	Recorder      events.EventRecorder
	Clock         clock.PassiveClock
	RootNamespace string
}

// scope is one reconcile of one rule. All but set is the kind's; selector and status point
// into rule, and assess judges it.
type scope struct {
	rule     client.Object
	selector *metav1.LabelSelector
	status   *v1alpha1.RuleStatus
	assess   func() policy.Assessment
	set      conditions.Set
}

// Reconcile says whether one rule compiles and how many Targets it selects.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	s := r.Kind.make()
	if err := r.Client.Get(ctx, req.NamespacedName, s.rule); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s.set = conditions.Set{List: &s.status.Conditions, Generation: s.rule.GetGeneration(), Now: r.Clock.Now()}
	patcher := conditions.NewPatcher(r.Client, s.rule, s.set)
	s.status.ObservedGeneration = s.rule.GetGeneration()
	defer func() {
		result, err = patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, &s,
		conditions.Step[*scope]{Name: "count Targets", Run: r.count},
		conditions.Step[*scope]{Name: "compile", Run: r.compile},
	)
}

func (r *Reconciler) count(ctx context.Context, s *scope) (ctrl.Result, error) {
	n, err := gather.Selected(ctx, r.Client, s.rule.GetNamespace(), r.RootNamespace, s.selector)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.status.Targets = n
	return ctrl.Result{}, nil
}

func (r *Reconciler) compile(_ context.Context, s *scope) (ctrl.Result, error) {
	if a := s.assess(); !a.OK {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionReady, a.Reason, 0, "%s", a.Message)
	}
	s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, "it compiles")
	return ctrl.Result{}, nil
}

// SetupWithManager starts watching.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(strings.ToLower(r.Kind.name)).
		For(r.Kind.make().rule, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Target{}, handler.EnqueueRequestsFromMapFunc(r.rulesFor), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Complete(r)
}

func (r *Reconciler) rulesFor(ctx context.Context, target client.Object) []reconcile.Request {
	return gather.RulesFor(ctx, r.Client, r.Kind.list(), target, r.RootNamespace)
}
