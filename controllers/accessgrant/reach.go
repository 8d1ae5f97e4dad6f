package accessgrant

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

// weigh tells, before anybody approves, whether the role of a grant leads to values of Secrets
// although the gate denies or masks them. It warns: who wrote the Target decided on the role.
func (r *Reconciler) weigh(ctx context.Context, s *scope) (ctrl.Result, error) {
	const condition = v1alpha1.ConditionSecretsReachable
	p := s.grant.Spec.Kubernetes
	switch {
	case p == nil || s.target.Spec.Kubernetes == nil:
		s.set.Remove(condition)
		return ctrl.Result{}, nil
	case !desired.OwnCluster(s.target):
		s.set.Unknown(condition, v1alpha1.ReasonOtherCluster, "the role is one of another cluster, which the operator does not read")
		return ctrl.Result{}, nil
	}
	rules, err := r.rulesOf(ctx, p)
	if apierrors.IsNotFound(err) {
		s.set.Unknown(condition, v1alpha1.ReasonReferenceMissing, "%s %s does not exist in every namespace of the grant", p.RoleRef.Kind, p.RoleRef.Name)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read %s %s: %w", p.RoleRef.Kind, p.RoleRef.Name, err)
	}
	ways := desired.ReachesSecrets(p, rules)
	if len(ways) == 0 {
		s.set.False(condition, v1alpha1.ReasonUnreachable, "nothing that the role permits leads to values of Secrets")
		return ctrl.Result{}, nil
	}
	before, how := s.set.Get(condition), strings.Join(ways, "; ")
	s.set.True(condition, v1alpha1.ReasonReachable, "the grant leads to values of Secrets: %s", how)
	if before == nil || before.Status != metav1.ConditionTrue {
		r.Recorder.Eventf(s.grant, nil, corev1.EventTypeWarning, condition, "Reconcile", "the grant leads to values of Secrets: %s", how)
	}
	return ctrl.Result{}, nil
}

// rulesOf reads what a grant's role permits, in any of its namespaces.
func (r *Reconciler) rulesOf(ctx context.Context, p *v1alpha1.KubernetesPermissions) ([]rbacv1.PolicyRule, error) {
	if p.RoleRef.Kind == v1alpha1.RoleKindClusterRole {
		role := &rbacv1.ClusterRole{}
		err := r.Live.Get(ctx, client.ObjectKey{Name: p.RoleRef.Name}, role)
		return role.Rules, err
	}
	var rules []rbacv1.PolicyRule
	for _, ns := range p.Namespaces {
		role := &rbacv1.Role{}
		if err := r.Live.Get(ctx, client.ObjectKey{Namespace: ns, Name: p.RoleRef.Name}, role); err != nil {
			return nil, err
		}
		rules = slices.Concat(rules, role.Rules)
	}
	return rules, nil
}
