package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// leaveTaking is how long a client has to read the rest of what it was sent.
const leaveTaking = 30 * time.Second

// errClientGone ends a stream whose client has gone.
var errClientGone = errors.New("the client has gone")

// terminal is the client's end of a stream: what it sends and what it is sent. Its methods
// may be called at the same time, each write whole.
type terminal interface {
	// stdin and resize are nil where the client has none. stdin ends with io.EOF where the
	// client says that it has sent all, and with another error where it has gone.
	stdin() io.Reader
	resize() io.Reader
	// write sends to stdout, stderr or error.
	write(stream string, p []byte) error
	// gone is closed once the client has gone.
	gone() <-chan struct{}
	// hasten makes whatever still waits for the client fail at a time.
	hasten(at time.Time)
	// close waits for the client to take leave, or until ctx is done, ends the connection, and
	// returns once nothing of it runs any more.
	close(ctx context.Context)
}

// The names of streams, in recordings as on the wire.
const (
	streamStdin  = "stdin"
	streamStdout = "stdout"
	streamStderr = "stderr"
	streamError  = "error"
	streamResize = "resize"
)

// serveStream carries exec or attach. The client is answered before the API server is asked:
// what it is told while it is held, and why it is refused then, are part of the stream.
func (h *handler) serveStream(w http.ResponseWriter, r *http.Request, what *understood, c *policy.Command, verdict session.Verdict) {
	asked := what.facts.Stream
	accept, refusal := offered(r)
	if refusal != nil {
		refuse(w, h.session.Refuse(c, refusal))
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	client, err := accept(ctx, w, r, asked, h.limits)
	if err != nil {
		// The client was told why.
		_ = h.session.Refuse(c, &policy.Refusal{Code: policy.CodeProtocol, Message: "the client opened no stream"})
		return
	}
	go func() {
		select {
		case <-client.gone():
			cancel(errClientGone)
		case <-ctx.Done():
		}
	}()
	stop := context.AfterFunc(ctx, func() { client.hasten(time.Now().Add(h.limits.Farewell)) })
	defer stop()
	t := &tape{client: client, asked: asked}
	err = h.authorizeAndCarry(ctx, t, what, c, verdict)
	t.tell(ctx, err)
	leave, done := context.WithTimeout(ctx, leaveTaking)
	defer done()
	client.close(leave)
	t.runs.Wait()
}

// authorizeAndCarry returns how the command ended. Whoever waits for an approval is told so.
func (h *handler) authorizeAndCarry(ctx context.Context, t *tape, what *understood, c *policy.Command, verdict session.Verdict) error {
	held := false
	pending := func(request string, expires time.Time) error {
		held = true
		t.notice(fmt.Sprintf("held for approval until %s, ApprovalRequest %s", expires.UTC().Format(time.RFC3339), request))
		return nil
	}
	permit, err := h.session.Authorize(ctx, c, verdict, pending, nil)
	if err != nil {
		return err
	}
	t.streams = h.session.Tape(permit)
	if stream := archived(what.facts.Shell); stream != "" && !t.asked.TTY {
		t.files = list(stream, unpacks(what.facts.Shell), h.session, permit)
	}
	if held {
		err = h.samePod(ctx, what.facts)
	}
	switch {
	case err != nil:
	case what.facts.Opens:
		err = h.carryGated(ctx, t, what, c)
	default:
		err = h.up.carry(ctx, t, what)
	}
	t.files.end()
	if rerr := t.streams.End(t.final(ctx, err)); rerr != nil {
		return rerr //nolint:wrapcheck // it says what failed
	}
	return err
}

// samePod refuses what was approved for another pod than is there now.
func (h *handler) samePod(ctx context.Context, f *kubeapi.Facts) error {
	if f.Pods == nil || f.Pods.UID == "" {
		return nil // no rule asked which pod it is
	}
	if now := h.up.pod(ctx, f); now.UID != f.Pods.UID || !slices.Equal(now.Escapes, f.Pods.Escapes) {
		return &policy.Refusal{Code: policy.CodeApprovalFailed, Message: "the pod changed while the command was held", Hint: "send it again"}
	}
	return nil
}

// exit is how a command ended, as the API server says: a Status.
type exit struct{ status *metav1.Status }

// Error implements error.
func (e *exit) Error() string { return "the command ended: " + e.status.Message }

// code returns the exit code; false where the command did not end by itself.
func (e *exit) code() (string, bool) {
	if e.status.Reason == remotecommand.NonZeroExitCodeReason && e.status.Details != nil {
		for _, cause := range e.status.Details.Causes {
			if n, err := strconv.ParseUint(cause.Message, 10, 8); cause.Type == remotecommand.ExitCodeCauseType && err == nil {
				return strconv.FormatUint(n, 10), true
			}
		}
	}
	return "", false
}

// final is the event that ends the record of the command, but for its counts.
func (t *tape) final(ctx context.Context, err error) *recording.Response {
	r := &recording.Response{Detected: t.printed.Found()}
	ended := new(exit)
	switch {
	case err == nil:
		r.Tag = "exit 0"
	case errors.As(err, &ended):
		if code, known := ended.code(); known {
			r.Tag = "exit " + code
		} else {
			r.Error = "the API server refused or failed"
		}
	case !t.began():
		r.Error = "not forwarded"
	case ctx.Err() != nil:
		r.Unknown, r.Error = true, "the stream was ended"
	default:
		r.Unknown, r.Error = true, "the stream was cut"
	}
	return r
}

// tell ends the client's stream with how the command ended, or why it did not begin.
func (t *tape) tell(ctx context.Context, err error) {
	status := &metav1.Status{Status: metav1.StatusSuccess}
	ended := new(exit)
	switch {
	case err == nil:
	case errors.As(err, &ended):
		status = ended.status
	default:
		status = statusOf(causeOf(ctx, err))
	}
	t.farewell(status)
}
