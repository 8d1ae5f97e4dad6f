package accessgrant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/desired"
	"github.com/cardea-dev/cardea/proxy/credentials"
)

var secretKind = corev1.SchemeGroupVersion.WithKind("Secret")

// secretKey returns where a grant's credential is delivered.
func secretKey(g *v1alpha1.AccessGrant) types.NamespacedName {
	key := types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.Credentials.SecretName}
	if g.Spec.Subject.Kind == v1alpha1.SubjectServiceAccount {
		key.Namespace = g.Spec.Subject.Namespace
	}
	if key.Name == "" {
		key.Name = "cardea-" + g.Name
	}
	return key
}

// delivered reports whether a Secret of this type may be a delivered grant.
func delivered(t corev1.SecretType) bool {
	return t == v1alpha1.SecretTypePostgres || t == v1alpha1.SecretTypeKubernetes || t == v1alpha1.SecretTypeSSH
}

// secretType is the type of the Secret by which a grant is delivered.
func secretType(g *v1alpha1.AccessGrant) corev1.SecretType {
	switch {
	case g.Spec.Kubernetes != nil:
		return v1alpha1.SecretTypeKubernetes
	case g.Spec.SSH != nil:
		return v1alpha1.SecretTypeSSH
	}
	return v1alpha1.SecretTypePostgres
}

func secretLabels(g *v1alpha1.AccessGrant) map[string]string {
	return map[string]string{
		desired.LabelPartOf: desired.PartOf, desired.LabelManagedBy: desired.ManagedBy,
		v1alpha1.LabelGate: g.Namespace, v1alpha1.LabelGrant: g.Name, v1alpha1.LabelGrantUID: string(g.UID),
	}
}

// memory remembers which Secrets were found good, so that their content is read again only
// when they changed. It is safe for concurrent use.
type memory struct {
	mu    sync.Mutex
	known map[types.UID]finding
}

type finding struct {
	resourceVersion string
	bundle          [sha256.Size]byte
	credential      string
}

func (m *memory) get(grant types.UID) finding {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[grant]
}

func (m *memory) put(grant types.UID, f finding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[types.UID]finding{}
	}
	m.known[grant] = f
}

func (m *memory) forget(grant types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, grant)
}

// held returns the verifier of the credential that the grant's Secret holds; nil if there
// is no Secret, or none that the proxy knows and that is still good. It repairs everything
// about the Secret but the credential itself, and fails with SecretConflict if the Secret
// is somebody else's.
func (r *Reconciler) held(ctx context.Context, s *scope, keys *authority.Keys) (*v1alpha1.CredentialVerifier, error) {
	key := secretKey(s.grant)
	cached := &metav1.PartialObjectMetadata{}
	cached.SetGroupVersionKind(secretKind)
	if err := client.IgnoreNotFound(r.Client.Get(ctx, key, cached)); err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", key, err)
	}
	known := r.verified.get(s.grant.UID)
	if known.resourceVersion != "" && known.resourceVersion == cached.ResourceVersion && known.bundle == sha256.Sum256(keys.Bundle()) {
		if v := s.verifier(func(v *v1alpha1.CredentialVerifier) bool { return v.ID == known.credential }); v != nil {
			return v, nil
		}
	}
	secret, err := r.read(ctx, s)
	if err != nil || secret == nil {
		return nil, err
	}
	minted := credentials.Held(s.grant, secret.Data, s.grant.Status.Verifiers, s.now)
	if minted == nil {
		return nil, nil
	}
	if err := r.write(ctx, s, secret, minted, keys); err != nil {
		return nil, err
	}
	return &minted.Verifier, nil
}

// read returns the grant's Secret as it is stored; nil if there is none.
func (r *Reconciler) read(ctx context.Context, s *scope) (*corev1.Secret, error) {
	key := secretKey(s.grant)
	secret := &corev1.Secret{}
	if err := r.Live.Get(ctx, key, secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("read Secret %s: %w", key, err)
	}
	if secret.Labels[v1alpha1.LabelGrantUID] == string(s.grant.UID) && secret.Type == secretType(s.grant) {
		return secret, nil
	}
	if ours(secret, s.grant.Namespace, s.grant.Name) {
		// It is of a grant of the same name that was deleted.
		return nil, r.delete(ctx, secret)
	}
	return nil, conditions.Stalled(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonSecretConflict, again,
		"Secret %s is there already and is not of this grant: delete it, or make a grant with another credentials.secretName", key)
}

// verifier returns a copy of the first verifier that is still good and matches.
func (s *scope) verifier(matches func(*v1alpha1.CredentialVerifier) bool) *v1alpha1.CredentialVerifier {
	for _, v := range s.grant.Status.Verifiers {
		if s.now.Before(v.ExpiresAt.Time) && matches(&v) {
			return &v
		}
	}
	return nil
}

// deliver puts a new credential into the grant's Secret.
func (r *Reconciler) deliver(ctx context.Context, s *scope, m *credentials.Minted, keys *authority.Keys) error {
	secret, err := r.read(ctx, s)
	if err != nil {
		return err
	}
	if secret != nil {
		return r.write(ctx, s, secret, m, keys)
	}
	key := secretKey(s.grant)
	secret = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: secretLabels(s.grant)},
		Type:       secretType(s.grant),
		Data:       r.content(s, m, keys),
	}
	// Create, and never apply: whoever made a Secret of this name meanwhile keeps it.
	if err := r.Client.Create(ctx, secret); err != nil {
		return fmt.Errorf("create Secret %s: %w", key, err)
	}
	r.remember(s, secret, m, keys)
	return nil
}

// write brings a Secret of the grant to what it should be, if it is not.
func (r *Reconciler) write(ctx context.Context, s *scope, secret *corev1.Secret, m *credentials.Minted, keys *authority.Keys) error {
	want := secret.DeepCopy()
	maps.Copy(want.Labels, secretLabels(s.grant))
	want.Data = r.content(s, m, keys)
	if !equality.Semantic.DeepEqual(secret, want) {
		if err := r.Client.Update(ctx, want); err != nil {
			return fmt.Errorf("write Secret %s: %w", client.ObjectKeyFromObject(secret), err)
		}
	}
	r.remember(s, want, m, keys)
	return nil
}

func (r *Reconciler) remember(s *scope, secret *corev1.Secret, m *credentials.Minted, keys *authority.Keys) {
	r.verified.put(s.grant.UID, finding{secret.ResourceVersion, sha256.Sum256(keys.Bundle()), m.Verifier.ID})
}

func (r *Reconciler) content(s *scope, m *credentials.Minted, keys *authority.Keys) map[string][]byte {
	e := credentials.Endpoint{
		Host: desired.Host(s.grant.Namespace), Port: desired.PostgresPort,
		CAPEM: bytes.Clone(keys.Bundle()), MountPath: s.grant.Spec.Credentials.MountPath,
	}
	switch {
	case s.grant.Spec.Kubernetes != nil:
		e.Port = desired.KubernetesPort
	case s.grant.Spec.SSH != nil:
		e.Port = desired.SSHPort
	}
	return credentials.Secret(m, e, s.grant)
}
