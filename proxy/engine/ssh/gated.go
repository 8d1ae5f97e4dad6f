package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/shell/gated"
)

const (
	// gatedRequest is an exec for which the server gives no terminal.
	gatedRequest = "gated"
	// shellCommand is what the login shell, whichever it is, is given to run.
	shellCommand = "exec sh"
	// maxComplaint is the most bytes that are read of why a signal was not sent.
	maxComplaint = 256
)

// gatedShell is a shell at the server, of which each line is decided on.
type gatedShell struct {
	process *process
	opened  *policy.Command
	cancel  context.CancelCauseFunc
	screen  *session.Output
	printed *session.Mask // of what commands print

	permit session.Permit // of the line that runs
	before int64          // bytes of output before it
}

// gated opens a gated shell, if that is permitted.
func (c *channel) gated(ctx context.Context, command *policy.Command) {
	permit, err := c.serving.authorize(ctx, command, c.pending)
	if err != nil {
		c.refuse(ctx, err)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &process{channel: c, tape: c.serving.session.Tape(permit)}
	if err := p.start(ctx, gatedRequest, ssh.Marshal(struct{ Command string }{shellCommand})); err != nil {
		p.end(ctx, err)
		return
	}
	defer c.serving.track(p, false)
	s := &gatedShell{process: p, opened: command, cancel: cancel, screen: p.tape.Output(session.StreamStdout, c.stdout, patience, true), printed: c.serving.session.NewMask()}
	code, err := s.run(ctx)
	if s.permit.Valid() {
		if rerr := c.serving.session.Respond(s.permit, &recording.Response{Final: true, Unknown: true, Error: "the shell ended"}); rerr != nil {
			c.serving.cancel(rerr)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if cerr := s.screen.Close(); errors.Is(cerr, session.ErrRecorder) {
		c.serving.cancel(cerr)
	}
	r := &recording.Response{Tag: "exit " + strconv.Itoa(code), Detected: s.printed.Found()}
	if err != nil {
		r = &recording.Response{Unknown: true, Error: "the shell was ended"}
	}
	if rerr := p.tape.End(r); rerr != nil {
		c.serving.cancel(rerr)
	}
	switch {
	case err == nil:
		c.exit(uint32(code)) //nolint:gosec // an exit status
	case !errors.Is(err, errClientGone):
		c.notice(sentence(err))
	}
	_ = c.ssh.Close()
}

// run runs the shell until it or the client ends.
func (s *gatedShell) run(ctx context.Context) (int, error) {
	p := s.process
	var background sync.WaitGroup
	defer background.Wait()
	ended := make(chan struct{})
	background.Go(func() {
		defer close(ended)
		p.wait()
	})
	defer func() { _ = p.ssh.Close() }()
	over := make(chan struct{})
	defer close(over)
	sizes := make(chan [2]int, 1)
	sizes <- [2]int{int(p.channel.pty.Columns), int(p.channel.pty.Rows)}
	background.Go(func() { s.changes(over, sizes) })
	return gated.Run(ctx, gated.Config{
		Terminal: s, Resize: sizes, Name: s.opened.SSH.Login + "@" + p.channel.serving.session.Admission().Target.Name,
		Random: rand.Reader, Decide: s.decide, Done: s.done, Mask: s.printed,
		Process: gated.Process{Stdin: input{p.ssh}, Stdout: p.ssh, Stderr: p.ssh.Stderr(), Signal: s.signal, Ended: ended,
			Wait: func() (int, error) {
				<-ended
				return p.status()
			}},
	})
}

// input is the standard input of the shell.
type input struct{ ssh.Channel }

// Close ends it.
func (i input) Close() error { return i.CloseWrite() }

// status is the exit status that the server told.
func (p *process) status() (int, error) {
	var exit struct{ Status uint32 }
	if p.outcome == nil || p.outcome.Type != "exit-status" || ssh.Unmarshal(p.outcome.Payload, &exit) != nil || exit.Status > 255 {
		return 0, &policy.Refusal{Code: policy.CodeUpstream, Message: "the shell ended, and the server does not say how"}
	}
	return int(exit.Status), nil
}

// Read returns what is typed, which is recorded.
func (s *gatedShell) Read(b []byte) (int, error) {
	p := s.process
	n, err := p.channel.ssh.Read(b)
	if n > 0 {
		p.channel.serving.touch()
		if rerr := p.tape.Input(session.StreamStdin, b[:n]); rerr != nil {
			s.fail(rerr)
			return 0, rerr
		}
	}
	return n, err
}

// Write shows something, which is recorded.
func (s *gatedShell) Write(b []byte) (int, error) {
	p := s.process
	p.channel.serving.touch()
	n, err := s.screen.Write(b)
	if err != nil {
		s.fail(err)
	}
	return n, err
}

func (s *gatedShell) fail(err error) {
	if errors.Is(err, session.ErrRecorder) {
		s.process.channel.serving.cancel(err)
	}
	s.cancel(err)
}

// changes follows the size of the client's terminal.
func (s *gatedShell) changes(over <-chan struct{}, sizes chan<- [2]int) {
	for {
		var r *ssh.Request
		select {
		case <-over:
			return
		case r = <-s.process.channel.changes:
		}
		name, data, ok := change(r)
		if !ok || name != session.StreamResize {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		if err := s.process.tape.Input(name, data); err != nil {
			s.fail(err)
			return
		}
		var size struct{ Width, Height int }
		if json.Unmarshal(data, &size) != nil {
			continue
		}
		select {
		case <-over:
			return
		case sizes <- [2]int{size.Width, size.Height}:
		}
	}
}

// decide decides on one line.
func (s *gatedShell) decide(ctx context.Context, line string, facts *shell.Facts) error {
	f := *s.opened.SSH
	f.Opens, f.Line, f.Shell = false, true, facts
	c := &policy.Command{Engine: Name, SSH: &f, Text: []byte("$ " + line), Context: maps.Clone(s.opened.Context)}
	serving := s.process.channel.serving
	permit, err := serving.authorize(ctx, c, func(request string, expires time.Time) error {
		_, err := fmt.Fprintf(s, "held for approval until %s, ApprovalRequest %s; Ctrl-C gives up\r\n", expires.UTC().Format(time.RFC3339), request)
		return err
	})
	switch refusal := new(policy.Refusal); {
	case err == nil:
		s.permit = permit
		s.before = s.process.tape.Bytes()
		return nil
	case errors.As(err, &refusal):
		return errors.New(sentence(err))
	case !errors.Is(err, session.ErrRecorder) && ctx.Err() != nil:
		return errors.New("the line was not run")
	}
	return &gated.Stop{Err: err}
}

// done records how a line ended.
func (s *gatedShell) done(status int) error {
	now := s.process.tape.Bytes()
	permit := s.permit
	s.permit = session.Permit{}
	err := s.process.channel.serving.session.Respond(permit, &recording.Response{Final: true, Tag: "exit " + strconv.Itoa(status), ByteCount: now - s.before})
	if err != nil {
		return &gated.Stop{Err: err}
	}
	return nil
}

// signal sends a signal to the shell's process group, by a command of the gate's own beside it:
// what the protocol has for it reaches the shell alone.
func (s *gatedShell) signal(ctx context.Context, signal string, group int) error {
	serving := s.process.channel.serving
	ctx, cancel := context.WithTimeout(ctx, serving.limits.Farewell)
	defer cancel()
	if err := s.process.tape.Input(streamSignal, []byte(signal)); err != nil {
		return &gated.Stop{Err: err}
	}
	channel, requests, err := serving.server.open(ctx, "session", nil)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = channel.Close() })
	defer stop()
	defer func() { _ = channel.Close() }()
	// Every login shell takes it; the form of kill is one that dash, bash and busybox understand.
	text := fmt.Sprintf(`exec sh -c 'kill "-$1" "-$2"' kill %s %d`, signal, group)
	if ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{text})); err != nil || !ok {
		go ssh.DiscardRequests(requests)
		return errors.New("the server does not start kill")
	}
	var said bytes.Buffer
	var reads sync.WaitGroup
	reads.Go(func() { _, _ = io.Copy(&said, io.LimitReader(channel.Stderr(), maxComplaint)) })
	p := &process{ssh: channel, requests: requests}
	p.wait()
	reads.Wait()
	if status, err := p.status(); err != nil || status != 0 {
		return errors.New(strings.TrimSpace("kill failed: " + said.String()))
	}
	return nil
}
