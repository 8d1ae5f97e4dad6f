package target

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// SetupWithManager starts watching. Consent is a cache of the metadata of Secrets whose
// owners let a Target use them.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, consent cache.Cache) error {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	changed := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).
		Named("target").
		For(&v1alpha1.Target{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, reachabilityChanged))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Watches(&v1alpha1.MaskingRule{}, handler.EnqueueRequestsFromMapFunc(r.targetsUnder), changed).
		Watches(&v1alpha1.CommandRule{}, handler.EnqueueRequestsFromMapFunc(r.targetsUnder), changed).
		Watches(&v1alpha1.AccessPolicy{}, handler.EnqueueRequestsFromMapFunc(r.targetsUnder), changed).
		Watches(&v1alpha1.RecordingStore{}, handler.EnqueueRequestsFromMapFunc(r.targetsUnder), builder.WithPredicates(storeChanged)).
		WatchesRawSource(source.Kind(consent, client.Object(secret), handler.EnqueueRequestsFromMapFunc(targetOfSecret))).
		Complete(r)
}

// targetsUnder returns the Targets that a rule, policy or store may be about: those of its
// namespace, or all for one in the root namespace.
func (r *Reconciler) targetsUnder(ctx context.Context, obj client.Object) []reconcile.Request {
	opts := []client.ListOption{client.UnsafeDisableDeepCopy}
	if obj.GetNamespace() != r.RootNamespace {
		opts = append(opts, client.InNamespace(obj.GetNamespace()))
	}
	var list v1alpha1.TargetList
	if err := r.Client.List(ctx, &list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list Targets")
		return nil
	}
	out := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		out[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
	}
	return out
}

func targetOfSecret(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: obj.GetNamespace(), Name: obj.GetLabels()[v1alpha1.LabelTarget],
	}}}
}

// reachabilityChanged passes what the proxy reports.
var reachabilityChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.Target)
	after, ok2 := e.ObjectNew.(*v1alpha1.Target)
	if !ok || !ok2 {
		return true
	}
	return differs(before.Status.Conditions, after.Status.Conditions, v1alpha1.ConditionUpstreamReachable)
}}

// storeChanged passes changes of whether a store takes recordings.
var storeChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.RecordingStore)
	after, ok2 := e.ObjectNew.(*v1alpha1.RecordingStore)
	if !ok || !ok2 || before.Generation != after.Generation {
		return true
	}
	return differs(before.Status.Conditions, after.Status.Conditions, v1alpha1.ConditionReady)
}}

func differs(before, after []metav1.Condition, conditionType string) bool {
	a, b := meta.FindStatusCondition(before, conditionType), meta.FindStatusCondition(after, conditionType)
	return (a == nil) != (b == nil) ||
		(a != nil && (a.Status != b.Status || a.Message != b.Message || a.ObservedGeneration != b.ObservedGeneration))
}
