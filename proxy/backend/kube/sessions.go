package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// sessions writes Session objects.
type sessions struct {
	b  *Backend
	mu sync.Mutex
	// made are the sessions whose objects this process made and that have not settled.
	made map[string]bool
}

// Session implements backend.Backend.
func (b *Backend) Session(ctx context.Context, s *v1alpha1.Session) error {
	b.sessions.mu.Lock()
	made := b.sessions.made[s.Name]
	b.sessions.mu.Unlock()
	if !made {
		if err := b.createSession(ctx, s); err != nil {
			return err
		}
	}
	status, err := json.Marshal(map[string]any{"status": s.Status})
	if err != nil {
		return err
	}
	_, err = b.resource("Session").Patch(ctx, s.Name, types.MergePatchType, status, metav1.PatchOptions{FieldManager: v1alpha1.ProxyName}, "status")
	settled := s.Status.EndedAt != nil && s.Status.Recording.State != v1alpha1.RecordingOpen
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err) && settled:
		err = nil // retention was faster
	case apierrors.IsNotFound(err):
		delete(b.sessions.made, s.Name)
		return err
	}
	if settled && err == nil {
		delete(b.sessions.made, s.Name)
	}
	return err
}

// createSession makes the object, unless it is there: made before the answer was lost, or
// by the process whose recordings this one took over.
func (b *Backend) createSession(ctx context.Context, s *v1alpha1.Session) error {
	u, err := encode(s, "Session")
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(u.Object, "status")
	_, err = b.resource("Session").Create(ctx, u, metav1.CreateOptions{FieldManager: v1alpha1.ProxyName})
	if apierrors.IsAlreadyExists(err) {
		err = b.sameSession(ctx, s)
	}
	if err != nil {
		return err
	}
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	if b.sessions.made == nil {
		b.sessions.made = map[string]bool{}
	}
	b.sessions.made[s.Name] = true
	return nil
}

func (b *Backend) sameSession(ctx context.Context, s *v1alpha1.Session) error {
	u, err := b.resource("Session").Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	stored := new(v1alpha1.Session)
	if err := decode(u, stored); err != nil {
		return err
	}
	if stored.Spec.GrantRef.UID != s.Spec.GrantRef.UID || stored.Spec.Proxy != s.Spec.Proxy {
		return fmt.Errorf("another Session has the name %s", s.Name)
	}
	return nil
}

// Ended reports whether the Session of a name is known to have ended: in this process or,
// when its pod is gone, by the operator's word.
func (b *Backend) Ended(session string) bool {
	for _, s := range b.sources {
		if s.kind != "Session" {
			continue
		}
		o, ok, err := s.informer.GetStore().GetByKey(b.c.Namespace + "/" + session)
		u, is := o.(*unstructured.Unstructured)
		if err != nil || !ok || !is {
			return false
		}
		_, ended, err := unstructured.NestedString(u.Object, "status", "endedAt")
		return err == nil && ended
	}
	return false
}
