package ssh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// errClientGone ends a session whose client has gone.
var errClientGone = errors.New("the client has gone")

// conn is one client's connection.
type conn struct {
	engine   *Engine
	ssh      *ssh.ServerConn
	channels <-chan ssh.NewChannel
	requests <-chan *ssh.Request
	request  policy.Request
}

// Request implements engine.Conn.
func (c *conn) Request() policy.Request { return c.request }

// Deny implements engine.Conn: it refuses what the client opens, with the reason.
func (c *conn) Deny(ctx context.Context, reason error) {
	ctx, cancel := context.WithTimeout(ctx, c.engine.c.Limits.Farewell)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.ssh.Close() })
	defer stop()
	go func() {
		for r := range c.requests {
			_ = r.Reply(false, nil)
		}
	}()
	for n := range c.channels {
		_ = n.Reject(ssh.Prohibited, sentence(reason))
	}
	_ = c.ssh.Close()
}

// sentence is what a client is told of an error.
func sentence(err error) string {
	refusal := new(policy.Refusal)
	if !errors.As(err, &refusal) {
		return "the session was ended"
	}
	if refusal.Hint == "" {
		return refusal.Error()
	}
	return refusal.Error() + " (" + refusal.Hint + ")"
}

// serving is one session at work.
type serving struct {
	conn    *conn
	session *session.Session
	limits  Limits
	server  *upstream
	// cancel ends the session, with a cause that the client is told.
	cancel context.CancelCauseFunc
	// active is when something was last sent, in nanoseconds since the session began.
	active atomic.Int64
	began  time.Time
	// held is how many commands await approval.
	held atomic.Int32
	// agent says that the server may reach the client's agent.
	agent atomic.Bool
	// last says that the client opens no more sessions.
	last atomic.Bool

	// mu guards the group of what runs: nothing begins once the end has.
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
	open    int
	listens map[place]bool
	// processes run at the server.
	processes map[*process]bool
}

// place is where the server listens for the client.
type place struct {
	Host string
	Port uint32
}

// Serve implements engine.Conn.
func (c *conn) Serve(ctx context.Context, s *session.Session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &serving{conn: c, session: s, limits: c.engine.c.Limits, cancel: cancel, began: time.Now(), listens: map[place]bool{}, processes: map[*process]bool{}}
	v.server = newUpstream(v)
	var background sync.WaitGroup
	farewell := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(farewell)
		v.leave(ctx)
	})
	background.Go(func() { v.globals(ctx) })
	background.Go(func() { v.idle(ctx) })
	background.Go(func() { v.attend(ctx) })
	for n := range c.channels {
		v.accept(ctx, n)
	}
	cancel(errClientGone)
	if !stop() {
		<-farewell
	}
	v.close()
	_ = c.ssh.Close()
	v.server.close()
	v.running.Wait()
	background.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errClientGone) {
		return cause
	}
	return nil
}

// begin runs f unless the session has ended, and reports whether it does.
func (v *serving) begin(f func()) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return false
	}
	v.running.Go(f)
	return true
}

func (v *serving) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
}

// leave gives the channels a moment to tell the client why the session ends, and ends it. What
// runs at the server is ended first: with the connection alone it would go on.
func (v *serving) leave(ctx context.Context) {
	v.close()
	t := time.AfterFunc(v.limits.Farewell, func() { _ = v.conn.ssh.Close() })
	defer t.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, p := range v.runs() {
			p.terminate(ctx)
		}
		v.running.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(hurry):
	}
	v.server.close()
	<-ended
	_ = v.conn.ssh.Close()
}

// hurry is how long a server has to end what runs.
const hurry = 250 * time.Millisecond

// track notes that a process runs, until it has ended.
func (v *serving) track(p *process, runs bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if runs {
		v.processes[p] = true
	} else {
		delete(v.processes, p)
	}
}

// runs returns the processes that run.
func (v *serving) runs() []*process {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.processes))
}

// touch notes that something was sent.
func (v *serving) touch() { v.active.Store(int64(time.Since(v.began))) }

// look is how often an idle session is looked at, at most.
const look = 10 * time.Second

