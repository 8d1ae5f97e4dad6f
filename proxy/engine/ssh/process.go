package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// part is the most bytes of a stream that are read at a time: those of a packet.
const part = 32 << 10

// exec runs a command of the client's, or the grant's own in its stead.
func (c *channel) exec(ctx context.Context, text string) {
	f := &sshapi.Facts{Known: true, Channel: v1alpha1.SSHExec, TTY: c.pty != nil}
	if forced := c.serving.session.Admission().Grant.Spec.SSH.ForcedCommand; forced != "" {
		text, c.pty = forced, nil
		f.Forced, f.TTY = true, false
	}
	f.Shell = shell.Line(text, shell.Login)
	if !f.Forced {
		copies, known := c.copies(f.Shell, text)
		switch {
		case copies != nil:
			copies(ctx)
			return
		case !known:
			f = &sshapi.Facts{Unknown: "it transfers files in a way that the gate does not follow; use sftp, scp, or rsync without unusual options"}
		}
	}
	c.run(ctx, c.command("$ "+text, f), "exec", ssh.Marshal(struct{ Command string }{text}))
}

// shell opens a shell, as the grant says.
func (c *channel) shell(ctx context.Context) {
	spec := c.serving.session.Admission().Grant.Spec.SSH
	if spec.ForcedCommand != "" {
		c.exec(ctx, "")
		return
	}
	f := &sshapi.Facts{Known: true, Channel: v1alpha1.SSHShell, TTY: c.pty != nil}
	if spec.Terminal == v1alpha1.SSHGated && c.pty != nil {
		f.Opens = true
		c.gated(ctx, c.command("gated shell", f))
		return
	}
	c.run(ctx, c.command("shell", f), "shell", nil)
}

// subsystem starts a subsystem by name: SFTP alone is understood.
func (c *channel) subsystem(ctx context.Context, name string) {
	payload := ssh.Marshal(struct{ Name string }{name})
	if name == "sftp" && c.serving.session.Admission().Grant.Spec.SSH.ForcedCommand == "" {
		c.sftp(ctx, payload)
		return
	}
	f := &sshapi.Facts{Known: true, Channel: v1alpha1.SSHExec}
	c.run(ctx, c.command("subsystem "+policy.Printable(name, 64), f), "subsystem", payload)
}

// run has the server start a command if that is permitted, and carries its streams.
func (c *channel) run(ctx context.Context, command *policy.Command, request string, payload []byte) {
	permit, err := c.serving.authorize(ctx, command, c.pending)
	if err != nil {
		c.refuse(ctx, err)
		return
	}
	t := c.serving.session.Tape(permit)
	if c.pty != nil {
		t.Terminal()
	}
	p := &process{channel: c, tape: t}
	err = p.start(ctx, request, payload)
	if err == nil {
		p.carry(ctx)
	}
	p.end(ctx, err)
}

// process is a command that runs at the server.
type process struct {
	channel  *channel
	tape     *session.Tape
	ssh      ssh.Channel
	requests <-chan *ssh.Request
	// outcome is the last request of the server that says how the command ended; nil for none.
	outcome *ssh.Request
}

// start opens a session at the server and asks it for the command.
func (p *process) start(ctx context.Context, request string, payload []byte) error {
	c := p.channel
	var err error
	if p.ssh, p.requests, err = c.serving.server.open(ctx, "session", nil); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.ssh.Close() })
	defer stop()
	for _, v := range c.env {
		// Whether the server takes it is its own.
		_, _ = p.ssh.SendRequest("env", false, ssh.Marshal(v))
	}
	if c.agent {
		c.serving.agent.Store(true)
		_, _ = p.ssh.SendRequest("auth-agent-req@openssh.com", false, nil)
	}
	if c.pty != nil {
		if err := p.tape.Input(session.StreamResize, sizeOf(c.pty.Columns, c.pty.Rows)); err != nil {
			p.fail(err)
			return p.failed("the terminal cannot be recorded")
		}
	}
	if c.pty != nil && request != gatedRequest {
		if ok, err := p.ssh.SendRequest("pty-req", true, ssh.Marshal(*c.pty)); err != nil || !ok {
			return p.failed("the server gives no terminal")
		}
	}
	if request == gatedRequest {
		request = "exec"
	}
	if ok, err := p.ssh.SendRequest(request, true, payload); err != nil || !ok {
		return p.failed("the server does not start it")
	}
	c.serving.track(p, true)
	return nil
}

// terminate has the server end the command where the gate ends it, and not the client: sshd
// lets go on what has no terminal when its client goes, and sends a signal if it is asked to
// (RFC 4254, section 6.9), though not to what root runs.
func (p *process) terminate(ctx context.Context) {
	if !errors.Is(context.Cause(ctx), errClientGone) {
		_, _ = p.ssh.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"TERM"}))
	}
}

func (p *process) failed(why string) error {
	_ = p.ssh.Close()
	go ssh.DiscardRequests(p.requests)
	return &policy.Refusal{Code: policy.CodeUpstream, Message: why}
}

// carry carries the streams of a command until it has ended.
func (p *process) carry(ctx context.Context) {
	c := p.channel
	stop := context.AfterFunc(ctx, func() { p.terminate(ctx); _ = p.ssh.Close() })
	defer stop()
	var ends, outputs sync.WaitGroup
	over := make(chan struct{})
	var quiet time.Duration
	if c.pty != nil {
		quiet = patience
	}
	stdout, stderr := p.tape.Output(session.StreamStdout, c.stdout, quiet, false), p.tape.Output(session.StreamStderr, c.stderr, quiet, false)
	ends.Go(func() { p.stdin() })
	ends.Go(func() { p.changes(over) })
	outputs.Go(func() { p.output(stdout, p.ssh) })
	outputs.Go(func() { p.output(stderr, p.ssh.Stderr()) })
	p.wait()
	outputs.Wait()
	close(over)
	_ = p.ssh.Close()
	p.finish(ctx)
	_ = c.ssh.Close()
	ends.Wait()
}

