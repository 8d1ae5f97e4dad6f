package postgres

import (
	"context"
	"sync"
)

// canceler cancels what a session does. Towards the target at most one request is under
// way at a time.
type canceler struct {
	relay *relay
	wg    *sync.WaitGroup
	watch *watch

	mu   sync.Mutex
	live context.Context // nil before the session begins and after it
	sent chan struct{}   // closed when no request is under way any more; nil if none is
	more bool            // another was asked for meanwhile: what it is for may have begun since
}

func newCanceler(r *relay, wg *sync.WaitGroup) *canceler {
	c := &canceler{relay: r, wg: wg}
	c.watch = newWatch(c)
	return c
}

func (c *canceler) start(live context.Context) {
	c.mu.Lock()
	c.live = live
	c.mu.Unlock()
	c.watch.start() //nolint:contextcheck // what it begins ends with live
}

// stop ends that: no request is begun any more.
func (c *canceler) stop() {
	c.watch.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = nil
}

// client serves a client's request to cancel. It returns when the target has been told, so
// that a client that waits for that does not cancel what it sends next.
func (c *canceler) client(ctx context.Context) {
	c.mu.Lock()
	if c.live == nil || c.live.Err() != nil {
		c.mu.Unlock()
		return
	}
	if c.relay.held.Load() {
		(*c.relay.stopWait.Load())(errCanceled)
		c.mu.Unlock()
		return
	}
	sent := c.begin() //nolint:contextcheck // it ends with the session, not with the client that asks
	c.mu.Unlock()
	select {
	case <-sent:
	case <-ctx.Done():
	}
}

// overdue cancels a statement that runs for too long. It does not block.
func (c *canceler) overdue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil && c.live.Err() == nil {
		c.begin()
	}
}

// begin has the target cancel what it runs and returns what is closed when it was told. mu
// is held and the session lives.
func (c *canceler) begin() <-chan struct{} {
	if c.sent != nil {
		c.more = true
		return c.sent
	}
	c.sent = make(chan struct{})
	live := c.live
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		for {
			c.send(live)
			c.mu.Lock()
			if again := c.more && live.Err() == nil; !again {
				close(c.sent)
				c.sent, c.more = nil, false
				c.mu.Unlock()
				return
			}
			c.more = false
			c.mu.Unlock()
		}
	}()
	return c.sent
}

// last begins to cancel what still runs when the session has ended.
func (c *canceler) last() { c.wg.Go(func() { c.send(context.Background()) }) }

// send asks the target to cancel. That it failed changes nothing: the connection is closed
// next, or the client asks again.
func (c *canceler) send(ctx context.Context) {
	if len(c.relay.up.secret) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.relay.engine.c.Limits.Farewell)
	defer cancel()
	conn, err := dial(ctx, c.relay.s, nil)
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
