package postgres

import (
	"context"
	"sync"
	"sync/atomic"
)

// canceler cancels what a session does. Towards the target at most one request is under
// way at a time.
type canceler struct {
	relay *relay
	wg    *sync.WaitGroup
	busy  atomic.Bool

	mu   sync.Mutex
	live context.Context // nil before the session begins; done after it
}

func newCanceler(r *relay, wg *sync.WaitGroup) *canceler { return &canceler{relay: r, wg: wg} }

func (c *canceler) start(live context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = live
}

// stop ends that: no request is begun any more.
func (c *canceler) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = nil
}

// client serves a client's request to cancel. It does not block.
func (c *canceler) client() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil || c.live.Err() != nil {
		return
	}
	if c.relay.held.Load() {
		(*c.relay.stopWait.Load())(errCanceled)
		return
	}
	if !c.busy.CompareAndSwap(false, true) {
		return
	}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		defer c.busy.Store(false)
		c.send(c.live)
	}()
}

// last cancels what still runs when the session has ended.
func (c *canceler) last() { c.send(context.Background()) }

// send asks the target to cancel. That it failed changes nothing: the connection is closed
// next, or the client asks again.
func (c *canceler) send(ctx context.Context) {
	if len(c.relay.up.secret) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.relay.engine.c.Limits.Farewell)
	defer cancel()
	conn, err := dial(ctx, c.relay.s)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	stop := guard(ctx, conn)
	defer stop()
	if _, err := conn.Write(c.relay.up.cancelRequest()); err != nil {
		return
	}
	// The target closes the connection when it has sent the signal.
	var b [1]byte
	_, _ = conn.Read(b[:])
}
