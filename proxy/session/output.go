package session

import (
	"io"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/masking/detect"
)

// Output is one stream of what comes back to a command: each part is masked by the detectors
// of the session, recorded, and passed on, in this order. It is safe for concurrent use.
type Output struct {
	tape  *Tape
	name  string
	to    io.Writer
	after time.Duration

	mu     sync.Mutex
	stream *detect.Stream // nil where there are no detectors
	buf    []byte
	timer  *time.Timer
	err    error
}

// Output returns a stream that is passed on to a writer. What may be the beginning of a value is
// held back until more has come, or for the time after: 0 is until the stream ends. A terminal
// has such a time, so that prompts appear; a value that is printed more slowly passes.
func (t *Tape) Output(name string, to io.Writer, after time.Duration) *Output {
	o := &Output{tape: t, name: name, to: to, after: after}
	if t.detectors != nil {
		o.stream = detect.NewStream(t.detectors)
	}
	return o
}

// Write implements io.Writer. Its error is the first that there was, of whichever step.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if o.stream == nil {
		o.pass(p)
	} else {
		o.buf = o.stream.Write(o.buf[:0], p)
		o.pass(o.buf)
		if o.after > 0 && o.err == nil && o.stream.Held() > 0 {
			o.timer = time.AfterFunc(o.after, func() { _ = o.Flush() })
		}
	}
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// Flush passes on what is held back, as at the end of the stream.
func (o *Output) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if o.stream != nil {
		o.buf = o.stream.Flush(o.buf[:0])
		o.pass(o.buf)
	}
	return o.err
}

func (o *Output) pass(p []byte) {
	if len(p) == 0 || o.err != nil {
		return
	}
	if o.err = o.tape.output(o.name, p); o.err == nil {
		_, o.err = o.to.Write(p)
	}
}
