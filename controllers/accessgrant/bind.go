package accessgrant

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/desired"
)

// bind binds the role of a grant on this cluster to the grant's own user, in each namespace
// that the grant names, from its start on. The bindings of an earlier incarnation go.
func (r *Reconciler) bind(ctx context.Context, s *scope) (ctrl.Result, error) {
	if !desired.OwnCluster(s.target) {
		return ctrl.Result{}, r.unbind(ctx, s.grant.Namespace, s.grant.Name, "")
	}
	if err := r.unbind(ctx, s.grant.Namespace, s.grant.Name, s.grant.UID); err != nil {
		return ctrl.Result{}, err
	}
	if start := s.grant.Status.StartsAt.Time; s.now.Before(start) {
		return s.until(start), nil
	}
	for _, ns := range s.grant.Spec.Kubernetes.Namespaces {
		if err := r.bindIn(ctx, s, ns); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) bindIn(ctx context.Context, s *scope, namespace string) error {
	if err := r.roleIn(ctx, s.grant.Spec.Kubernetes.RoleRef, namespace); err != nil {
		return err
	}
	want := desired.GrantBinding(s.grant, namespace)
	key := client.ObjectKeyFromObject(want)
	have := &rbacv1.RoleBinding{}
	err := r.Client.Get(ctx, key, have)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read RoleBinding %s: %w", key, err)
	}
	if err == nil && have.RoleRef == want.RoleRef && slices.Equal(have.Subjects, want.Subjects) {
		return nil
	}
	if err == nil {
		// Somebody changed it: the reference to a role cannot be changed back.
		if err := r.deleteBinding(ctx, have); err != nil {
			return err
		}
	}
	// Create, and never apply: nothing that somebody else made of this name is taken over.
	switch err := r.Client.Create(ctx, want); {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return conditions.Waiting(v1alpha1.ConditionActive, v1alpha1.ReasonReferenceMissing, again,
			"Namespace %s, which the grant names, does not exist", namespace)
	case apierrors.IsForbidden(err):
		return conditions.Waiting(v1alpha1.ConditionActive, v1alpha1.ReasonDenied, again,
			"the API server refuses to bind %s %s in namespace %s: %s", want.RoleRef.Kind, want.RoleRef.Name, namespace, err)
	default:
		return fmt.Errorf("create RoleBinding %s: %w", key, err)
	}
}

// roleIn checks that a Role is there to be bound: the API server binds what is not, and
// whoever makes it later decides what the grant permits.
func (r *Reconciler) roleIn(ctx context.Context, role v1alpha1.RoleReference, namespace string) error {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind(string(role.Kind)))
	key, where := client.ObjectKey{Name: role.Name}, ""
	if role.Kind == v1alpha1.RoleKindRole {
		key.Namespace, where = namespace, " in namespace "+namespace
	}
	err := r.Live.Get(ctx, key, m)
	if apierrors.IsNotFound(err) {
		return conditions.Waiting(v1alpha1.ConditionActive, v1alpha1.ReasonReferenceMissing, again, "%s %s does not exist%s", role.Kind, role.Name, where)
	}
	if err != nil {
		return fmt.Errorf("read %s %s: %w", role.Kind, role.Name, err)
	}
	return nil
}

// unbind deletes the bindings of a grant, but for those of one incarnation.
func (r *Reconciler) unbind(ctx context.Context, namespace, name string, but types.UID) error {
	var list rbacv1.RoleBindingList
	if err := r.Client.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelGate: namespace, v1alpha1.LabelGrant: name}); err != nil {
		return fmt.Errorf("list RoleBindings of the grant: %w", err)
	}
	for i := range list.Items {
		b := &list.Items[i]
		if uid := b.Labels[v1alpha1.LabelGrantUID]; uid == "" || but != "" && uid == string(but) || b.Name != desired.GrantBindingName(types.UID(uid)) {
			continue
		}
		if err := r.deleteBinding(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// unbindNow deletes the bindings of a grant that ended, also those that the cache does not
// have yet.
func (r *Reconciler) unbindNow(ctx context.Context, g *v1alpha1.AccessGrant) error {
	if g.Spec.Kubernetes != nil {
		for _, ns := range g.Spec.Kubernetes.Namespaces {
			b := &rbacv1.RoleBinding{}
			err := r.Live.Get(ctx, client.ObjectKey{Namespace: ns, Name: desired.GrantBindingName(g.UID)}, b)
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("read RoleBinding in namespace %s: %w", ns, err)
			}
			if err == nil && b.Labels[v1alpha1.LabelGrantUID] == string(g.UID) {
				if err := r.deleteBinding(ctx, b); err != nil {
					return err
				}
			}
		}
	}
	return r.unbind(ctx, g.Namespace, g.Name, "")
}

func (r *Reconciler) deleteBinding(ctx context.Context, b *rbacv1.RoleBinding) error {
	uid := b.UID
	if err := r.Client.Delete(ctx, b, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete RoleBinding %s: %w", client.ObjectKeyFromObject(b), err)
	}
	return nil
}
