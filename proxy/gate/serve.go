package gate

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// serve admits a client that has proven its identity, and serves it to its end.
func (g *Gate) serve(ctx context.Context, conn engine.Conn, c net.Conn) {
	req := conn.Request()
	log := g.c.Log.WithValues("grant", req.Grant, "client", req.Client.String(), "credential", req.CredentialID)
	admission, err := g.admit(req)
	if err != nil {
		g.refuse(ctx, conn, c, err)
		log.Info("Session refused", "reason", err.Error())
		return
	}
	seat, err := g.live.reserve(admission)
	if err != nil {
		g.refuse(ctx, conn, c, err)
		log.Info("Session refused", "reason", err.Error())
		return
	}
	defer seat()
	track, number, err := g.shared.acquire(ctx, admission)
	if err != nil {
		g.refuse(ctx, conn, c, unrecorded())
		log.Error(err, "Session refused: it cannot be recorded", "Target", admission.Target.Name)
		return
	}
	reason := g.carry(ctx, conn, c, admission, track, number)
	log.Info("Connection ended", "session", track.name, "reason", reason)
}

// carry serves an admitted connection of a track and returns why it ended.
func (g *Gate) carry(ctx context.Context, conn engine.Conn, c net.Conn, a *policy.Admission, t *track, number uint32) string {
	began := g.c.Clock.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := session.New(session.Config{
		Name: t.name, Connection: number, Admission: a, Recorder: t.recorder, Approvals: g.c.Approvals,
		Secrets: g.c.Backend, Dial: g.c.Dial, Reachable: g.c.Backend.Reachable, Counters: &t.counters, Commands: &t.commands,
		RedactKey: g.c.RedactKey, End: cancel,
	})
	l := &liveSession{request: a.Request, track: t, session: s, conn: c, cancel: cancel, admission: a}
	g.live.add(l)
	// The policy may have changed between the admission and here.
	g.recheck(l)
	if a.MaxSessions > 0 {
		g.live.trim()
	}

	err := t.recorder.Record(&recording.Event{Kind: recording.KindConnected, Connection: number, Connected: &recording.Connected{
		Engine: a.Request.Engine, Client: a.Request.Client.String(), Credential: a.Request.CredentialID,
		Database: a.Request.Database, Application: a.Request.Application}})
	if err != nil {
		l.end(unrecorded())
	}
	// Serve tells the client why if ctx ended already.
	err = conn.Serve(ctx, s)
	reason := reasonOf(alive(ctx), err)
	g.live.remove(l)
	lastErr := t.recorder.Record(&recording.Event{Kind: recording.KindDisconnected, Connection: number,
		Disconnected: &recording.Disconnected{Reason: reason}})
	if lastErr != nil && !errors.Is(lastErr, recording.ErrClosed) {
		g.c.Log.Error(lastErr, "Cannot record the end of a connection", "session", t.name)
		reason = reasons[policy.CodeRecorder]
	}
	if err != nil && reason == reasonFailed {
		g.c.Log.V(1).Info("Connection failed", "session", t.name, "error", err.Error())
	}
	g.shared.release(t, reason, g.c.Clock.Since(began))
	return reason
}

// admit asks the policy, if it was proven fresh.
func (g *Gate) admit(req policy.Request) (*policy.Admission, error) {
	now := g.c.Clock.Now()
	if now.Sub(g.c.Backend.ProvenAt()) > g.c.Limits.Fresh {
		return nil, stale()
	}
	if g.draining.Load() {
		return nil, shutdown()
	}
	a, err := g.c.Backend.Current().Admit(req, now)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// refuse tells the client why it is not served.
func (g *Gate) refuse(ctx context.Context, conn engine.Conn, c net.Conn, why error) {
	if refusal := new(policy.Refusal); errors.As(why, &refusal) {
		g.c.Metrics.refusal(refusal.Code)
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Farewell)
	defer cancel()
	_ = c.SetDeadline(time.Now().Add(g.c.Limits.Farewell))
	conn.Deny(ctx, why)
}
