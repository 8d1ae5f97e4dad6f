package ssh

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

const (
	// maxVariables and maxVariable bound the environment that a client may set: how many
	// variables, and bytes of each.
	maxVariables = 32
	maxVariable  = 1 << 10
	// maxCommand is the most bytes of a command.
	maxCommand = 64 << 10
	// maxChanges is how many requests wait for a command that has not begun, or does not take
	// them.
	maxChanges = 16
	// refused is the exit status of a command that was not run, as that of a shell.
	refused = 126
)

// pty is what a client says of its terminal (RFC 4254, section 6.2).
type pty struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

// variable is one of the environment.
type variable struct{ Name, Value string }

// channel is a session of the client's (RFC 4254, section 6): one command or shell.
type channel struct {
	serving *serving
	ssh     ssh.Channel
	stdout  *stream
	stderr  *stream

	env   []variable
	pty   *pty
	agent bool

	// changes are requests that come while the command runs, as many as maxChanges: the newest.
	changes chan *ssh.Request
}

// stream is one direction of a channel, written whole.
type stream struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// serveSession serves a session of the client's.
func (v *serving) serveSession(ctx context.Context, n ssh.NewChannel) {
	ch, requests, err := n.Accept()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &channel{serving: v, ssh: ch, stdout: &stream{w: ch}, stderr: &stream{w: ch.Stderr()}, changes: make(chan *ssh.Request, maxChanges)}
	var running sync.WaitGroup
	defer running.Wait()
	started := false
	finished := make(chan struct{})
	for {
		select {
		case <-finished:
			return
		case <-ctx.Done():
			if !started {
				c.notice(sentence(context.Cause(ctx)))
				return
			}
			<-finished
			return
		case r, ok := <-requests:
			if !ok {
				cancel(errClientGone)
				return
			}
			if started {
				c.change(r)
				continue
			}
			run := c.prepare(ctx, r)
			if run == nil {
				continue
			}
			started = true
			running.Go(func() {
				defer close(finished)
				run(ctx)
			})
		}
	}
}

// change passes on a request that comes while the command runs. It never waits: what the client
// asks for here must not stop its other channels, nor keep the gate from seeing that it has
// gone, while the command is held. The oldest gives way, for the last size of a terminal counts.
func (c *channel) change(r *ssh.Request) {
	switch r.Type {
	case "window-change", "signal", "break":
	default:
		_ = r.Reply(false, nil)
		return
	}
	for {
		select {
		case c.changes <- r:
			return
		default:
		}
		select {
		case oldest := <-c.changes:
			_ = oldest.Reply(false, nil)
		default:
		}
	}
}

// prepare takes a request that comes before the command, and returns what runs the command once
// that is known.
func (c *channel) prepare(ctx context.Context, r *ssh.Request) func(context.Context) {
	ok := false
	var run func(context.Context)
	switch r.Type {
	case "env":
		ok = c.variable(r.Payload)
	case "pty-req":
		ok = c.terminal(r.Payload)
	case "auth-agent-req@openssh.com":
		ok = c.reachAgent(ctx)
	case "shell":
		ok, run = true, func(ctx context.Context) { c.shell(ctx) }
	case "exec":
		var command struct{ Text string }
		if ssh.Unmarshal(r.Payload, &command) == nil && len(command.Text) <= maxCommand {
			ok, run = true, func(ctx context.Context) { c.exec(ctx, command.Text) }
		}
	case "subsystem":
		var subsystem struct{ Name string }
		if ssh.Unmarshal(r.Payload, &subsystem) == nil && len(subsystem.Name) <= maxVariable {
			ok, run = true, func(ctx context.Context) { c.subsystem(ctx, subsystem.Name) }
		}
	}
	_ = r.Reply(ok, nil)
	return run
}

// variable takes a variable that the grant permits.
func (c *channel) variable(payload []byte) bool {
	var v variable
	if ssh.Unmarshal(payload, &v) != nil || len(c.env) >= maxVariables || len(v.Name)+len(v.Value) > maxVariable ||
		strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value, 0) {
		return false
	}
	if !policy.PermitsVariable(c.serving.session.Admission().Grant.Spec.SSH, v.Name) {
		return false
	}
	c.env = append(c.env, v)
	return true
}

func (c *channel) terminal(payload []byte) bool {
	var p pty
	if c.pty != nil || ssh.Unmarshal(payload, &p) != nil || len(p.Term) > 64 || len(p.Modes) > maxVariable {
		return false
	}
	c.pty = &p
	return true
}

// reachAgent lets the server reach the client's agent, if the grant and the Target permit it.
func (c *channel) reachAgent(ctx context.Context) bool {
	permit, err := c.serving.authorize(ctx, c.command("agent forwarding", &sshapi.Facts{Known: true, Channel: v1alpha1.SSHAgent}), nil)
	if err != nil || !permit.Valid() {
		return false
	}
	c.agent = true
	return true
}

// command completes a command: facts are the channel's, and the context what gives it meaning.
func (c *channel) command(text string, f *sshapi.Facts) *policy.Command {
	a := c.serving.session.Admission()
	f.Login = a.Request.Login
	context := map[string]string{"login": f.Login, "channel": string(f.Channel)}
	for _, v := range c.env {
		context["environment "+v.Name] = v.Value
	}
	return &policy.Command{Engine: Name, SSH: f, Text: []byte(text), Context: context}
}

// notice tells the person at the client something that is not of the command.
func (c *channel) notice(text string) {
	end := "\n"
	if c.pty != nil {
		end = "\r\n"
	}
	_, _ = c.stderr.Write([]byte("cardea: " + text + end))
}

// pending tells the client for what it waits.
func (c *channel) pending(request string, expires time.Time) error {
	c.notice("held for approval until " + expires.UTC().Format(time.RFC3339) + ", ApprovalRequest " + request)
	return nil
}

// exit tells the client how its command ended, as its last.
func (c *channel) exit(status uint32) {
	_, _ = c.ssh.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

// refuse tells the client why its command did not run.
func (c *channel) refuse(ctx context.Context, err error) {
	if refusal := new(policy.Refusal); !errors.As(err, &refusal) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, errClientGone) {
		return
	}
	if errors.Is(err, session.ErrRecorder) {
		err = context.Cause(ctx)
	}
	c.notice(sentence(err))
	c.exit(refused)
}
