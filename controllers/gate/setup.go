package gate

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// SetupWithManager starts watching. Consent is the cache that r.Consent reads from.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, consent cache.Cache) error {
	changed := builder.WithPredicates(predicate.Or(
		predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(secretKind)
	return ctrl.NewControllerManagedBy(mgr).
		Named("gate").
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Watches(&v1alpha1.Target{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.AccessProxy{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.AccessGrant{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(grantChanged)).
		Watches(&v1alpha1.Session{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(sessionChanged)).
		Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(r.gateOf), changed).
		Watches(&rbacv1.Role{}, handler.EnqueueRequestsFromMapFunc(r.gateOf)).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(r.gateOf)).
		Watches(&rbacv1.ClusterRole{}, handler.EnqueueRequestsFromMapFunc(r.gateOf)).
		Watches(&rbacv1.ClusterRoleBinding{}, handler.EnqueueRequestsFromMapFunc(r.gateOf)).
		Watches(&networkingv1.NetworkPolicy{}, handler.EnqueueRequestsFromMapFunc(r.gateOf), changed).
		WatchesMetadata(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.gateOf)).
		WatchesMetadata(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(r.gateOf)).
		WatchesMetadata(&policyv1.PodDisruptionBudget{}, handler.EnqueueRequestsFromMapFunc(r.gateOf), changed).
		WatchesRawSource(source.Kind(consent, client.Object(secret), handler.EnqueueRequestsFromMapFunc(namespaceOf))).
		Complete(r)
}

func namespaceOf(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetNamespace()}}}
}

// gateOf returns the gate that a child belongs to, and forgets that it was applied.
func (r *Reconciler) gateOf(_ context.Context, obj client.Object) []reconcile.Request {
	gate := obj.GetLabels()[v1alpha1.LabelGate]
	if gate == "" || !ours(obj, gate) || obj.GetLabels()[v1alpha1.LabelGrant] != "" {
		return nil
	}
	r.Applier.Forget(gate)
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: gate}}}
}

// grantChanged passes changes of what demand depends on.
var grantChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.AccessGrant)
	after, ok2 := e.ObjectNew.(*v1alpha1.AccessGrant)
	return !ok || !ok2 ||
		before.UID != after.UID ||
		before.Spec.DesiredState != after.Spec.DesiredState ||
		accepted(before) != accepted(after) ||
		!before.Status.StartsAt.Equal(after.Status.StartsAt) ||
		!before.Status.ExpiresAt.Equal(after.Status.ExpiresAt)
}}

// sessionChanged passes the end of sessions and of their recordings.
var sessionChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.Session)
	after, ok2 := e.ObjectNew.(*v1alpha1.Session)
	return !ok || !ok2 || unfinished(before) != unfinished(after)
}}
