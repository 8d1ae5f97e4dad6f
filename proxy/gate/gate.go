package gate

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/backend"
	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// Spool is what the gate needs of a recording spool.
type Spool interface {
	Open(ctx context.Context, started recording.Started) (recording.Recorder, error)
	// Drain waits until everything that was recorded is stored, or ctx ends.
	Drain(ctx context.Context) error
}

// shipping is how long the last recordings may take to reach their store. What does not
// stays in the spool, and the next process ships it.
const shipping = 10 * time.Second

// Listener is one protocol on one port.
type Listener struct {
	Name     string // of the engine, for logs and metrics
	Listener net.Listener
	Engine   engine.Engine
}

// Config is what a Gate is made of. Every field but Limits is required.
type Config struct {
	Backend   backend.Backend
	Listeners []Listener
	Spool     Spool
	Approvals approval.Gate
	Namespace string // the gate namespace
	Proxy     string // the name of this proxy: its pod's
	RedactKey []byte // see session.Config
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
	Clock     clock.WithTicker
	Limits    Limits
	Log       logr.Logger
	Metrics   *Metrics
}

// Gate is the accept loops, the live sessions and what keeps them current.
type Gate struct {
	c       Config
	lobby   *lobby
	live    *registry
	shared  *pool
	objects *writer

	draining atomic.Bool
	conns    sync.WaitGroup // connections
}

// New returns a gate. It accepts nothing before Run.
func New(c Config) (*Gate, error) {
	switch {
	case c.Backend == nil, c.Spool == nil, c.Approvals == nil, c.Dial == nil, c.Clock == nil, c.Metrics == nil:
		return nil, errors.New("gate: a part is missing")
	case len(c.RedactKey) < 32:
		return nil, errors.New("gate: the redaction key needs 32 bytes")
	case c.Namespace == "" || c.Proxy == "":
		return nil, errors.New("gate: namespace and proxy need a name")
	}
	c.Limits = c.Limits.withDefaults()
	g := &Gate{c: c, lobby: newLobby(c.Limits.Waiting, c.Limits.WaitingPerSource), live: newRegistry(c.Limits)}
	g.objects = newWriter(c.Backend, c.Clock, c.Log, c.Metrics)
	g.shared = newPool(c, g.objects)
	c.Metrics.observe(g)
	return g, nil
}

// Run serves until ctx ends and then drains: it accepts no more, lets sessions end by
// themselves for up to drain, ends the others, and returns when nothing runs any more and
// every recording and object of a session was written or given up.
func (g *Gate) Run(ctx context.Context, drain time.Duration) {
	// What belongs to sessions outlives ctx by the time of the drain.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	sessions, end := context.WithCancelCause(inner)
	var background, accepting sync.WaitGroup
	background.Go(func() { g.watch(inner) })
	background.Go(func() { g.objects.run(inner) })
	for _, l := range g.c.Listeners {
		accepting.Go(func() { g.accept(ctx, sessions, l) })
	}
	<-ctx.Done()
	g.draining.Store(true)
	accepting.Wait()
	g.c.Log.Info("Draining", "sessions", g.live.count(), "atMost", drain.String())
	if !g.settled(drain) {
		for _, s := range g.live.all() {
			s.end(shutdown())
		}
		end(shutdown())
		if !g.settled(2 * g.c.Limits.Farewell) {
			// An engine that does not return holds a connection: take it away.
			for _, s := range g.live.all() {
				_ = s.conn.Close()
			}
			g.conns.Wait()
		}
	}
	g.shared.close()
	last, done := context.WithTimeout(inner, shipping)
	if err := g.c.Spool.Drain(last); err != nil {
		g.c.Log.Error(err, "Recordings stay in the spool")
	}
	done()
	g.objects.flush(g.c.Limits.Farewell)
	stop()
	background.Wait()
	end(nil)
}

// settled waits until no connection is left, for at most d.
func (g *Gate) settled(d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		g.conns.Wait()
		close(done)
	}()
	t := g.c.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C():
		return false
	}
}

// Ready reports whether the gate takes new sessions: it knows a policy and does not drain.
func (g *Gate) Ready() bool {
	select {
	case <-g.c.Backend.Ready():
		return !g.draining.Load()
	default:
		return false
	}
}