// wait returns when the server has closed the channel, and notes how the command ended.
func (p *process) wait() {
	for r := range p.requests {
		switch r.Type {
		case "exit-status", "exit-signal":
			p.outcome = r
		}
		_ = r.Reply(false, nil)
	}
}

// fail ends the session where it can no longer be recorded, and the command in any case.
func (p *process) fail(err error) {
	if errors.Is(err, session.ErrRecorder) {
		p.channel.serving.cancel(err)
	}
	_ = p.ssh.Close()
}

// stdin passes on what the client sends, until it has sent all.
func (p *process) stdin() {
	buf := make([]byte, part)
	for {
		n, err := p.channel.ssh.Read(buf)
		if n > 0 {
			p.channel.serving.touch()
			if rerr := p.tape.Input(session.StreamStdin, buf[:n]); rerr != nil {
				if !errors.Is(rerr, session.ErrSealed) {
					p.fail(rerr)
				}
				return
			}
			if _, werr := p.ssh.Write(buf[:n]); werr != nil && !errors.Is(werr, io.EOF) {
				return
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) && p.tape.InputEnded() == nil {
				_ = p.ssh.CloseWrite()
			}
			return
		}
	}
}

// patience is how long a terminal's output may be held back that could be the beginning of a
// value to mask.
const patience = 50 * time.Millisecond

// output passes on what the command prints.
func (p *process) output(out *session.Output, from io.Reader) {
	buf := make([]byte, part)
	for {
		n, err := from.Read(buf)
		var werr error
		if n > 0 {
			p.channel.serving.touch()
			_, werr = out.Write(buf[:n])
		}
		if err != nil && werr == nil {
			werr = out.Close()
		}
		if werr != nil {
			// It cannot be recorded, or nobody reads it any more.
			p.fail(werr)
		}
		if err != nil || werr != nil {
			return
		}
	}
}

// changes passes on what the client says while the command runs (RFC 4254, sections 6.7 and
// 6.9).
func (p *process) changes(over <-chan struct{}) {
	for {
		var r *ssh.Request
		select {
		case <-over:
			return
		case r = <-p.channel.changes:
		}
		name, data, ok := change(r)
		if !ok {
			_ = r.Reply(false, nil)
			continue
		}
		if err := p.tape.Input(name, data); err != nil {
			p.fail(err)
			return
		}
		_, err := p.ssh.SendRequest(r.Type, false, r.Payload)
		_ = r.Reply(err == nil, nil)
	}
}

// sizeOf is what is recorded of the size of a terminal.
func sizeOf(columns, rows uint32) []byte {
	return fmt.Appendf(nil, `{"Height":%d,"Width":%d}`, rows, columns)
}

// streamSignal is the name of signals in recordings.
const streamSignal = "signal"

// change returns what is recorded of a request.
func change(r *ssh.Request) (name string, data []byte, ok bool) {
	switch r.Type {
	case "window-change":
		var size struct{ Columns, Rows, Width, Height uint32 }
		if ssh.Unmarshal(r.Payload, &size) != nil {
			return "", nil, false
		}
		return session.StreamResize, sizeOf(size.Columns, size.Rows), true
	case "signal":
		var signal struct{ Name string }
		if ssh.Unmarshal(r.Payload, &signal) != nil || len(signal.Name) > 32 {
			return "", nil, false
		}
		return streamSignal, []byte(signal.Name), true
	case "break":
		return streamSignal, []byte("BREAK"), len(r.Payload) == 4
	}
	return "", nil, false
}

// finish tells the client how the command ended, or why it was ended.
func (p *process) finish(ctx context.Context) {
	c := p.channel
	if cause := context.Cause(ctx); cause != nil {
		if !errors.Is(cause, errClientGone) {
			c.notice(sentence(cause))
		}
		return
	}
	if p.outcome != nil {
		_, _ = c.ssh.SendRequest(p.outcome.Type, false, p.outcome.Payload)
	}
}

// end records how the command ended; err is why it did not begin.
func (p *process) end(ctx context.Context, err error) {
	p.channel.serving.track(p, false)
	r := &recording.Response{}
	switch {
	case err != nil:
		r.Error = "not forwarded"
	case context.Cause(ctx) != nil:
		r.Unknown, r.Error = true, "the command was ended"
	case p.outcome == nil:
		r.Unknown, r.Error = true, "the server closed the channel"
	default:
		r.Tag = outcomeOf(p.outcome)
	}
	if rerr := p.tape.End(r); rerr != nil {
		p.channel.serving.cancel(rerr)
	}
	if err != nil {
		p.channel.refuse(ctx, err)
	}
}

func outcomeOf(r *ssh.Request) string {
	if r.Type == "exit-status" {
		var exit struct{ Status uint32 }
		if ssh.Unmarshal(r.Payload, &exit) == nil {
			return "exit " + strconv.FormatUint(uint64(exit.Status), 10)
		}
	}
	var signal struct {
		Name       string
		CoreDumped bool
		Message    string
		Language   string
	}
	if r.Type == "exit-signal" && ssh.Unmarshal(r.Payload, &signal) == nil {
		return fmt.Sprintf("signal %s", policy.Printable(signal.Name, 32))
	}
	return "ended"
}
