package accessgrant

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/desired"
	"github.com/cardea-dev/cardea/proxy/credentials"
)

var namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")

// issue sees to it that the subject's Secret holds a credential that the proxy knows.
func (r *Reconciler) issue(ctx context.Context, s *scope) (ctrl.Result, error) {
	if err := r.consented(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	keys, err := r.Authorities.Ensure(ctx, desired.CAName(s.grant.Namespace), desired.Labels(s.grant.Namespace))
	if err != nil {
		return ctrl.Result{}, err
	}
	held, err := r.held(ctx, s, keys)
	if err != nil {
		return ctrl.Result{}, err
	}
	if held == nil || r.rotationDue(s, held) {
		if held, err = r.mint(ctx, s, keys, held); err != nil {
			return ctrl.Result{}, err
		}
	}
	s.keep(held)
	key := secretKey(s.grant)
	s.grant.Status.SecretRef = &v1alpha1.NamespacedName{Namespace: key.Namespace, Name: key.Name}
	s.set.True(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonCredentialIssued,
		"Secret %s holds credential %s, good until %s", key, held.ID, held.ExpiresAt.UTC().Format(time.RFC3339))
	return r.nextCredential(s, held), nil
}

// mint makes a credential: first its verifier is stored, on condition that nobody else
// wrote the grant since it was read, then its Secret. The credential that the Secret held
// so far stays good for the overlap; without one no other stays good, so that deleting a
// leaked Secret replaces what was in it.
func (r *Reconciler) mint(ctx context.Context, s *scope, keys *authority.Keys, held *v1alpha1.CredentialVerifier) (*v1alpha1.CredentialVerifier, error) {
	begin := s.now
	if start := s.grant.Status.StartsAt.Time; begin.Before(start) {
		begin = start
	}
	expires := begin.Add(r.Rotation + r.Overlap)
	if end := s.grant.Status.ExpiresAt.Time; end.Before(expires) {
		expires = end
	}
	minted, err := credentials.Mint(s.grant, keys.Signer(), begin, expires, r.Random)
	if err != nil {
		return nil, err
	}
	verifiers := []v1alpha1.CredentialVerifier{minted.Verifier}
	if held != nil {
		verifiers = append(verifiers, *held)
	}
	s.grant.Status.Verifiers = verifiers
	if err := s.patcher.Patch(ctx); err != nil {
		return nil, err
	}
	if err := r.deliver(ctx, s, minted, keys); err != nil {
		return nil, err
	}
	r.Recorder.Eventf(s.grant, nil, corev1.EventTypeNormal, v1alpha1.ReasonCredentialIssued, "Mint",
		"credential %s is in Secret %s", minted.Verifier.ID, secretKey(s.grant))
	return &minted.Verifier, nil
}

// keep drops verifiers that are over or that belong to a credential which never reached
// its Secret.
func (s *scope) keep(held *v1alpha1.CredentialVerifier) {
	var out []v1alpha1.CredentialVerifier
	passed := false
	for _, v := range s.grant.Status.Verifiers {
		if v.ID == held.ID {
			passed = true
		}
		if passed && (v.ID == held.ID || s.now.Before(v.ExpiresAt.Time)) {
			out = append(out, v)
		}
	}
	s.grant.Status.Verifiers = out
}

func (r *Reconciler) rotationDue(s *scope, held *v1alpha1.CredentialVerifier) bool {
	at := r.rotateAt(s, held)
	return !at.IsZero() && !s.now.Before(at)
}

// rotateAt returns when the next credential is minted: a little before the rotation
// interval is over, at a moment that differs from grant to grant. The last credential of a
// grant is not replaced.
func (r *Reconciler) rotateAt(s *scope, held *v1alpha1.CredentialVerifier) time.Time {
	if !held.ExpiresAt.Time.Before(s.grant.Status.ExpiresAt.Time) {
		return time.Time{}
	}
	h := fnv.New32a()
	// A hash never fails to write.
	_, _ = h.Write([]byte(string(s.grant.UID) + held.ID))
	jitter := time.Duration(float64(r.Rotation/10) * float64(h.Sum32()) / (1 << 32))
	return held.NotBefore.Add(r.Rotation - jitter)
}

func (r *Reconciler) nextCredential(s *scope, held *v1alpha1.CredentialVerifier) ctrl.Result {
	var result ctrl.Result
	if at := r.rotateAt(s, held); !at.IsZero() {
		result = s.until(at)
	}
	for _, v := range s.grant.Status.Verifiers {
		if v.ID != held.ID {
			result = conditions.Earliest(result, s.until(v.ExpiresAt.Time))
		}
	}
	return result
}

// deliverable refuses a Secret in a place or of a name that belongs to the operator.
func (r *Reconciler) deliverable(g *v1alpha1.AccessGrant) error {
	key := secretKey(g)
	if key.Namespace == r.RootNamespace {
		return conditions.Stalled(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalid, 0,
			"no credential is delivered into the operator's own namespace %s", key.Namespace)
	}
	if key.Name == v1alpha1.ProxyTLSName || strings.HasPrefix(key.Name, v1alpha1.ProxyName) {
		return conditions.Stalled(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalid, 0,
			"credentials.secretName %s is kept for the proxy: make a grant with another name", key.Name)
	}
	return nil
}

// consented checks that the subject's namespace takes credentials of this gate. Where it
// does not, or no longer, none stays there.
func (r *Reconciler) consented(ctx context.Context, s *scope) error {
	if s.grant.Spec.Subject.Kind != v1alpha1.SubjectServiceAccount {
		return nil
	}
	name := s.grant.Spec.Subject.Namespace
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(namespaceKind)
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, ns)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read Namespace %s: %w", name, err)
	}
	if err == nil && ns.DeletionTimestamp.IsZero() && ns.Labels[v1alpha1.LabelAcceptFrom] == s.grant.Namespace {
		return nil
	}
	missing := err != nil
	if err := r.withdraw(ctx, s); err != nil {
		return err
	}
	if missing {
		return conditions.Waiting(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonReferenceMissing, again,
			"Namespace %s of the subject does not exist", name)
	}
	return conditions.Waiting(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonNamespaceRefuses, again,
		"Namespace %s takes no credentials from here: label it %s=%s", name, v1alpha1.LabelAcceptFrom, s.grant.Namespace)
}
