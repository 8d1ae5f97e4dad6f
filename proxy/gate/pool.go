package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// Bounds of the pool.
const (
	maxIdle  = 1024  // tracks that wait for another connection
	maxKnown = 16384 // tracks whose recording is not wholly stored
	// nameSpace is how much of a grant's name is in a session's.
	nameSpace = 50
)

// pool makes tracks, keeps those of short connections for the next one, and follows them
// until their recordings are stored.
type pool struct {
	c       Config
	objects *writer

	mu      sync.Mutex
	closed  bool
	adopted bool
	idle    map[trackKey][]*track // oldest first
	idling  int
	known   map[string]*track       // by name, until settled
	early   map[string]func(*track) // progress of recordings that Adopt has not seen yet
}

func newPool(c Config, objects *writer) *pool {
	return &pool{c: c, objects: objects, idle: map[trackKey][]*track{}, known: map[string]*track{}, early: map[string]func(*track){}}
}

// acquire returns a track for an admitted connection and the connection's number on it.
func (p *pool) acquire(ctx context.Context, a *policy.Admission) (*track, uint32, error) {
	now := p.c.Clock.Now()
	if t, number := p.adopt(keyOf(a), now); t != nil {
		p.objects.touch(t)
		return t, number, nil
	}
	t := newTrack(sessionName(a.Grant.Name), p.c.Namespace, p.c.Proxy, a, now)
	recorder, err := p.c.Spool.Open(ctx, recording.Started{
		Session: t.name, Namespace: p.c.Namespace, Grant: a.Grant.Name, GrantUID: string(a.Grant.UID),
		Target: a.Target.Name, TargetUID: string(a.Target.UID), Subject: a.Grant.Spec.Subject.Username(),
		Reason: a.Grant.Spec.Reason, Client: t.spec.Client, Proxy: p.c.Proxy, Store: a.Store.Name,
	})
	if err != nil {
		return nil, 0, err
	}
	t.recorder, t.connections = p.c.Metrics.recorder(recorder), 1
	p.mu.Lock()
	full := len(p.known) >= maxKnown
	if !full {
		p.known[t.name] = t
	}
	p.mu.Unlock()
	if full {
		_ = recorder.Close(reasons[policy.CodeLimit])
		return nil, 0, fmt.Errorf("%d recordings await their store", maxKnown)
	}
	p.objects.touch(t)
	return t, 1, nil
}

// adopt takes an idle track of the key, if there is one that may be shared further.
func (p *pool) adopt(key trackKey, now time.Time) (*track, uint32) {
	terminated := p.c.Backend.Current().Terminated
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.idle[key] {
		if now.Sub(t.spec.StartedAt.Time) > p.c.Limits.MaxShared || terminated(t.name) {
			continue
		}
		p.removeIdle(t)
		t.mu.Lock()
		t.connections++
		number := t.connections
		t.mu.Unlock()
		return t, number
	}
	return nil, 0
}

// release takes back a track whose connection ended after it lived for the given time.
func (p *pool) release(t *track, reason string, lived time.Duration) {
	now := p.c.Clock.Now()
	p.mu.Lock()
	keep := reason == reasonClientClosed && lived < p.c.Limits.Linger && !p.closed && p.idling < maxIdle &&
		now.Sub(t.spec.StartedAt.Time) <= p.c.Limits.MaxShared
	if keep {
		t.idleUntil = now.Add(p.c.Limits.Linger)
		p.idle[t.key] = append(p.idle[t.key], t)
		p.idling++
	}
	p.mu.Unlock()
	if keep {
		p.objects.note(t)
		return
	}
	p.finish(t, reason, now)
}

func (p *pool) removeIdle(t *track) {
	all := p.idle[t.key]
	for i := range all {
		if all[i] == t {
			all = append(all[:i:i], all[i+1:]...)
			p.idling--
			break
		}
	}
	if p.idle[t.key] = all; len(all) == 0 {
		delete(p.idle, t.key)
	}
}

// admits reports whether another connection like the last one of an idle track would be
// admitted. If not, nothing keeps the track: a proxy whose grants are gone has soon nothing
// to do.
func admits(current *policy.Snapshot, t *track, now time.Time) bool {
	_, err := current.Admit(t.request, now)
	return err == nil
}

