package kubernetes

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// conn is one client's connection.
type conn struct {
	engine  *Engine
	tls     *tls.Conn
	request policy.Request
}

// Request implements engine.Conn.
func (c *conn) Request() policy.Request { return c.request }

// Deny implements engine.Conn: it answers the first request with the reason.
func (c *conn) Deny(ctx context.Context, reason error) {
	ctx, cancel := context.WithTimeout(ctx, c.engine.c.Limits.Farewell)
	defer cancel()
	_ = c.serve(ctx, c.engine.c.Limits.Idle, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		refuse(w, reason)
	}))
}

// Serve implements engine.Conn.
func (c *conn) Serve(ctx context.Context, s *session.Session) error {
	up, err := newUpstream(ctx, s, c.engine.c.Limits)
	if err != nil {
		c.Deny(ctx, err)
		return err
	}
	defer up.transport.CloseIdleConnections()
	idle := c.engine.c.Limits.Idle
	if d := s.Admission().IdleTimeout; d > 0 {
		idle = min(idle, d)
	}
	return c.serve(ctx, idle, newHandler(s, up, c.engine.c.Limits))
}

// serve serves HTTP on the connection until it ends, has no request for idle, or ctx ends,
// and returns when no handler runs any more. Handlers see the end of ctx, and tell their clients; what is left after the
// farewell is cut.
func (c *conn) serve(ctx context.Context, idle time.Duration, h http.Handler) error {
	l := &single{conn: c.tls, done: make(chan struct{})}
	var running sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 15 * time.Second, IdleTimeout: idle, MaxHeaderBytes: c.engine.c.Limits.Header,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: c.engine.c.Limits.Requests, SendPingTimeout: 30 * time.Second},
		ErrorLog:    log.New(io.Discard, "", 0), // what a client sends is not logged
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				_ = l.Close()
			}
		},
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.engine.c.Limits.Farewell)
		defer cancel()
		_ = server.Shutdown(farewell)
		_ = server.Close()
	})
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	_ = server.Close()
	running.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// single is a listener with one connection. Accept fails once that has ended.
type single struct {
	conn net.Conn
	done chan struct{}

	mu     sync.Mutex
	given  bool
	closed bool
}

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	l.mu.Lock()
	given := l.given
	l.given = true
	l.mu.Unlock()
	if !given {
		return l.conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *single) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	return nil
}

// Addr implements net.Listener.
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }
