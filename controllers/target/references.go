package target

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
)

// maxBundle bounds what is parsed as a bundle of certificate authorities.
const maxBundle = 1 << 20

// checkLogin checks the Secret with the upstream login, without reading it.
func (r *Reconciler) checkLogin(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.target.Namespace == r.RootNamespace {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalid, 0,
			"the operator's own namespace is no gate: make the Target in a namespace of its own")
	}
	if k := s.target.Spec.Kubernetes; k != nil {
		return ctrl.Result{}, r.checkCluster(ctx, s.target, k)
	}
	if ssh := s.target.Spec.SSH; ssh != nil {
		return ctrl.Result{}, r.usable(ctx, s.target, ssh.KeySecret(), corev1.SecretTypeSSHAuth, "the key ssh-privatekey")
	}
	if s.target.Spec.Postgres == nil || s.target.Spec.Postgres.LoginSecret() == "" {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, r.usable(ctx, s.target, s.target.Spec.Postgres.LoginSecret(), corev1.SecretTypeBasicAuth, "the keys username and password")
}

// checkCluster checks what a Target that is an API server names: in this cluster its
// ClusterRoles, in another one the Secret that proves who the proxy is. A Role is looked for
// where a grant names a namespace.
func (r *Reconciler) checkCluster(ctx context.Context, t *v1alpha1.Target, k *v1alpha1.KubernetesTarget) error {
	if k.Server != nil {
		err := r.usable(ctx, t, k.Server.CredentialRef.Name, corev1.SecretTypeTLS, "the keys tls.crt and tls.key")
		if blocked := new(conditions.Blocked); errors.As(err, &blocked) && blocked.Reason == v1alpha1.ReasonInvalid {
			return r.usable(ctx, t, k.Server.CredentialRef.Name, corev1.SecretTypeOpaque, "the key token, or of type "+string(corev1.SecretTypeTLS))
		}
		return err
	}
	for _, role := range k.Roles {
		if role.Kind != v1alpha1.RoleKindClusterRole {
			continue
		}
		m := &metav1.PartialObjectMetadata{}
		m.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
		switch err := r.Live.Get(ctx, client.ObjectKey{Name: role.Name}, m); {
		case apierrors.IsNotFound(err):
			return conditions.Waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonReferenceMissing, again, "ClusterRole %s does not exist", role.Name)
		case err != nil:
			return fmt.Errorf("read ClusterRole %s: %w", role.Name, err)
		}
	}
	return nil
}

// checkCertificate checks the Secret with the certificate that the proxy shows the server,
// without reading it.
func (r *Reconciler) checkCertificate(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.target.Spec.Postgres == nil || s.target.Spec.Postgres.TLS.ClientCertRef == nil {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, r.usable(ctx, s.target, s.target.Spec.Postgres.TLS.ClientCertRef.Name, corev1.SecretTypeTLS, "the keys tls.crt and tls.key")
}

// usable checks that a Secret is there, is of a type and that its owner has consented. That
// it is of the type is asked of the API server, so that its content is not read.
func (r *Reconciler) usable(ctx context.Context, t *v1alpha1.Target, name string, want corev1.SecretType, keys string) error {
	if err := r.consented(ctx, t, name); err != nil {
		return err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := r.Live.List(ctx, list, client.InNamespace(t.Namespace), client.MatchingFields{"metadata.name": name, "type": string(want)})
	if err != nil {
		return fmt.Errorf("ask for the type of Secret %s: %w", name, err)
	}
	if len(list.Items) == 0 {
		return conditions.Stalled(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalid, again,
			"Secret %s is not of type %s: make it of that type, with %s", name, want, keys)
	}
	return nil
}

// consented checks that a Secret is there and that its owner lets this Target use it.
func (r *Reconciler) consented(ctx context.Context, t *v1alpha1.Target, name string) error {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: t.Namespace, Name: name}, secret)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read Secret %s: %w", name, err)
	}
	if err != nil {
		return conditions.Waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonReferenceMissing, again,
			"Secret %s does not exist", name)
	}
	if secret.Labels[v1alpha1.LabelTarget] != t.Name {
		return conditions.Stalled(v1alpha1.ConditionAccepted, v1alpha1.ReasonConsentMissing, again,
			"the owner of Secret %s has not consented to this Target: label the Secret %s=%s", name, v1alpha1.LabelTarget, t.Name)
	}
	return nil
}

// checkAuthorities checks that the bundle the Target names can be used.
func (r *Reconciler) checkAuthorities(ctx context.Context, s *scope) (ctrl.Result, error) {
	var ref *v1alpha1.KeyReference
	switch pg, k := s.target.Spec.Postgres, s.target.Spec.Kubernetes; {
	case pg != nil:
		ref = pg.TLS.CARef
	case k != nil && k.Server != nil:
		ref = k.Server.CARef
	}
	if ref == nil {
		return ctrl.Result{}, nil
	}
	bundle, err := r.bundle(ctx, s.target, ref)
	if err != nil {
		return ctrl.Result{}, err
	}
	if bundle == nil {
		return ctrl.Result{}, conditions.Waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonReferenceMissing, again,
			"%s %s has no key %s", ref.Kind, ref.Name, ref.Key)
	}
	if err := parseBundle(bundle); err != nil {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalid, again,
			"key %s of %s %s is no bundle of certificates in PEM: %s", ref.Key, ref.Kind, ref.Name, err)
	}
	return ctrl.Result{}, nil
}

// bundle returns what a key reference names; nil if the object has no such key. A Secret
// is read only with its owner's consent.
func (r *Reconciler) bundle(ctx context.Context, t *v1alpha1.Target, ref *v1alpha1.KeyReference) ([]byte, error) {
	key := client.ObjectKey{Namespace: t.Namespace, Name: ref.Name}
	if ref.Kind == "Secret" {
		if err := r.consented(ctx, t, ref.Name); err != nil {
			return nil, err
		}
		secret := &corev1.Secret{}
		if err := r.Live.Get(ctx, key, secret); err != nil {
			return nil, fmt.Errorf("read Secret %s: %w", ref.Name, err)
		}
		return secret.Data[ref.Key], nil
	}
	cm := &corev1.ConfigMap{}
	if err := r.Live.Get(ctx, key, cm); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, conditions.Waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonReferenceMissing, again,
				"ConfigMap %s does not exist", ref.Name)
		}
		return nil, fmt.Errorf("read ConfigMap %s: %w", ref.Name, err)
	}
	if text, ok := cm.Data[ref.Key]; ok {
		return []byte(text), nil
	}
	return cm.BinaryData[ref.Key], nil
}

// parseBundle fails unless b holds certificates in PEM. Its errors quote nothing of b.
func parseBundle(b []byte) error {
	if len(b) > maxBundle {
		return fmt.Errorf("it has more than %d bytes", maxBundle)
	}
	found := false
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return errors.New("it holds something else than certificates")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return errors.New("a certificate in it cannot be parsed")
		}
		found = true
	}
	if !found {
		return errors.New("there is no certificate in it")
	}
	return nil
}
