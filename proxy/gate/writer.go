package gate

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Bounds of the writer.
const (
	writers      = 4
	maxQueue     = 16384
	writeTimeout = 10 * time.Second
	writeEvery   = 5 * time.Second // the least time between two writes of counters
	writePause   = 20 * time.Millisecond
	minRetry     = time.Second
	maxRetry     = time.Minute
)

// sessionWriter is where Session objects go.
type sessionWriter interface {
	Session(ctx context.Context, s *v1alpha1.Session) error
}

// writer keeps Session objects up to date, off the data path: the beginning and the end of
// a session soon, counters now and then, one write of a session at a time. It never blocks a
// caller; what cannot be written is tried again.
type writer struct {
	to      sessionWriter
	clock   clock.WithTicker
	log     logr.Logger
	metrics *Metrics

	mu      sync.Mutex
	entries map[*track]*entry
	queue   []*entry // due at once, in order
	later   map[*entry]struct{}
	wake    chan struct{}
	idle    chan struct{} // closed and replaced when nothing is left to write
}

// entry is what is known of writing one track.
type entry struct {
	track   *track
	queued  bool
	writing bool
	again   bool // changed while it was being written
	due     time.Time
	written cursor
	at      time.Time // of the last write
	retry   time.Duration
}

func newWriter(to sessionWriter, clk clock.WithTicker, log logr.Logger, m *Metrics) *writer {
	return &writer{to: to, clock: clk, log: log, metrics: m, entries: map[*track]*entry{}, later: map[*entry]struct{}{},
		wake: make(chan struct{}, writers), idle: make(chan struct{})}
}

// touch has the object of t written soon.
func (w *writer) touch(t *track) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[t]
	if e == nil {
		if len(w.entries) >= maxQueue {
			w.metrics.sessionWrite("dropped")
			return
		}
		e = &entry{track: t}
		w.entries[t] = e
	}
	w.enqueue(e)
}

// note has the object of t written if its counters changed since the last write, and that
// was not just now.
func (w *writer) note(t *track) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[t]
	if e == nil || e.queued || e.writing || e.retry > 0 || w.clock.Since(e.at) < writeEvery || e.written == t.cursor() {
		return
	}
	w.enqueue(e)
}

func (w *writer) enqueue(e *entry) {
	switch {
	case e.writing:
		e.again = true
	case !e.queued:
		delete(w.later, e)
		e.queued = true
		w.queue = append(w.queue, e)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	var g errgroup.Group
	for range writers {
		g.Go(func() error { w.work(ctx); return nil })
	}
	g.Go(func() error { w.delay(ctx); return nil })
	_ = g.Wait()
}

func (w *writer) work(ctx context.Context) {
	for {
		e := w.next()
		if e == nil {
			select {
			case <-ctx.Done():
				return
			case <-w.wake:
			}
			continue
		}
		w.write(ctx, e)
		// The pause bounds the rate at which an API server is written to.
		select {
		case <-ctx.Done():
			return
		case <-w.clock.After(writePause):
		}
	}
}

func (w *writer) next() *entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	e := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	e.queued, e.writing, e.again = false, true, false
	return e
}

func (w *writer) write(ctx context.Context, e *entry) {
	cursor, settled := e.track.cursor(), e.track.settled()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	err := w.to.Session(ctx, e.track.object())
	cancel()
	if err != nil {
		w.log.Error(err, "Cannot write a Session; it is tried again", "session", e.track.name)
		w.metrics.sessionWrite("failed")
	} else {
		w.metrics.sessionWrite("ok")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.writing, e.at = false, w.clock.Now()
	switch {
	case err != nil:
		e.retry = min(max(2*e.retry, minRetry), maxRetry)
		e.due = e.at.Add(e.retry)
		w.later[e] = struct{}{}
	default:
		e.retry, e.written = 0, cursor
		if e.again {
			w.enqueue(e)
		} else if settled {
			delete(w.entries, e.track)
		}
	}
	if w.nothingLeft() {
		close(w.idle)
		w.idle = make(chan struct{})
	}
}

func (w *writer) nothingLeft() bool {
	if len(w.queue) > 0 || len(w.later) > 0 {
		return false
	}
	for _, e := range w.entries {
		if e.writing {
			return false
		}
	}
	return true
}

// delay brings back what failed, when its time has come.
func (w *writer) delay(ctx context.Context) {
	t := w.clock.NewTicker(minRetry)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C():
		}
		now := w.clock.Now()
		w.mu.Lock()
		for e := range w.later {
			if !now.Before(e.due) {
				w.enqueue(e)
			}
		}
		w.mu.Unlock()
	}
}

// flush waits until everything is written, for at most d.
func (w *writer) flush(d time.Duration) {
	timeout := w.clock.After(d)
	for {
		w.mu.Lock()
		done, idle := w.nothingLeft(), w.idle
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-idle:
		case <-timeout:
			w.log.Info("Some Sessions were not written before the end")
			return
		}
	}
}