// sweep ends the idle tracks whose time is over, and has the objects of the others written
// where their counters changed.
func (p *pool) sweep(current *policy.Snapshot, now time.Time) {
	var over []*track
	p.mu.Lock()
	for _, all := range p.idle {
		for _, t := range all {
			if !now.Before(t.idleUntil) || current.Terminated(t.name) || !admits(current, t, now) {
				over = append(over, t)
			}
		}
	}
	for _, t := range over {
		p.removeIdle(t)
	}
	known := make([]*track, 0, len(p.known))
	for name, t := range p.known {
		if t.settled() {
			delete(p.known, name)
			continue
		}
		known = append(known, t)
	}
	p.mu.Unlock()
	for _, t := range over {
		reason := reasonClientClosed
		if current.Terminated(t.name) {
			reason = reasons[policy.CodeTerminated]
		}
		p.finish(t, reason, now)
	}
	for _, t := range known {
		p.objects.note(t)
	}
}

// close ends what is idle; later releases end at once.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*track
	for _, ts := range p.idle {
		all = append(all, ts...)
	}
	clear(p.idle)
	p.idling = 0
	p.mu.Unlock()
	for _, t := range all {
		p.finish(t, reasonClientClosed, p.c.Clock.Now())
	}
}

func (p *pool) finish(t *track, reason string, now time.Time) {
	if err := t.recorder.Close(reason); err != nil {
		p.c.Log.Error(err, "Cannot close a recording", "session", t.name)
	}
	t.finish(now, reason)
	p.objects.touch(t)
}

// Progress notes how far the recording of a session was stored. It does not block; it is
// what a Spool's Progress is for.
func (g *Gate) Progress(session string, stored recording.Stored) {
	g.shared.mu.Lock()
	t := g.shared.known[session]
	if t == nil && !g.shared.adopted {
		g.shared.early[session] = func(t *track) { t.progress(stored) }
	}
	g.shared.mu.Unlock()
	if t == nil {
		return
	}
	t.progress(stored)
	if t.settled() {
		g.objects.touch(t)
	} else {
		g.objects.note(t)
	}
}

// Adopt takes over the sessions that an earlier process left in the spool: their objects
// are brought to their end. It is called once, before Run; what Progress was told before is
// not lost.
func (g *Gate) Adopt(found []recording.Recovered) {
	for _, r := range found {
		reason := r.Reason
		if r.Cut {
			reason = v1alpha1.ReasonCut
		}
		t := &track{name: r.Started.Session, namespace: r.Started.Namespace,
			endedAt: r.LastEvent, endReason: reason, key: trackKey{store: r.Started.Store},
			spec: v1alpha1.SessionSpec{
				DesiredState: v1alpha1.SessionActive,
				GrantRef:     v1alpha1.ObjectIdentity{Name: r.Started.Grant, UID: types.UID(r.Started.GrantUID)},
				TargetRef:    v1alpha1.ObjectIdentity{Name: r.Started.Target, UID: types.UID(r.Started.TargetUID)},
				Subject:      subjectOf(r.Started.Subject), Client: r.Started.Client, Proxy: r.Started.Proxy,
				StartedAt: metav1.NewMicroTime(r.LastEvent),
			}}
		g.shared.mu.Lock()
		g.shared.known[t.name] = t
		if tell := g.shared.early[t.name]; tell != nil {
			tell(t)
		}
		g.shared.mu.Unlock()
		g.objects.touch(t)
		g.c.Log.Info("Recovered a recording", "session", t.name, "cut", r.Cut)
	}
	g.shared.mu.Lock()
	g.shared.adopted = true
	clear(g.shared.early)
	g.shared.mu.Unlock()
}

// subjectOf is the inverse of Subject.Username.
func subjectOf(username string) v1alpha1.Subject {
	if rest, ok := strings.CutPrefix(username, "system:serviceaccount:"); ok {
		if namespace, name, ok := strings.Cut(rest, ":"); ok {
			return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}
		}
	}
	return v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: username}
}

func sessionName(grant string) string {
	if len(grant) > nameSpace {
		grant = strings.TrimRight(grant[:nameSpace], "-.")
	}
	return grant + "-" + rand.String(5)
}
