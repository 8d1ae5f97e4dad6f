package approval

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// open knows the requests that this process has open, which a listing may not show yet,
// and lets one call at a time list, create and consume for a grant. Its zero value is
// ready for use.
type open struct {
	mu     sync.Mutex
	grants map[types.UID]*openGrant
}

// openGrant is the state of one grant. All but turn is guarded by open.mu.
type openGrant struct {
	turn    chan struct{}
	holders int // who have or wait for the turn
	// made are requests of this process that no listing has shown yet, by name.
	made map[string]*v1alpha1.ApprovalRequest
	// spoiled are requests whose consumption has an unknown outcome, with the time at which
	// they lapse: nobody may consume them any more.
	spoiled map[types.UID]time.Time
}

// enter waits for the grant's turn. The caller calls leave when it is done.
func (o *open) enter(ctx context.Context, grant types.UID, now time.Time) (*openGrant, error) {
	o.mu.Lock()
	o.sweep(now)
	if o.grants == nil {
		o.grants = map[types.UID]*openGrant{}
	}
	g := o.grants[grant]
	if g == nil {
		g = &openGrant{turn: make(chan struct{}, 1), made: map[string]*v1alpha1.ApprovalRequest{}, spoiled: map[types.UID]time.Time{}}
		o.grants[grant] = g
	}
	g.holders++
	o.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		return g, nil
	case <-ctx.Done():
		o.release(g)
		return nil, ctx.Err()
	}
}

func (o *open) leave(g *openGrant) {
	<-g.turn
	o.release(g)
}

func (o *open) release(g *openGrant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.holders--
}

// sweep forgets what has lapsed, of every grant.
func (o *open) sweep(now time.Time) {
	for uid, g := range o.grants {
		for name, r := range g.made {
			if !now.Before(r.Spec.ExpiresAt.Time) {
				delete(g.made, name)
			}
		}
		for request, lapses := range g.spoiled {
			if !now.Before(lapses) {
				delete(g.spoiled, request)
			}
		}
		if g.holders == 0 && len(g.made)+len(g.spoiled) == 0 {
			delete(o.grants, uid)
		}
	}
}

// merge returns the grant's requests: those listed, and those made here that the listing
// does not show yet.
func (o *open) merge(g *openGrant, listed []*v1alpha1.ApprovalRequest) []*v1alpha1.ApprovalRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range listed {
		delete(g.made, r.Name)
	}
	all := slices.Clone(listed)
	for _, r := range g.made {
		all = append(all, r)
	}
	return all
}

func (o *open) remember(g *openGrant, r *v1alpha1.ApprovalRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.made[r.Name] = r
}

func (o *open) forget(g *openGrant, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(g.made, name)
}

func (o *open) spoil(g *openGrant, r *v1alpha1.ApprovalRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.spoiled[r.UID] = r.Spec.ExpiresAt.Time
}

func (o *open) isSpoiled(g *openGrant, r *v1alpha1.ApprovalRequest) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, spoiled := g.spoiled[r.UID]
	return spoiled
}
