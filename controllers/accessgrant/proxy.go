package accessgrant

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
)

// awaitProxy waits for the gate's proxy, which the gate's reconciler starts because of
// this grant.
func (r *Reconciler) awaitProxy(ctx context.Context, s *scope) (ctrl.Result, error) {
	d := &appsv1.Deployment{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.grant.Namespace, Name: v1alpha1.ProxyName}, d)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read the proxy's Deployment: %w", err)
	}
	// A grant that had a proxy keeps it while the Deployment changes.
	had := meta.IsStatusConditionTrue(s.grant.Status.Conditions, v1alpha1.ConditionProxyReady)
	if err != nil || !available(d) || stale(d) && !had {
		return ctrl.Result{}, conditions.Waiting(v1alpha1.ConditionProxyReady, v1alpha1.ReasonProgressing, again,
			"the proxy in namespace %s starts%s", s.grant.Namespace, trouble(d))
	}
	s.set.True(v1alpha1.ConditionProxyReady, v1alpha1.ReasonReady, "the proxy is up")
	return ctrl.Result{}, nil
}

func available(d *appsv1.Deployment) bool {
	return d.Spec.Replicas != nil && *d.Spec.Replicas > 0 && d.Status.AvailableReplicas > 0
}

// stale reports whether the status is of before the last change: it may count proxies that are
// being scaled to zero.
func stale(d *appsv1.Deployment) bool { return d.Status.ObservedGeneration < d.Generation }

// trouble says what the Deployment complains about.
func trouble(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		failed := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue ||
			c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse
		if failed {
			return ": " + c.Message
		}
	}
	return ""
}
