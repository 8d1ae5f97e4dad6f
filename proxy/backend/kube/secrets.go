package kube

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/backend"
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

// finder reads the objects that Targets of the gate namespace name.
type finder struct{ s *secrets }

// Secret implements backend.Finder.
func (f finder) Secret(ctx context.Context, name string) (*corev1.Secret, error) {
	namespace := f.s.b.c.Namespace
	s, err := read(ctx, f.s, "Secret/"+name, func(ctx context.Context) (*corev1.Secret, error) {
		return f.s.b.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	return s, missing(err)
}

// ConfigMap implements backend.Finder.
func (f finder) ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	namespace := f.s.b.c.Namespace
	c, err := read(ctx, f.s, "ConfigMap/"+name, func(ctx context.Context) (*corev1.ConfigMap, error) {
		return f.s.b.core.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	return c, missing(err)
}

func missing(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return backend.Missing("is missing")
	case apierrors.IsForbidden(err):
		return backend.Missing("may not be read by the proxy yet")
	}
	return err
}

// Login implements session.Secrets.
func (b *Backend) Login(ctx context.Context, t *v1alpha1.Target) (session.Login, error) {
	if k := t.Spec.Kubernetes; k != nil && k.Server == nil {
		return b.ownLogin()
	}
	return backend.Login(ctx, finder{&b.secrets}, t)
}

// CA implements session.Secrets.
func (b *Backend) CA(ctx context.Context, t *v1alpha1.Target) ([]byte, error) {
	if k := t.Spec.Kubernetes; k != nil && k.Server == nil {
		return b.ownAuthorities()
	}
	return backend.CA(ctx, finder{&b.secrets}, t)
}
