package kubernetes

import (
	"encoding/json"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// errArchive refuses an archive of which a part would have to be masked.
var errArchive = &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "the files hold what a MaskingRule's detectors mask, and an archive cannot be masked",
	Hint: "copy other files, or read these as text, which is masked"}

// tape is what passes between a client and a command: it is recorded before it passes.
type tape struct {
	client terminal
	asked  *kubeapi.Stream
	runs   sync.WaitGroup // what reads of the client; ends when the client is closed
	asking atomic.Bool    // the API server was asked, and may have begun

	// Set when the command is permitted.
	streams *session.Tape
	files   *listing // of the archive that passes; nil for none

	outputs map[string]*session.Output
	printed *session.Mask // of what commands of a gated shell print; nil for another command
}

// towards is a stream of the client's. The listing has what passes there first.
type towards struct {
	tape   *tape
	stream string
}

// Write implements io.Writer.
func (w towards) Write(p []byte) (int, error) {
	if w.tape.files.of(w.stream) {
		if err := w.tape.files.write(p); err != nil {
			return 0, err
		}
	}
	if err := w.tape.client.write(w.stream, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// prepare makes the ways of output. Those of a gated shell are masked where what commands print
// ends and the echo of what is typed begins.
func (t *tape) prepare(gated bool, quiet time.Duration) {
	t.outputs = map[string]*session.Output{}
	if !t.asked.TTY {
		quiet = 0
	} else if !gated {
		t.streams.Terminal()
	}
	for _, stream := range []string{streamStdout, streamStderr} {
		o := t.streams.Output(stream, towards{t, stream}, quiet, gated)
		if t.files.of(stream) {
			o.Unmaskable(errArchive)
		}
		t.outputs[stream] = o
	}
	t.outputs[streamError] = t.streams.Output(streamError, io.Discard, 0, true)
}

// input records a part of what the client sends. Only a nil error lets it pass. What is within a
// large file of an archive is counted: the archive's listing has its digest.
func (t *tape) input(stream string, p []byte) error {
	if t.files.of(stream) {
		inside, err := t.files.inside(p)
		if err != nil {
			return err
		}
		if inside {
			return t.streams.Skip(len(p)) //nolint:wrapcheck // it says what failed
		}
	}
	return t.streams.Input(stream, p) //nolint:wrapcheck // likewise
}

// output masks and records a part of what comes back, and passes it on.
func (t *tape) output(stream string, p []byte) error {
	_, err := t.outputs[stream].Write(p)
	return err //nolint:wrapcheck // it says what failed
}

// outputEnded passes on and records what is left of output.
func (t *tape) outputEnded() error {
	return errors.Join(t.outputs[streamStdout].Close(), t.outputs[streamStderr].Close())
}

// began reports whether the command may have begun.
func (t *tape) began() bool { return t.asking.Load() }

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
