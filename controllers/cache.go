package controllers

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

// CacheOptions returns what the manager's cache holds.
func CacheOptions() cache.Options {
	managed := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{desired.LabelManagedBy: desired.ManagedBy})}
	return cache.Options{
		DefaultTransform: strip,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:                {Label: exists(v1alpha1.LabelGrantUID)},
			&corev1.ConfigMap{}:             {Label: exists(v1alpha1.LabelSession)},
			&corev1.Pod{}:                   {Label: labels.SelectorFromSet(desired.Selector())},
			&appsv1.Deployment{}:            managed,
			&corev1.Service{}:               managed,
			&corev1.ServiceAccount{}:        managed,
			&rbacv1.Role{}:                  managed,
			&rbacv1.RoleBinding{}:           managed,
			&rbacv1.ClusterRole{}:           managed,
			&rbacv1.ClusterRoleBinding{}:    managed,
			&networkingv1.NetworkPolicy{}:   managed,
			&policyv1.PodDisruptionBudget{}: managed,
		},
	}
}

// consentOptions returns what the cache of upstream Secrets holds. It is a cache of its
// own because a cache has one selector for each kind.
func consentOptions() cache.Options {
	return cache.Options{
		DefaultTransform: strip,
		ByObject:         map[client.Object]cache.ByObject{&corev1.Secret{}: {Label: exists(v1alpha1.LabelTarget)}},
	}
}

// strip drops what no reconciler looks at and what takes most of the room.
func strip(in any) (any, error) {
	obj, ok := in.(metav1.Object)
	if !ok {
		// A tombstone of a deletion: it is kept as it is.
		return in, nil
	}
	obj.SetManagedFields(nil)
	if a := obj.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
		delete(a, corev1.LastAppliedConfigAnnotation)
	}
	return in, nil
}

func exists(label string) labels.Selector {
	// The key is a constant of the API: it is valid.
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		return labels.Nothing()
	}
	return labels.NewSelector().Add(*requirement)
}
