package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/session"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// Deny implements engine.Conn.
func (c *conn) Deny(ctx context.Context, reason error) {
	stop := guard(ctx, c.wire)
	defer stop()
	c.fatal(failureOf(reason, duringSignIn))
}

// Serve implements engine.Conn. It returns nil if the client left in good order.
func (c *conn) Serve(ctx context.Context, s *session.Session) error {
	r, err := c.open(ctx, s)
	if err != nil {
		told := err
		if ctx.Err() != nil {
			told = context.Cause(ctx)
		} else if t := new(errTarget); errors.As(err, &t) {
			told = t.refusal()
		}
		c.farewell(told, duringSignIn)
		return fmt.Errorf("open the session: %w", err)
	}
	return r.run(ctx)
}

// farewell tells the client why the connection ends, if it listens.
func (c *conn) farewell(reason error, when during) {
	_ = c.tls.SetWriteDeadline(soon(c.engine.c.Limits.Farewell))
	c.fatal(failureOf(reason, when))
}

// soon is a deadline for the kernel, which has a clock of its own.
func soon(d time.Duration) time.Time { return time.Now().Add(d) }

// open signs in to the target and lets the client begin.
func (c *conn) open(ctx context.Context, s *session.Session) (*relay, error) {
	parameters, err := c.start.settings(s)
	if err != nil {
		return nil, err
	}
	signIn, cancel := context.WithTimeout(ctx, c.engine.c.Limits.SignIn)
	defer cancel()
	up, err := connect(signIn, c.engine, s, parameters)
	if err == nil {
		if err = up.usable(s); err != nil {
			up.close()
		}
	}
	if reportable(ctx, err) {
		s.Reachable(err)
	}
	if err != nil {
		return nil, err
	}
	r, err := c.relay(s, up)
	if err != nil {
		up.close()
		return nil, err
	}
	return r, nil
}

// reportable reports whether the outcome of a sign-in says something of the target.
func reportable(ctx context.Context, err error) bool {
	t := new(errTarget)
	return ctx.Err() == nil && (err == nil || errors.As(err, &t) && !t.client)
}

func (c *conn) relay(s *session.Session, up *upstream) (*relay, error) {
	secret, err := c.engine.name()
	if err != nil {
		return nil, err
	}
	r := &relay{engine: c.engine, conn: c, s: s, up: up, secret: secret,
		patient: &patient{conn: c.tls}, toTarget: newOutput(up.conn), out: newOutput(c.tls),
		statements: map[string]*statement{}, portals: map[string]*portal{}, plans: plans{}, asserting: secret + "a", assertingFirst: secret + "b", assertedBy: newInquiry(), progress: make(chan struct{}, 1), status: up.status}
	r.in = newFrames(r.patient)
	r.catalog = pgsql.NewCatalog(r)
	if c.start.setsPath() {
		r.catalog.PathChanged()
	}
	r.base = r.meaning(nil)
	r.hold.of(r)
	r.out.commit = r.commit
	r.toTarget.commit = r.commitInput
	return r, nil
}

// greet lets the client begin.
func (r *relay) greet(pid uint32, secret []byte) error {
	m := authentication(authOK, nil)
	for _, p := range r.up.reports {
		switch {
		case p.name == "application_name":
			m = appendParameterStatus(m, p.name, r.conn.request.Application)
		case reported[p.name]:
			m = appendParameterStatus(m, p.name, p.value)
		}
	}
	at := len(m)
	m = beginMessage(m, msgBackendKeyData)
	m = append(m, byte(pid>>24), byte(pid>>16), byte(pid>>8), byte(pid))
	m = endMessage(append(m, secret...), at)
	return r.notify(appendReady(m, r.status))
}

// run carries the session to its end.
func (r *relay) run(ctx context.Context) error {
	size := secretSize30
	if r.conn.start.minor >= protocol32&0xffff {
		size = secretSize32
	}
	// Cancel requests outlive neither the session nor this call.
	var canceling sync.WaitGroup
	canceler := newCanceler(r, &canceling)
	pid, secret, err := r.engine.cancels.add(size, canceler.client)
	if err == nil {
		defer r.engine.cancels.remove(pid)
		err = r.greet(pid, secret)
	}
	if err != nil {
		r.up.close()
		return fmt.Errorf("begin the session: %w", err)
	}
	live, end := context.WithCancelCause(ctx)
	defer end(nil)
	r.newWait(live)
	canceler.start(live)
	ended := make(chan error, 2)
	go func() { ended <- r.serveClient(live) }()
	go func() { ended <- r.serveTarget(live) }()
	left := 2
	select {
	case err = <-ended:
		left--
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	end(errEnded)
	canceler.stop()
	r.part(ended, left, canceler) //nolint:contextcheck // ctx has ended; what is cancelled then has its own bound
	// The client is told while the target, which may not answer, is.
	err = r.last(err)
	canceling.Wait()
	r.leave()
	return err
}

// part stops both sides, waits for them, and begins to cancel what the target runs. No side
// waits longer than the farewell for the other.
func (r *relay) part(ended <-chan error, left int, c *canceler) {
	r.ending.Store(true)
	_ = r.conn.tls.SetReadDeadline(time.Unix(1, 0))
	_ = r.conn.tls.SetWriteDeadline(soon(r.engine.c.Limits.Farewell))
	_ = r.up.conn.SetDeadline(time.Unix(1, 0))
	for range left {
		<-ended //nolint:errcheck // the first to end said why the session does
	}
	if r.running() {
		c.last()
	}
}

// last records what became of commands in flight, tells the client why the session ends,
// and closes its leg. Both sides are done.
func (r *relay) last(err error) error {
	recorded := r.unknown()
	if errors.Is(err, errGone) && recorded == nil {
		_ = r.conn.tls.Close()
		if errors.Is(err, errBroken) {
			return err
		}
		return nil
	}
	err = errors.Join(err, recorded)
	if !r.torn && r.out.err == nil && !r.farewell {
		f := failureOf(err, duringSession)
		if r.out.write(f.response(msgErrorResponse, "FATAL")) == nil {
			_ = r.out.flush()
		}
	} else if r.out.err == nil {
		_ = r.out.flush()
	}
	_ = r.conn.tls.Close()
	return err
}

// leave closes the target's leg, in good order if nothing broke it.
func (r *relay) leave() {
	if r.toTarget.err == nil && !r.farewell {
		_ = r.up.conn.SetWriteDeadline(soon(r.engine.c.Limits.Farewell))
		_, _ = r.up.conn.Write([]byte{msgTerminate, 0, 0, 0, 4})
	}
	r.up.close()
	if r.witness != nil {
		r.witness.close()
	}
}

// unknown records the commands whose outcome cannot be learned any more.
func (r *relay) unknown() error {
	var err error
	r.queue.each(func(a *await) {
		if a.command == nil || a.command.done || err != nil {
			return
		}
		if a.command.held {
			a.command.drop()
		}
		final := a.command.final()
		final.Unknown = true
		err = r.s.Respond(a.command.permit, final)
	})
	r.current = nil
	return err
}
