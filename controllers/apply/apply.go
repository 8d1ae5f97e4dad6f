// Package apply server-side-applies what the operator wants and remembers what it applied,
// so that a busy gate does not ask the API server for what is there already.
package apply

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldOwner is the operator's field manager.
const FieldOwner = client.FieldOwner("cardea-operator")

// refresh is how long a memory is trusted: drift that no watch reports is undone after it.
const refresh = 10 * time.Minute

// Applier applies objects for owners. It is safe for concurrent use.
type Applier struct {
	Client client.Client
	Clock  clock.PassiveClock

	mu   sync.Mutex
	done map[string]map[identity]memory // by owner
}

type identity struct{ Kind, Namespace, Name string }

type memory struct {
	digest [sha256.Size]byte
	at     time.Time
}

// Apply applies obj on behalf of owner, taking over fields that others hold, unless the
// very same was the last that was applied, not long ago, and owner was not forgotten since.
func (a *Applier) Apply(ctx context.Context, owner string, obj runtime.ApplyConfiguration) error {
	raw, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("encode %T: %w", obj, err)
	}
	var head struct {
		Kind     string
		Metadata struct{ Namespace, Name string }
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return fmt.Errorf("decode %T: %w", obj, err)
	}
	id := identity{head.Kind, head.Metadata.Namespace, head.Metadata.Name}
	m := memory{digest: sha256.Sum256(raw), at: a.Clock.Now()}
	if a.fresh(owner, id, m) {
		return nil
	}
	if err := a.Client.Apply(ctx, obj, FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s/%s: %w", id.Kind, id.Namespace, id.Name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		a.done = map[string]map[identity]memory{}
	}
	if a.done[owner] == nil {
		a.done[owner] = map[identity]memory{}
	}
	a.done[owner][id] = m
	return nil
}

func (a *Applier) fresh(owner string, id identity, m memory) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, ok := a.done[owner][id]
	return ok && old.digest == m.digest && m.at.Sub(old.at) < refresh
}

// Forget makes the next Apply for owner ask the API server again: something of the owner's
// changed.
func (a *Applier) Forget(owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.done, owner)
}
