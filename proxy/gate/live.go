package gate

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// tick is how often expiry and staleness are looked at. The wall clock is compared, so that
// a machine that slept ends what expired meanwhile.
const tick = 250 * time.Millisecond

// liveSession is one admitted connection.
type liveSession struct {
	request policy.Request
	track   *track
	session *session.Session
	conn    net.Conn
	cancel  context.CancelCauseFunc
	number  uint64 // in the order of admission, by the registry

	mu        sync.Mutex // held while the admission is replaced, so that an older one never wins
	snapshot  *policy.Snapshot
	admission *policy.Admission
}

// end makes the session permit nothing more and ends it.
func (l *liveSession) end(cause error) {
	l.session.Stop(cause)
	l.cancel(cause)
}

// registry knows the admitted connections and bounds their number.
type registry struct {
	limits Limits

	mu       sync.Mutex
	seats    int
	admitted uint64
	perGrant map[types.UID]int
	sessions map[*liveSession]struct{}
}

func newRegistry(limits Limits) *registry {
	return &registry{limits: limits, perGrant: map[types.UID]int{}, sessions: map[*liveSession]struct{}{}}
}

// reserve takes a seat for a session; the result gives it back.
func (r *registry) reserve(a *policy.Admission) (func(), error) {
	grant := a.Grant.UID
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seats >= r.limits.Sessions {
		return nil, tooMany("the gate", r.seats)
	}
	if r.perGrant[grant] >= r.limits.SessionsPerGrant {
		return nil, tooMany("the grant", r.perGrant[grant])
	}
	if n := a.MaxSessions; n > 0 && r.perGrant[grant] >= n {
		return nil, beyond(n)
	}
	r.seats++
	r.perGrant[grant]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seats--
		if r.perGrant[grant]--; r.perGrant[grant] == 0 {
			delete(r.perGrant, grant)
		}
	}, nil
}

func (r *registry) add(l *liveSession) {
	r.mu.Lock()
	r.admitted++
	l.number = r.admitted
	r.sessions[l] = struct{}{}
	r.mu.Unlock()
}

func (r *registry) remove(l *liveSession) {
	r.mu.Lock()
	delete(r.sessions, l)
	r.mu.Unlock()
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

func (r *registry) all() []*liveSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*liveSession, 0, len(r.sessions))
	for l := range r.sessions {
		out = append(out, l)
	}
	return out
}

// trim ends the newest sessions of each grant that are more than policies permit now.
func (r *registry) trim() {
	byGrant := map[types.UID][]*liveSession{}
	for _, l := range r.all() {
		byGrant[l.request.GrantUID] = append(byGrant[l.request.GrantUID], l)
	}
	for _, all := range byGrant {
		slices.SortFunc(all, func(a, b *liveSession) int { return cmp.Compare(a.number, b.number) })
		for i, l := range all {
			l.mu.Lock()
			limit := l.admission.MaxSessions
			l.mu.Unlock()
			if limit > 0 && i >= limit {
				l.end(beyond(limit))
			}
		}
	}
}

// watch keeps the live sessions to the policy and the clock until ctx ends.
func (g *Gate) watch(ctx context.Context) {
	t := g.c.Clock.NewTicker(tick)
	defer t.Stop()
	for {
		changed := g.c.Backend.Changed()
		for _, l := range g.live.all() {
			g.recheck(l)
		}
		g.live.trim()
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				waiting = false
			case <-t.C():
				g.tick()
			}
		}
	}
}

// tick ends what the clock ends.
func (g *Gate) tick() {
	now := g.c.Clock.Now()
	tooOld := now.Sub(g.c.Backend.ProvenAt()) > g.c.Limits.MaxStaleness
	for _, l := range g.live.all() {
		if tooOld {
			l.end(stale())
			continue
		}
		g.recheck(l)
	}
	g.shared.sweep(g.c.Backend.Current(), now)
}

// recheck admits a live session again if the policy changed or its time is up, and ends it
// if it may live no longer.
func (g *Gate) recheck(l *liveSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	current, now := g.c.Backend.Current(), g.c.Clock.Now()
	if current == l.snapshot && now.Before(l.admission.ExpiresAt) {
		return
	}
	a, err := current.Admit(l.request, now)
	switch {
	case err != nil:
		l.end(err)
	case !now.Before(a.ExpiresAt):
		l.end(&policy.Refusal{Code: policy.CodeGrantExpired, Message: "the grant's time is over", Hint: "ask for a new grant"})
	case current.Terminated(l.track.name):
		l.end(terminated())
	case a.Target.UID != l.admission.Target.UID || elsewhere(a.Target.Spec.Postgres, l.admission.Target.Spec.Postgres) ||
		!equality.Semantic.DeepEqual(a.Target.Spec.Kubernetes, l.admission.Target.Spec.Kubernetes) ||
		!equality.Semantic.DeepEqual(a.Target.Spec.SSH, l.admission.Target.Spec.SSH):
		l.end(moved())
	default:
		l.snapshot, l.admission = current, a
		l.session.Update(a)
	}
}

// elsewhere reports whether a Target leads to another server or login than before. What
// its limits are does not bear on that.
func elsewhere(now, before *v1alpha1.PostgresTarget) bool {
	if now == nil || before == nil {
		return now != before
	}
	a, b := *now, *before
	a.StatementTimeout, b.StatementTimeout = nil, nil
	return !equality.Semantic.DeepEqual(a, b)
}
