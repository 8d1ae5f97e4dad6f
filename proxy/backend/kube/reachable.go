package kube

import (
	"context"
	"errors"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// reachPause is the least time between two writes of conditions.
	reachPause = 200 * time.Millisecond
	// reachRetry is the pause after a failed write.
	reachRetry = 5 * time.Second
	// flapPause is how long a target that became reachable or not stays so for readers.
	flapPause  = 5 * time.Second
	maxTargets = 10000
)

// reachability writes the condition UpstreamReachable, on change only.
type reachability struct {
	b    *Backend
	wake chan struct{}

	mu   sync.Mutex
	want map[types.UID]*reach
}

type reach struct {
	name       string
	generation int64
	ok         bool
	message    string
	written    bool
	at         time.Time // of the last write
}

func newReachability(b *Backend) *reachability {
	return &reachability{b: b, wake: make(chan struct{}, 1), want: map[types.UID]*reach{}}
}

// Reachable implements backend.Backend.
func (b *Backend) Reachable(t *v1alpha1.Target, err error) {
	r := b.reachable
	message := "the proxy's last attempt to sign in succeeded"
	if err != nil {
		message = err.Error()
		if refusal := new(policy.Refusal); errors.As(err, &refusal) {
			message = refusal.Message
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.want[t.UID]
	if old != nil && old.ok == (err == nil) && old.generation == t.Generation && (err == nil || old.message == message) {
		return
	}
	if old == nil && len(r.want) >= maxTargets {
		return
	}
	n := &reach{name: t.Name, generation: t.Generation, ok: err == nil, message: message}
	if old != nil {
		n.at = old.at
	}
	r.want[t.UID] = n
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends.
func (r *reachability) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for {
			n, wait := r.next()
			if n == nil && wait == 0 {
				break
			}
			if n != nil {
				wait = reachPause
				if err := r.write(ctx, n); err != nil {
					r.b.c.Log.Info("Cannot write a condition; it is tried again", "Target", n.name, "reason", err.Error())
					wait = reachRetry
				} else {
					r.mu.Lock()
					n.written = true
					r.mu.Unlock()
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-r.b.c.Clock.After(wait):
			}
		}
	}
}

// next returns what is to be written now, or how long to wait for it.
func (r *reachability) next() (*reach, time.Duration) {
	now := r.b.c.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var wait time.Duration
	for _, n := range r.want {
		if n.written {
			continue
		}
		if due := n.at.Add(flapPause).Sub(now); due > 0 {
			if wait == 0 || due < wait {
				wait = due
			}
			continue
		}
		n.at = now
		return n, 0
	}
	return nil, wait
}

func (r *reachability) write(ctx context.Context, n *reach) error {
	status, reason := metav1.ConditionTrue, v1alpha1.ReasonReachable
	if !n.ok {
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonUnreachable
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": n.name, "namespace": r.b.c.Namespace},
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": v1alpha1.ConditionUpstreamReachable, "status": string(status), "reason": reason,
			"message": policy.Printable(n.message, 1024), "observedGeneration": n.generation,
			"lastTransitionTime": r.b.c.Clock.Now().UTC().Format(time.RFC3339),
		}}},
	}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Target"))
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := r.b.resource("Target").ApplyStatus(ctx, n.name, u, metav1.ApplyOptions{FieldManager: v1alpha1.ProxyName, Force: true})
	return err
}
