package accessgrant

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

// withdraw takes the grant's credential away: the verifiers from the status, which the
// caller writes, every Secret that bears the grant's UID, and what its role was bound by.
func (r *Reconciler) withdraw(ctx context.Context, s *scope) error {
	s.grant.Status.Verifiers = nil
	s.grant.Status.SecretRef = nil
	r.verified.forget(s.grant.UID)
	if err := r.unbindNow(ctx, s.grant); err != nil {
		return err
	}
	// The Secret may be newer than the cache, so it is also asked for by its name.
	if err := r.deleteSecret(ctx, secretKey(s.grant), s.grant.Namespace, s.grant.Name); err != nil {
		return err
	}
	return r.deleteSecrets(ctx, s.grant.Namespace, s.grant.Name)
}

// sweep deletes the Secrets and bindings of a grant that is gone, and closes what it asked.
func (r *Reconciler) sweep(ctx context.Context, grant types.NamespacedName) error {
	// The cache of grants may be behind that of Secrets; only the API server knows.
	err := r.Live.Get(ctx, grant, &v1alpha1.AccessGrant{})
	if err == nil {
		return nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read AccessGrant: %w", err)
	}
	if err := r.unbind(ctx, grant.Namespace, grant.Name, ""); err != nil {
		return err
	}
	if err := r.withdrawRequests(ctx, grant.Namespace, grant.Name, ""); err != nil {
		return err
	}
	return r.deleteSecrets(ctx, grant.Namespace, grant.Name)
}

func (r *Reconciler) deleteSecrets(ctx context.Context, namespace, name string) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := r.Client.List(ctx, list, client.MatchingLabels{v1alpha1.LabelGate: namespace, v1alpha1.LabelGrant: name}); err != nil {
		return fmt.Errorf("list Secrets of the grant: %w", err)
	}
	for i := range list.Items {
		r.verified.forget(types.UID(list.Items[i].Labels[v1alpha1.LabelGrantUID]))
		if err := r.deleteSecret(ctx, client.ObjectKeyFromObject(&list.Items[i]), namespace, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) deleteSecret(ctx context.Context, key types.NamespacedName, namespace, name string) error {
	secret := &corev1.Secret{}
	switch err := r.Live.Get(ctx, key, secret); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read Secret %s: %w", key, err)
	case !ours(secret, namespace, name):
		return nil
	}
	return r.delete(ctx, secret)
}

func (r *Reconciler) delete(ctx context.Context, secret *corev1.Secret) error {
	uid, version := secret.UID, secret.ResourceVersion
	err := r.Client.Delete(ctx, secret, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Secret %s: %w", client.ObjectKeyFromObject(secret), err)
	}
	return nil
}

// ours reports whether the operator made a Secret, for a grant of this name.
func ours(secret *corev1.Secret, namespace, name string) bool {
	l := secret.Labels
	return delivered(secret.Type) && l[desired.LabelManagedBy] == desired.ManagedBy &&
		l[v1alpha1.LabelGate] == namespace && l[v1alpha1.LabelGrant] == name && l[v1alpha1.LabelGrantUID] != ""
}
