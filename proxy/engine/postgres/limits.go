package postgres

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// A session is looked at so often while it has a limit: a tenth of the limit, within these
	// bounds.
	minLook = 100 * time.Millisecond
	maxLook = 5 * time.Second
	// unwilling is how long a statement may go on after it was cancelled, before the session
	// ends.
	unwilling = 10 * time.Second
)

// watch keeps a session to the limits of time of its Target and its policies. It takes part in no message: it
// looks at the session now and then, so that limits cost nothing and are exceeded by up to
// a tenth. A limit that is changed holds from the next look on.
type watch struct {
	canceler *canceler
	clock    clock.WithDelayedExecution

	mu      sync.Mutex // held while it looks
	timer   clock.Timer
	stopped bool

	reads     uint64 // from the client, at the last look
	quiet     time.Time
	finished  uint64 // by the target, at the last look
	running   time.Time
	cancelled time.Time
}

func newWatch(c *canceler) *watch { return &watch{canceler: c, clock: c.relay.engine.c.Clock} }

func (w *watch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again()
}

// stop ends it. It looks no more when stop has returned.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// limits are the session's now; zero is none.
func (w *watch) limits() (idle, statement time.Duration) {
	a := w.canceler.relay.s.Admission()
	t := a.Target
	if t == nil {
		return 0, 0
	}
	idle = a.IdleTimeout
	if p := t.Spec.Postgres; p != nil && p.StatementTimeout != nil {
		statement = p.StatementTimeout.Duration
	}
	return idle, statement
}

func (w *watch) again() {
	next := maxLook
	idle, statement := w.limits()
	for _, limit := range []time.Duration{idle, statement} {
		if limit > 0 {
			next = min(next, max(limit/10, minLook))
		}
	}
	// The clock does not wait for it, and may hold a lock of its own.
	w.timer = w.clock.AfterFunc(next, func() { go w.look() })
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	idle, statement := w.limits()
	now, r := w.clock.Now(), w.canceler.relay
	asleep, runs := r.activity()
	if !w.judgeIdle(now, idle, asleep) && !w.judgeStatement(now, statement, runs) {
		w.again()
	}
}

// activity reports whether the gate waits for the client alone, and whether the target runs
// a statement.
func (r *relay) activity() (asleep, runs bool) {
	if r.held.Load() {
		return false, false
	}
	waiting := r.conn.wire.waiting.Load()
	if !r.mu.TryLock() {
		// The target answers just now, or its answer waits for a client that does not read.
		return false, true
	}
	defer r.mu.Unlock()
	runs = r.running()
	asks := false
	r.queue.each(func(a *await) { asks = asks || a.own != nil })
	return waiting && (!runs || r.copyIn) && !asks, runs
}

// judgeIdle ends a session that is idle for too long.
func (w *watch) judgeIdle(now time.Time, limit time.Duration, asleep bool) (ended bool) {
	r := w.canceler.relay
	reads := r.conn.wire.reads.Load()
	if !asleep || reads != w.reads || w.quiet.IsZero() {
		w.reads, w.quiet = reads, now
		return false
	}
	if limit == 0 || now.Sub(w.quiet) < limit {
		return false
	}
	r.s.End(&policy.Refusal{Code: policy.CodeIdle, Message: fmt.Sprintf("nothing was sent for %s, and so the session was ended", limit),
		Hint: "connect again; the idleTimeout of the Target, or of an AccessPolicy, says how long a session may be idle"})
	return true
}

// judgeStatement cancels a statement that runs for too long, and ends the session if that
// does not help: in COPY FROM STDIN a target sees that it is cancelled only when data
// comes, and while a client does not read it may not see it at all. A statement has ended
// when the target's answer is there, and a target may hold back short answers for a while.
func (w *watch) judgeStatement(now time.Time, limit time.Duration, runs bool) (ended bool) {
	r := w.canceler.relay
	finished := r.up.finished.Load()
	switch {
	case !runs:
		w.finished, w.running, w.cancelled = finished, time.Time{}, time.Time{}
	case finished != w.finished || w.running.IsZero():
		w.finished, w.running, w.cancelled = finished, now, time.Time{}
	case limit == 0 || now.Sub(w.running) < limit:
	case w.cancelled.IsZero():
		w.cancelled = now
		r.up.overdue.Store(&overdue{after: r.up.pipelines.Load(), limit: limit})
		w.canceler.overdue()
	case now.Sub(w.cancelled) >= unwilling:
		why := (&overdue{limit: limit}).refusal("could not be cancelled, and so the session was ended")
		r.s.End(fmt.Errorf("%w: %w", canceledBy(why), why))
		return true
	}
	return false
}

// overdue is a statement that runs for too long, in the pipeline that is the next to be
// finished.
type overdue struct {
	after uint64
	limit time.Duration
}

func (o *overdue) refusal(end string) *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeLimit, Message: fmt.Sprintf("the statement ran for longer than %s and %s", o.limit, end),
		Hint: "make it shorter; the Target's statementTimeout says how long a statement may run"}
}

// late returns how a client is told that its statement was cancelled because it ran for too
// long; nil if it was not.
func (u *upstream) late(state string) *failure {
	o := u.overdue.Load()
	if o == nil || state != stateCanceled || u.pipelines.Load() != o.after {
		return nil
	}
	return canceledBy(o.refusal("was cancelled"))
}

// canceledBy is a refusal as a client knows it of a statement that was cancelled.
func canceledBy(r *policy.Refusal) *failure {
	f := failureOf(r, duringSession)
	f.state, f.ours = stateCanceled, true
	return f
}
