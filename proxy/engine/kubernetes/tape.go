package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// errSealed is the error of what would pass after the end of a command.
var errSealed = errors.New("the command has ended")

// tape records what passes between a client and a command, before it passes. Input is kept
// whole, for it may be commands; output up to the bound of the RecordingStore after each
// part of input, and counted beyond.
type tape struct {
	session *session.Session
	client  terminal
	permit  session.Permit // set before anything passes
	keep    int64
	asked   *kubeapi.Stream
	runs    sync.WaitGroup // what reads of the client; ends when the client is closed
	asking  atomic.Bool    // the API server was asked, and may have begun
	files   *listing       // of the archive that passes; nil for none
	clock   clock.WithDelayedExecution
	fail    context.CancelCauseFunc // ends the command
	outlets map[string]*outlet
	typed   *session.Mask // of what is recorded of stdin
	printed *session.Mask // of what commands of a gated shell print; nil for another command

	mu        sync.Mutex // orders what is recorded of output
	left      int64
	bytes     int64
	truncated bool
	sent      int64 // bytes of stdin
	sealed    bool
	line      []byte
}

// input records a part of what the client sends. Only a nil error lets it pass.
func (t *tape) input(stream string, p []byte) error {
	if err := t.take(stream, p); err != nil {
		return err
	}
	return t.files.write(stream, p)
}

func (t *tape) take(stream string, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return errSealed
	}
	t.left = t.keep
	if stream == streamStdin {
		t.sent += int64(len(p))
		p = t.typed.Of(&t.line, p)
	}
	return t.put(stream, p)
}

// put records a part of input as it is. What is held back, because it may be the beginning of
// what is not recorded, has been forwarded when it is.
func (t *tape) put(stream string, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return t.session.Input(t.permit, &recording.Input{Stream: stream, Data: p})
}

// inputEnded records that the client has sent all.
func (t *tape) inputEnded() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return errSealed
	}
	if err := t.put(streamStdin, t.typed.Flush(t.line[:0])); err != nil {
		return err
	}
	return t.session.Input(t.permit, &recording.Input{Stream: streamStdin, Final: true, ByteCount: t.sent})
}

// prepare makes the ways of output of a command. What comes of a gated shell is masked where it
// ends and the echo of what is typed begins.
func (t *tape) prepare(fail context.CancelCauseFunc, gated bool, quiet time.Duration) {
	t.fail, t.typed, t.outlets = fail, t.session.NewMask(), map[string]*outlet{}
	if gated {
		t.printed = t.session.NewMask()
	}
	for _, stream := range []string{streamStdout, streamStderr} {
		o := &outlet{tape: t, stream: stream}
		if t.printed == nil {
			o.shown = t.session.NewMask()
		}
		if t.asked.TTY {
			o.kept, o.quiet = t.session.NewMask(), quiet
		}
		t.outlets[stream] = o
	}
}

// output masks and records a part of what comes back, and passes it on.
func (t *tape) output(stream string, p []byte) error { return t.outlets[stream].write(p) }

// outputEnded passes on and records what is left of output.
func (t *tape) outputEnded() error {
	return errors.Join(t.outlets[streamStdout].end(), t.outlets[streamStderr].end())
}

// detected is how many values were replaced.
func (t *tape) detected() int64 {
	n := t.printed.Found()
	for _, o := range t.outlets {
		n += o.shown.Found()
	}
	return n
}

// record records a part of output; passed is how many bytes of it the client is sent.
func (t *tape) record(stream string, p []byte, passed int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return errSealed
	}
	t.bytes += passed
	keep := min(int64(len(p)), t.left)
	cut := keep < int64(len(p))
	if len(p) == 0 || cut && t.truncated && keep == 0 {
		return nil
	}
	t.left -= keep
	t.truncated = t.truncated || cut
	return t.session.Output(t.permit, &recording.Output{Stream: stream, Data: p[:keep], Truncated: cut})
}

// began reports whether the command may have begun.
func (t *tape) began() bool { return t.asking.Load() }

// seal lets nothing pass any more. It records what is left of input.
func (t *tape) seal() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = true
	return t.put(streamStdin, t.typed.Flush(t.line[:0]))
}

func (t *tape) counts() (bytes int64, truncated bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes, t.truncated
}

// notice tells the person at the client something that is not of the command.
func (t *tape) notice(text string) {
	switch {
	case t.asked.TTY && t.asked.Stdout:
		_ = t.client.write(streamStdout, []byte("\r\ncardea: "+text+"\r\n"))
	case t.asked.Stderr:
		_ = t.client.write(streamStderr, []byte("cardea: "+text+"\n"))
	}
}

// farewell is the last that the client is sent.
func (t *tape) farewell(status *metav1.Status) {
	// A Status holds strings and numbers alone.
	if b, err := json.Marshal(status); err == nil {
		_ = t.client.write(streamError, b)
	}
}
