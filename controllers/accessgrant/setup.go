package accessgrant

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

const (
	indexTarget           = "spec.targetRef.name"
	indexSubjectNamespace = "spec.subject.namespace"

	// sweepInterval is how often all delivered Secrets are compared with the grants.
	sweepInterval = 10 * time.Minute
)

// SetupWithManager starts watching.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := r.index(ctx, mgr); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(r.sweepAll)); err != nil {
		return fmt.Errorf("add the sweep of Secrets: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("accessgrant").
		For(&v1alpha1.AccessGrant{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Watches(&v1alpha1.Target{}, handler.EnqueueRequestsFromMapFunc(r.grantsOfTarget), builder.WithPredicates(targetChanged)).
		Watches(&v1alpha1.AccessPolicy{}, handler.EnqueueRequestsFromMapFunc(r.grantsUnder), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.ApprovalRequest{}, handler.EnqueueRequestsFromMapFunc(grantOfRequest)).
		Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(r.grantsOfGate), builder.WithPredicates(proxyChanged)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(grantOfChild)).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(grantOfChild)).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.grantsOfSubjects), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Complete(r)
}

func (r *Reconciler) index(ctx context.Context, mgr ctrl.Manager) error {
	for field, value := range map[string]func(*v1alpha1.AccessGrant) string{
		indexTarget:           func(g *v1alpha1.AccessGrant) string { return g.Spec.TargetRef.Name },
		indexSubjectNamespace: func(g *v1alpha1.AccessGrant) string { return g.Spec.Subject.Namespace },
	} {
		err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.AccessGrant{}, field, func(obj client.Object) []string {
			g, ok := obj.(*v1alpha1.AccessGrant)
			if !ok || value(g) == "" {
				return nil
			}
			return []string{value(g)}
		})
		if err != nil {
			return fmt.Errorf("index AccessGrants by %s: %w", field, err)
		}
	}
	return nil
}

func (r *Reconciler) grantsOfTarget(ctx context.Context, obj client.Object) []reconcile.Request {
	return r.grants(ctx, client.InNamespace(obj.GetNamespace()), client.MatchingFields{indexTarget: obj.GetName()})
}

func (r *Reconciler) grantsOfGate(ctx context.Context, obj client.Object) []reconcile.Request {
	return r.grants(ctx, client.InNamespace(obj.GetNamespace()))
}

// grantsUnder returns the grants that a policy may be about: those of its namespace, or all
// for one in the root namespace.
func (r *Reconciler) grantsUnder(ctx context.Context, obj client.Object) []reconcile.Request {
	if obj.GetNamespace() == r.RootNamespace {
		return r.grants(ctx)
	}
	return r.grants(ctx, client.InNamespace(obj.GetNamespace()))
}

func (r *Reconciler) grantsOfSubjects(ctx context.Context, obj client.Object) []reconcile.Request {
	return r.grants(ctx, client.MatchingFields{indexSubjectNamespace: obj.GetName()})
}

// grants returns the grants that match and have not ended for good.
func (r *Reconciler) grants(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.AccessGrantList
	if err := r.Client.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list AccessGrants")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		g := &list.Items[i]
		if c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionReady); c != nil &&
			c.ObservedGeneration == g.Generation && (c.Reason == v1alpha1.ReasonExpired || c.Reason == v1alpha1.ReasonRevoked) {
			continue
		}
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(g)})
	}
	return out
}

// grantOfChild returns the grant that a delivered Secret, or a RoleBinding, says it is of. At
// start-up this visits every one, so that those whose grant is gone are swept.
func grantOfChild(_ context.Context, obj client.Object) []reconcile.Request {
	l := obj.GetLabels()
	if l[desired.LabelManagedBy] != desired.ManagedBy || l[v1alpha1.LabelGate] == "" || l[v1alpha1.LabelGrant] == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: l[v1alpha1.LabelGate], Name: l[v1alpha1.LabelGrant]}}}
}

// sweepAll deletes Secrets whose grant is gone, again and again until ctx ends: deletion
// is also heard of, but an event can be lost with the process that heard it.
func (r *Reconciler) sweepAll(ctx context.Context) error {
	// The waiting is by a real clock: only decisions are made by the injected one.
	ticker := clock.RealClock{}.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := r.sweepOrphans(ctx); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Failed to sweep Secrets")
			}
		}
	}
}

func (r *Reconciler) sweepOrphans(ctx context.Context) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := r.Client.List(ctx, list); err != nil {
		return fmt.Errorf("list delivered Secrets: %w", err)
	}
	var bindings rbacv1.RoleBindingList
	if err := r.Client.List(ctx, &bindings); err != nil {
		return fmt.Errorf("list RoleBindings of grants: %w", err)
	}
	children := make([]client.Object, 0, len(list.Items)+len(bindings.Items))
	for i := range list.Items {
		children = append(children, &list.Items[i])
	}
	for i := range bindings.Items {
		children = append(children, &bindings.Items[i])
	}
	for _, child := range children {
		for _, req := range grantOfChild(ctx, child) {
			err := r.Client.Get(ctx, req.NamespacedName, &v1alpha1.AccessGrant{})
			if err == nil {
				continue
			}
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("read AccessGrant: %w", err)
			}
			if err := r.sweep(ctx, req.NamespacedName); err != nil {
				return err
			}
		}
	}
	return nil
}

// targetChanged passes what a grant depends on: the Target's spec, its labels, by which
// policies select it, and whether it is open.
var targetChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.Target)
	after, ok2 := e.ObjectNew.(*v1alpha1.Target)
	if !ok || !ok2 || before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) {
		return true
	}
	a := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionAccepted)
	b := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionAccepted)
	return (a == nil) != (b == nil) || (a != nil && (a.Status != b.Status || a.Message != b.Message || a.ObservedGeneration != b.ObservedGeneration))
}}

// proxyChanged passes a proxy that comes up or goes down.
var proxyChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*appsv1.Deployment)
	after, ok2 := e.ObjectNew.(*appsv1.Deployment)
	return !ok || !ok2 || available(before) != available(after) || stale(before) != stale(after) || trouble(before) != trouble(after)
}}