// idle ends the session if nothing was sent for as long as its Target says. Who waits for an
// approval is not idle.
func (v *serving) idle(ctx context.Context) {
	for {
		pause := look
		if limit := v.session.Admission().IdleTimeout; limit > 0 {
			left := limit - (time.Since(v.began) - time.Duration(v.active.Load()))
			switch {
			case v.held.Load() > 0:
				v.touch()
			case left <= 0:
				v.session.End(&policy.Refusal{Code: policy.CodeIdle, Message: fmt.Sprintf("nothing was sent for %s, and so the session was ended", limit),
					Hint: "connect again; the idleTimeout of the Target, or of an AccessPolicy, says how long a session may be idle"})
				return
			default:
				pause = min(pause, left)
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// maxAsked is how many requests about the connection as a whole may wait for their answer.
const maxAsked = 64

// globals answers what is asked of the connection as a whole (RFC 4254, section 4), in the
// order in which it is asked: an answer does not say to what. It reads on meanwhile, to see
// that the client has gone.
func (v *serving) globals(ctx context.Context) {
	var answers sync.WaitGroup
	defer answers.Wait()
	asked := make(chan *ssh.Request, maxAsked)
	defer close(asked)
	answers.Go(func() {
		for r := range asked {
			v.answer(ctx, r)
		}
	})
	for r := range v.conn.requests {
		switch r.Type {
		case "tcpip-forward", "cancel-tcpip-forward":
		default:
			if r.Type == "no-more-sessions@openssh.com" {
				v.last.Store(true)
			}
			if !r.WantReply {
				continue
			}
		}
		select {
		case asked <- r:
		default:
			v.cancel(&policy.Refusal{Code: policy.CodeLimit, Message: fmt.Sprintf("more than %d requests of the connection await their answer", maxAsked),
				Hint: "connect again, and ask for fewer forwards at a time"})
		}
	}
}

// answer answers one request about the connection as a whole.
func (v *serving) answer(ctx context.Context, r *ssh.Request) {
	switch r.Type {
	case "tcpip-forward":
		v.listen(ctx, r)
	case "cancel-tcpip-forward":
		v.unlisten(ctx, r)
	case "no-more-sessions@openssh.com", "keepalive@openssh.com":
		_ = r.Reply(true, nil)
	default:
		_ = r.Reply(false, nil)
	}
}

// accept takes what the client opens (RFC 4254, section 5.1).
func (v *serving) accept(ctx context.Context, n ssh.NewChannel) {
	if !v.enter() {
		_ = n.Reject(ssh.ResourceShortage, fmt.Sprintf("%s: a connection has at most %d channels", policy.CodeLimit, v.limits.Channels))
		return
	}
	serve := func() {
		defer v.exit()
		switch n.ChannelType() {
		case "session":
			if v.last.Load() {
				_ = n.Reject(ssh.Prohibited, "the client opens no more sessions")
				return
			}
			v.serveSession(ctx, n)
		case "direct-tcpip":
			v.forward(ctx, n)
		default:
			_ = n.Reject(ssh.UnknownChannelType, string(policy.CodeNotPermitted)+": the gate carries no such channel")
		}
	}
	if !v.begin(serve) {
		v.exit()
		_ = n.Reject(ssh.Prohibited, sentence(context.Cause(ctx)))
	}
}

// attend takes what the server opens, once it is connected to, and ends the session with the
// connection.
func (v *serving) attend(ctx context.Context) {
	select {
	case <-ctx.Done():
	case channels := <-v.server.connected:
		for n := range channels {
			v.take(ctx, n)
		}
		// What ran knows it by its own channel; nothing more can be opened.
		v.cancel(&policy.Refusal{Code: policy.CodeUpstream, Message: "the server closed the connection"})
	}
}

// take takes what the server opens.
func (v *serving) take(ctx context.Context, n ssh.NewChannel) {
	if !v.enter() {
		_ = n.Reject(ssh.ResourceShortage, "too many channels")
		return
	}
	if !v.begin(func() { defer v.exit(); v.fromServer(ctx, n) }) {
		v.exit()
		_ = n.Reject(ssh.Prohibited, "the session has ended")
	}
}

func (v *serving) enter() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open >= v.limits.Channels {
		return false
	}
	v.open++
	return true
}

func (v *serving) exit() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open--
}

// authorize asks the session about a request. While it is held, no forward is opened.
func (v *serving) authorize(ctx context.Context, c *policy.Command, pending func(request string, expires time.Time) error) (session.Permit, error) {
	waits := false
	permit, err := v.session.Authorize(ctx, c, session.Verdict{}, func(request string, expires time.Time) error {
		if !waits {
			waits = true
			v.held.Add(1)
		}
		if pending == nil {
			return nil
		}
		return pending(request, expires)
	}, nil)
	if waits {
		v.held.Add(-1)
		v.touch()
	}
	if errors.Is(err, session.ErrRecorder) {
		v.cancel(err)
	}
	return permit, err
}
