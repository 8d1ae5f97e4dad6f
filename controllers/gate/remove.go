package gate

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

type child struct {
	gvk             schema.GroupVersionKind
	namespace, name string
}

// children are all objects of a gate. The root namespace's Role comes last: it is what
// brings the operator back here after a restart in between.
func children(namespace, root string) []child {
	name := v1alpha1.ProxyName
	return []child{
		{appsv1.SchemeGroupVersion.WithKind("Deployment"), namespace, name},
		{policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), namespace, name},
		{corev1.SchemeGroupVersion.WithKind("Service"), namespace, name},
		{corev1.SchemeGroupVersion.WithKind("Service"), namespace, v1alpha1.ProxyPeersName},
		{networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), namespace, name},
		{rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, name},
		{rbacv1.SchemeGroupVersion.WithKind("Role"), namespace, name},
		{corev1.SchemeGroupVersion.WithKind("ServiceAccount"), namespace, name},
		{corev1.SchemeGroupVersion.WithKind("ConfigMap"), namespace, v1alpha1.ProxyTLSName},
		{secretKind, namespace, v1alpha1.ProxyTLSName},
		{secretKind, root, desired.CAName(namespace)},
		{rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), root, desired.RootName(namespace)},
		{rbacv1.SchemeGroupVersion.WithKind("Role"), root, desired.RootName(namespace)},
	}
}

// remove deletes what the operator made for a gate, and nothing else that bears one of the
// names.
func (r *Reconciler) remove(ctx context.Context, namespace string) error {
	r.Applier.Forget(namespace)
	r.Authorities.Forget(desired.CAName(namespace))
	return r.removeAll(ctx, namespace, append(impersonation(namespace), children(namespace, r.RootNamespace)...))
}

// impersonation is what lets a gate's proxy impersonate the users of its grants.
func impersonation(namespace string) []child {
	return []child{
		{rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), "", desired.RootName(namespace)},
		{rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", desired.RootName(namespace)},
	}
}

func (r *Reconciler) removeAll(ctx context.Context, namespace string, all []child) error {
	for _, c := range all {
		obj := &metav1.PartialObjectMetadata{}
		obj.SetGroupVersionKind(c.gvk)
		err := r.Live.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: c.name}, obj)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read %s %s/%s: %w", c.gvk.Kind, c.namespace, c.name, err)
		}
		if err != nil || !ours(obj, namespace) {
			continue
		}
		uid := obj.UID
		err = r.Client.Delete(ctx, obj, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %s %s/%s: %w", c.gvk.Kind, c.namespace, c.name, err)
		}
	}
	return nil
}

func ours(obj client.Object, namespace string) bool {
	l := obj.GetLabels()
	return l[desired.LabelManagedBy] == desired.ManagedBy && l[v1alpha1.LabelGate] == namespace
}
