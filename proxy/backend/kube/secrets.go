package kube

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// remembered is how long what was read of a Secret or ConfigMap is good for: a burst of
// short connections reads it once.
const remembered = 2 * time.Second

// secrets reads Secrets and ConfigMaps by name.
type secrets struct {
	b  *Backend
	mu sync.Mutex
	at map[string]reading
}

type reading struct {
	time  time.Time
	value any
}

// read returns a recent result of get, or a new one. Errors are not remembered.
func read[T any](ctx context.Context, s *secrets, key string, get func(context.Context) (T, error)) (T, error) {
	now := s.b.c.Clock.Now()
	s.mu.Lock()
	r, ok := s.at[key]
	s.mu.Unlock()
	if value, is := r.value.(T); ok && is && now.Sub(r.time) < remembered {
		return value, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	value, err := get(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, r := range s.at {
		if now.Sub(r.time) >= remembered {
			delete(s.at, k) // no login stays in memory for long
		}
	}
	if err != nil {
		return value, err
	}
	if s.at == nil {
		s.at = map[string]reading{}
	}
	s.at[key] = reading{now, value}
	return value, nil
}

func (s *secrets) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return read(ctx, s, "Secret/"+namespace+"/"+name, func(ctx context.Context) (*corev1.Secret, error) {
		return s.b.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

func (s *secrets) configMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return read(ctx, s, "ConfigMap/"+namespace+"/"+name, func(ctx context.Context) (*corev1.ConfigMap, error) {
		return s.b.core.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

// Login implements session.Secrets.
func (b *Backend) Login(ctx context.Context, t *v1alpha1.Target) (session.Login, error) {
	if t.Spec.Postgres == nil || t.Spec.Postgres.Login == nil {
		return session.Login{}, unusable(t, "it names no login")
	}
	name := t.Spec.Postgres.Login.SecretRef.Name
	what := fmt.Sprintf("Secret %s with its login ", name)
	s, err := b.secrets.secret(ctx, t.Namespace, name)
	switch {
	case err != nil:
		return session.Login{}, unreadable(t, what, err)
	case s.Labels[v1alpha1.LabelTarget] != t.Name:
		return session.Login{}, unusable(t, what+fmt.Sprintf("lacks the label %s: %s, its owner's consent", v1alpha1.LabelTarget, t.Name))
	case s.Type != corev1.SecretTypeBasicAuth:
		return session.Login{}, unusable(t, what+fmt.Sprintf("is not of type %s", corev1.SecretTypeBasicAuth))
	case len(s.Data[corev1.BasicAuthUsernameKey]) == 0 || len(s.Data[corev1.BasicAuthPasswordKey]) == 0:
		return session.Login{}, unusable(t, what+"has no username or no password")
	}
	return session.Login{Username: string(s.Data[corev1.BasicAuthUsernameKey]), Password: string(s.Data[corev1.BasicAuthPasswordKey])}, nil
}

// CA implements session.Secrets.
func (b *Backend) CA(ctx context.Context, t *v1alpha1.Target) ([]byte, error) {
	if t.Spec.Postgres == nil || t.Spec.Postgres.TLS.CARef == nil {
		return nil, nil
	}
	ref := t.Spec.Postgres.TLS.CARef
	what := fmt.Sprintf("%s %s of its caRef ", ref.Kind, ref.Name)
	var bundle []byte
	switch ref.Kind {
	case "ConfigMap":
		c, err := b.secrets.configMap(ctx, t.Namespace, ref.Name)
		if err != nil {
			return nil, unreadable(t, what, err)
		}
		if bundle = []byte(c.Data[ref.Key]); len(bundle) == 0 {
			bundle = c.BinaryData[ref.Key]
		}
	case "Secret":
		s, err := b.secrets.secret(ctx, t.Namespace, ref.Name)
		if err != nil {
			return nil, unreadable(t, what, err)
		}
		if s.Labels[v1alpha1.LabelTarget] != t.Name {
			return nil, unusable(t, what+fmt.Sprintf("lacks the label %s: %s, its owner's consent", v1alpha1.LabelTarget, t.Name))
		}
		bundle = s.Data[ref.Key]
	}
	if !x509.NewCertPool().AppendCertsFromPEM(bundle) {
		return nil, unusable(t, what+fmt.Sprintf("has no certificate in PEM under the key %s", ref.Key))
	}
	return bundle, nil
}

func unreadable(t *v1alpha1.Target, what string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return unusable(t, what+"is missing")
	case apierrors.IsForbidden(err):
		return unusable(t, what+"may not be read by the proxy yet")
	}
	return fmt.Errorf("read %s: %w", what, err)
}

func unusable(t *v1alpha1.Target, why string) error {
	return &policy.Refusal{Code: policy.CodeTargetShut, Rule: "Target/" + t.Namespace + "/" + t.Name,
		Message: fmt.Sprintf("Target %s cannot be used: %s", t.Name, why), Hint: "ask an administrator to correct it"}
}
