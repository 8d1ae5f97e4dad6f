package authority

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// memory is how long an authority is used without reading its Secret again.
const memory = time.Minute

// Store keeps authorities in Secrets of one namespace. It is safe for concurrent use;
// several operators may share the Secrets.
type Store struct {
	// Live reads from the API server and not from a cache: the contents of Secrets are not
	// cached.
	Live      client.Reader
	Client    client.Client
	Clock     clock.PassiveClock
	Namespace string

	mu    sync.Mutex
	known map[string]known
}

type known struct {
	keys *Keys
	at   time.Time
}

// Ensure returns the authority of the named Secret, made or rotated where that is due. The
// labels are put on a Secret that it makes.
func (s *Store) Ensure(ctx context.Context, name string, labels map[string]string) (*Keys, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	if r, ok := s.known[name]; ok && now.Sub(r.at) < memory {
		return r.keys, nil
	}
	keys, err := s.load(ctx, name, labels, now)
	if err != nil {
		return nil, err
	}
	if s.known == nil {
		s.known = map[string]known{}
	}
	s.known[name] = known{keys, now}
	return keys, nil
}

// Forget makes the next Ensure read the Secret again.
func (s *Store) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

func (s *Store) load(ctx context.Context, name string, labels map[string]string, now time.Time) (*Keys, error) {
	secret := &corev1.Secret{}
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return s.create(ctx, name, labels, now)
	}
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", name, err)
	}
	keys, err := Parse(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("authority in Secret %s/%s: %w; delete it to have a new one made", s.Namespace, name, err)
	}
	rotated, changed, err := keys.Rotated(name, now)
	if err != nil || !changed {
		return keys, err
	}
	secret.Data = rotated.Data()
	if err := s.Client.Update(ctx, secret); err != nil {
		return nil, fmt.Errorf("write authority %s: %w", name, err)
	}
	return rotated, nil
}

func (s *Store) create(ctx context.Context, name string, labels map[string]string, now time.Time) (*Keys, error) {
	keys, err := New(name, now)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name, Labels: labels},
		Data:       keys.Data(),
	}
	if err := s.Client.Create(ctx, secret); err != nil {
		return nil, fmt.Errorf("make authority %s: %w", name, err)
	}
	return keys, nil
}
