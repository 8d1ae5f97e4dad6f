package kubernetes

import (
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

	mu        sync.Mutex // orders what is recorded of output
	left      int64
	bytes     int64
	truncated bool
	sent      int64 // bytes of stdin
	sealed    bool
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
	return t.session.Input(t.permit, &recording.Input{Stream: streamStdin, Final: true, ByteCount: t.sent})
}

// output records a part of what comes back, and passes it on.
func (t *tape) output(stream string, p []byte) error {
	if err := t.record(stream, p); err != nil {
		return err
	}
	if err := t.files.write(stream, p); err != nil {
		return err
	}
	return t.client.write(stream, p)
}

func (t *tape) record(stream string, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return errSealed
	}
	t.bytes += int64(len(p))
	keep := min(int64(len(p)), t.left)
	cut := keep < int64(len(p))
	if cut && t.truncated && keep == 0 {
		return nil
	}
	t.left -= keep
	t.truncated = t.truncated || cut
	return t.session.Output(t.permit, &recording.Output{Stream: stream, Data: p[:keep], Truncated: cut})
}

// began reports whether the command may have begun.
func (t *tape) began() bool { return t.asking.Load() }

// seal lets nothing pass any more.
func (t *tape) seal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = true
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
