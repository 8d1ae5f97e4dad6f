package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	restclient "k8s.io/client-go/tools/remotecommand"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/shell/gated"
)

// gateable are the shells of which the gate understands what it gives them.
var gateable = []string{"sh", "ash", "dash", "bash", "/bin/sh", "/bin/ash", "/bin/dash", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"}

// k9s is how k9s asks for a shell.
const k9s = "command -v bash >/dev/null && exec bash || exec sh"

// shellOf returns the shell that a request opens which is about a shell in a terminal alone;
// empty for any other.
func shellOf(s *kubeapi.Stream) string {
	if s == nil || !s.TTY || !s.Stdin || !s.Stdout {
		return ""
	}
	switch c := s.Command; {
	case slices.Equal(c, []string{"sh", "-c", k9s}):
		return "sh"
	case len(c) == 0 || !slices.Contains(gateable, c[0]):
		return ""
	case len(c) == 1 || len(c) == 2 && slices.Contains([]string{"-i", "-l", "-il", "-li", "--login"}, c[1]):
		return c[0]
	}
	return ""
}

// opening returns the facts of a request that opens a gated shell, where the grant is one for
// these; otherwise those given.
func (h *handler) opening(f *kubeapi.Facts) *kubeapi.Facts {
	spec := h.session.Admission().Grant.Spec.Kubernetes
	if !f.Known || !f.Is("", "pods", "exec") || spec == nil || spec.Exec != v1alpha1.ExecGated || shellOf(f.Stream) == "" {
		return f
	}
	opens := *f
	opens.Opens = true
	return &opens
}

// console is the client's terminal. What is typed is recorded, and so is what it shows.
type console struct {
	tape *tape
	fail context.CancelCauseFunc
}

// Read implements io.Reader.
func (c *console) Read(p []byte) (int, error) {
	n, err := c.tape.client.stdin().Read(p)
	if n > 0 {
		if rerr := c.tape.input(streamStdin, p[:n]); rerr != nil {
			c.fail(rerr)
			return 0, rerr
		}
	}
	return n, err //nolint:wrapcheck // it is the client's end, or io.EOF
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	if err := c.tape.output(streamStdout, p); err != nil {
		c.fail(err)
		return 0, err
	}
	return len(p), nil
}

// gatedShell is a shell in a container, of which each line is decided on.
type gatedShell struct {
	handler *handler
	tape    *tape
	console *console
	opened  *policy.Command
	what    *understood

	permit session.Permit // of the line that runs
	before int64          // bytes of output before it
}

// carryGated has the API server start a shell, and gives it what may run. It returns as carry
// does.
func (h *handler) carryGated(ctx context.Context, t *tape, what *understood, c *policy.Command) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream := &kubeapi.Stream{Container: what.facts.Stream.Container, Command: []string{shellOf(what.facts.Stream)}, Stdin: true, Stdout: true, Stderr: true}
	conn, err := h.up.open(ctx, what.instead(stream), remotecommand.StreamProtocolV4Name, func() { t.asking.Store(true) })
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	t.prepare(true, h.up.quiet)
	t.printed = h.session.NewMask()
	s := &gatedShell{handler: h, tape: t, console: &console{t, cancel}, opened: c, what: what}
	ways := shellStreams{}
	if err = ways.open(conn, stream); err == nil {
		err = s.run(ctx, ways)
	}
	if oerr := t.outputEnded(); err == nil {
		err = oerr
	}
	_ = conn.Close()
	if s.permit.Valid() {
		if rerr := h.session.Respond(s.permit, &recording.Response{Final: true, Unknown: true, Error: "the shell ended"}); rerr != nil {
			return rerr
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// run runs the shell until it or the client ends.
func (s *gatedShell) run(ctx context.Context, ways shellStreams) error {
	ended := make(chan struct{})
	var outcome error
	s.tape.runs.Go(func() {
		defer close(ended)
		outcome = ways.ended()
	})
	var sizes chan [2]int
	if s.tape.client.resize() != nil {
		sizes = make(chan [2]int)
		s.tape.runs.Go(func() { s.sizes(ctx, sizes) })
	}
	code, err := gated.Run(ctx, gated.Config{
		Terminal: s.console, Resize: sizes, Name: s.what.facts.Name, Random: rand.Reader, Decide: s.decide, Done: s.done, Mask: s.tape.printed,
		Process: gated.Process{Stdin: ways[streamStdin], Stdout: ways[streamStdout], Stderr: ways[streamStderr], Signal: s.signal,
			Ended: ended,
			Wait: func() (int, error) {
				<-ended
				ended := new(exit)
				if errors.As(outcome, &ended) {
					if code, known := ended.code(); known {
						return strconv.Atoi(code) //nolint:wrapcheck // it is a number
					}
				}
				return 0, outcome
			}},
	})
	if err != nil || code == 0 {
		return err
	}
	text := strconv.Itoa(code)
	return &exit{&metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
		Message: "command terminated with non-zero exit code: exit status " + text,
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: text}}}}}
}

