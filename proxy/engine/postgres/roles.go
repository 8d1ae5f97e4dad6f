package postgres

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	// sweepEvery is how often the roles of a target are looked through.
	sweepEvery = time.Minute
	// sweepSoon and sweepLate bound the pause after an attempt that left something. What stands
	// in the way is mostly a lock, and once that is gone the role is to go soon.
	sweepSoon = 2 * time.Second
	sweepLate = sweepEvery
	// tendTimeout bounds dropping one role, and looking through one target.
	tendTimeout = 20 * time.Second
	// maxEnded is how many roles wait to be dropped. What is more is found by looking through
	// the target.
	maxEnded = 8192
	// droppers is how many roles are dropped at a time.
	droppers = 4
)

// Upkeep is what keeping roles that were made for sessions needs. Every field is required.
type Upkeep struct {
	// Proxy is the name of this proxy: its pod's.
	Proxy string
	// Targets are those for whose sessions roles are made.
	Targets func() []policy.Upkeep
	// Ended reports whether the session of a name is known to have ended.
	Ended func(session string) bool
	// Secrets and Dial reach a target without a session.
	Secrets session.Secrets
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Log     logr.Logger
}

// roles makes a role for each session of the Targets that ask for it, and sees to it that
// none is left. What is made is recognised in the target itself, by a comment, so that any
// process drops what another one left.
type roles struct {
	engine *Engine
	upkeep *Upkeep // nil if no roles are made
	began  time.Time
	ended  chan *role // to be dropped
	failed chan *role // to be looked for in their target

	mu      sync.Mutex
	keepers map[keeperKey]*keeper
	live    map[string]bool      // roles of connections of this process
	over    map[string]types.UID // roles of such that ended and are not dropped yet, with their Targets
	left    map[types.UID]int    // by Target: how many roles could not be dropped
}

func newRoles(e *Engine) *roles {
	return &roles{engine: e, upkeep: e.c.Upkeep, began: e.c.Now(), ended: make(chan *role, maxEnded), failed: make(chan *role, maxEnded),
		keepers: map[keeperKey]*keeper{}, live: map[string]bool{}, over: map[string]types.UID{}, left: map[types.UID]int{}}
}

func (r *roles) enter(o *role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[o.login.Username] = true
}

// leave has the role dropped. It does not block.
func (r *roles) leave(o *role) {
	name := o.login.Username
	r.mu.Lock()
	delete(r.live, name)
	if len(r.over) < maxEnded {
		r.over[name] = o.session.Admission().Target.UID
	}
	r.mu.Unlock()
	select {
	case r.ended <- &role{roles: r, session: o.session, database: o.database, login: session.Login{Username: name}}:
	default:
	}
}

func (r *roles) isLive(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[name]
}

// knownOver reports whether a role is of a connection of this process that has ended: there
// is nothing to wait for any more.
func (r *roles) knownOver(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, over := r.over[name]
	return over
}

// dropped forgets a role that is gone.
func (r *roles) dropped(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.over, name)
}

// LeftRoles is how many roles of ended sessions could not be dropped yet.
func (e *Engine) LeftRoles() int {
	e.roles.mu.Lock()
	defer e.roles.mu.Unlock()
	n := 0
	for _, left := range e.roles.left {
		n += left
	}
	return n
}

// Tend drops the roles of sessions that have ended, in this process or in one that is gone,
// until ctx ends; then it drops those whose sessions ended last, and returns. It never gives
// up on a role: what cannot be dropped is tried again, later and later.
func (e *Engine) Tend(ctx context.Context) error {
	r := e.roles
	if r.upkeep == nil {
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for range droppers {
		wg.Go(func() { r.drops(ctx) })
	}
	r.sweeps(ctx)
	return nil
}

// drops drops the roles of this process's sessions. When ctx has ended no session is left, and
// those that ended last are dropped within a bound.
func (r *roles) drops(ctx context.Context) {
	for {
		select {
		case o := <-r.ended:
			r.retire(context.WithoutCancel(ctx), o)
			continue
		case <-ctx.Done():
		}
		break
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tendTimeout)
	defer cancel()
	for {
		select {
		case o := <-r.ended:
			r.retire(last, o)
		default:
			return
		}
	}
}

func (r *roles) retire(ctx context.Context, o *role) {
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	login, err := o.session.Login(ctx)
	if err == nil {
		err = r.drop(ctx, o.session, login, o.database, o.login.Username, true)
	}
	if err == nil {
		return
	}
	r.upkeep.Log.Info("A role could not be dropped; it is tried again", "role", o.login.Username,
		"Target", o.session.Admission().Target.Name, "reason", policy.Printable(err.Error(), maxServerText))
	select {
	case r.failed <- o:
	default:
	}
}

// due is when a target is looked through next.
type due struct {
	at       time.Time
	pause    time.Duration // after the next failure
	database string        // that a session was in; empty if none was seen
}

// sweeps looks through the targets, at first and from time to time.
func (r *roles) sweeps(ctx context.Context) {
	known := map[types.UID]*due{}
	for {
		now := r.engine.c.Now()
		next := now.Add(sweepEvery)
		seen := map[types.UID]bool{}
		for _, t := range r.upkeep.Targets() {
			seen[t.Target.UID] = true
			d := known[t.Target.UID]
			if d == nil {
				d = &due{at: now, pause: sweepSoon}
				known[t.Target.UID] = d
			}
			if !now.Before(d.at) {
				r.look(ctx, t, d)
			}
			if d.at.Before(next) {
				next = d.at
			}
		}
		r.forgetTargets(known, seen)
		timer := time.NewTimer(max(next.Sub(r.engine.c.Now()), time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case o := <-r.failed:
			timer.Stop()
			if d := known[o.session.Admission().Target.UID]; d != nil {
				d.database = o.database
				if soon := r.engine.c.Now().Add(d.pause); soon.Before(d.at) {
					d.at = soon
				}
			}
		}
	}
}

func (r *roles) forgetTargets(known map[types.UID]*due, seen map[types.UID]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid := range known {
		if !seen[uid] {
			delete(known, uid)
			delete(r.left, uid)
		}
	}
	maps.DeleteFunc(r.over, func(_ string, uid types.UID) bool { return !seen[uid] })
}

// look looks through one target and says when to do so again.
func (r *roles) look(ctx context.Context, t policy.Upkeep, d *due) {
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	s := session.ForUpkeep(t.Target, r.upkeep.Secrets, r.upkeep.Dial)
	left, err := 0, errors.New("no database is known")
	for _, database := range databases(d.database, t.Databases) {
		if left, err = r.sweep(ctx, s, database); err == nil {
			break
		}
	}
	if err == nil {
		r.mu.Lock()
		r.left[t.Target.UID] = left
		r.mu.Unlock()
		if left == 0 {
			d.at, d.pause = r.engine.c.Now().Add(sweepEvery), sweepSoon
			return
		}
		r.upkeep.Log.Info("Roles of ended sessions are left; it is tried again", "Target", t.Target.Name, "roles", left)
	} else if ctx.Err() == nil {
		r.upkeep.Log.Info("A target could not be searched for roles of ended sessions; it is tried again", "Target", t.Target.Name,
			"reason", policy.Printable(err.Error(), maxServerText))
	}
	d.at, d.pause = r.engine.c.Now().Add(d.pause), min(2*d.pause, sweepLate)
}

// databases are those to try to sign in to, the likeliest first.
func databases(seen string, granted []string) []string {
	var all []string
	if seen != "" {
		all = append(all, seen)
	}
	return append(append(all, granted...), "postgres")
}
