package gate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
)

// Bounds of the pause after a failed accept: running out of file descriptors must not make
// the loop spin.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// accept accepts until ctx ends. Connections live in sessions.
func (g *Gate) accept(ctx, sessions context.Context, l Listener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Listener.Close() })
	defer stop()
	pause := minPause
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			pause = minPause
			g.conns.Go(func() { g.welcome(sessions, l, c) })
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, net.ErrClosed) {
			g.c.Log.Error(err, "Listener closed", "engine", l.Name)
			return
		}
		g.c.Log.Error(err, "Cannot accept", "engine", l.Name, "pause", pause.String())
		select {
		case <-ctx.Done():
			return
		case <-g.c.Clock.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// welcome lets the client prove its identity and serves it.
func (g *Gate) welcome(ctx context.Context, l Listener, c net.Conn) {
	defer func() { _ = c.Close() }()
	remote := addrPort(c.RemoteAddr())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	evicted := &policy.Refusal{Code: policy.CodeLimit, Message: "too many clients are signing in", Hint: "try again"}
	leave := g.lobby.enter(remote.Addr(), func() { cancel(evicted); _ = c.Close() })
	defer leave()

	signing, done := context.WithTimeout(ctx, g.c.Limits.Handshake)
	_ = c.SetDeadline(time.Now().Add(g.c.Limits.Handshake))
	conn, err := l.Engine.Handshake(signing, c)
	timedOut := signing.Err() != nil
	done()
	leave()
	if err != nil {
		g.c.Metrics.handshake(l.Name, outcomeOf(err, timedOut))
		g.c.Log.V(1).Info("Sign-in failed", "engine", l.Name, "client", remote.String(), "reason", err.Error())
		return
	}
	if alive(ctx) != nil {
		return
	}
	g.c.Metrics.handshake(l.Name, "ok")
	_ = c.SetDeadline(time.Time{})
	g.serve(ctx, conn, c)
}

func outcomeOf(err error, timedOut bool) string {
	refusal := new(policy.Refusal)
	switch {
	case errors.As(err, &refusal):
		return "refused"
	case timedOut:
		return "timeout"
	}
	return "failed"
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