// sizes tells the sizes of the client's terminal.
func (s *gatedShell) sizes(ctx context.Context, to chan<- [2]int) {
	from := &io.LimitedReader{R: s.tape.client.resize()}
	decoder := json.NewDecoder(from)
	for {
		from.N = maxSize
		size := restclient.TerminalSize{}
		if err := decoder.Decode(&size); err != nil {
			return
		}
		b, err := json.Marshal(size)
		if err != nil {
			return
		}
		if err := s.tape.input(streamResize, b); err != nil {
			s.console.fail(err)
			return
		}
		select {
		case to <- [2]int{int(size.Width), int(size.Height)}:
		case <-ctx.Done():
			return
		}
	}
}

// decide decides on one line.
func (s *gatedShell) decide(ctx context.Context, line string, facts *shell.Facts) error {
	f := *s.what.facts
	f.Opens, f.Line, f.Shell = false, true, facts
	c := &policy.Command{Engine: Name, Kubernetes: &f, Text: []byte("$ " + line), Context: maps.Clone(s.opened.Context)}
	c.Context["shell"] = fmt.Sprintf("%s/%s %s", f.Namespace, f.Name, f.Stream.Container)
	permit, err := s.handler.session.Authorize(ctx, c, session.Verdict{}, func(request string, expires time.Time) error {
		_, err := fmt.Fprintf(s.console, "held for approval until %s, ApprovalRequest %s; Ctrl-C gives up\r\n", expires.UTC().Format(time.RFC3339), request)
		return err
	}, nil)
	switch refusal := new(policy.Refusal); {
	case err == nil:
		s.permit = permit
		s.before = s.tape.streams.Bytes()
		return nil
	case errors.As(err, &refusal):
		text := refusal.Error()
		if refusal.Hint != "" {
			text += " (" + refusal.Hint + ")"
		}
		return errors.New(text)
	case !errors.Is(err, session.ErrRecorder) && ctx.Err() != nil:
		return errors.New("the line was not run")
	}
	return &gated.Stop{Err: err}
}

// done records how a line ended.
func (s *gatedShell) done(status int) error {
	now := s.tape.streams.Bytes()
	permit := s.permit
	s.permit = session.Permit{}
	if err := s.handler.session.Respond(permit, &recording.Response{Final: true, Tag: "exit " + strconv.Itoa(status), ByteCount: now - s.before}); err != nil {
		return &gated.Stop{Err: err}
	}
	return nil
}

// signal sends a signal to the shell's process group, by a command of the gate's own beside it:
// nothing else reaches a process that reads no more.
func (s *gatedShell) signal(ctx context.Context, signal string, group int) error {
	ctx, cancel := context.WithTimeout(ctx, s.handler.limits.Farewell)
	defer cancel()
	if err := s.tape.streams.Input("signal", []byte(signal)); err != nil {
		return &gated.Stop{Err: err}
	}
	// The form that dash, bash and busybox all understand.
	stream := &kubeapi.Stream{Container: s.what.facts.Stream.Container, Stderr: true,
		Command: []string{shellOf(s.what.facts.Stream), "-c", `kill "-$1" "-$2"`, "kill", signal, strconv.Itoa(group)}}
	conn, err := s.handler.up.open(ctx, s.what.instead(stream), remotecommand.StreamProtocolV4Name, func() {})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	ways := shellStreams{}
	if err := ways.open(conn, stream); err != nil {
		return err
	}
	var said bytes.Buffer
	var reads sync.WaitGroup
	reads.Go(func() { _, _ = io.Copy(&said, io.LimitReader(ways[streamStderr], maxSize)) })
	err = ways.ended()
	_ = conn.Close()
	reads.Wait()
	if err != nil && said.Len() > 0 {
		return errors.New(strings.TrimSpace(said.String()))
	}
	return err
}
