package session

import (
	"io"
	"sync"
	"time"
)

// Output is one stream of what comes back to a command: each part is masked, recorded, and
// passed on, in this order. It is safe for concurrent use.
type Output struct {
	tape *Tape
	name string
	to   io.Writer
	// shown masks for the client; nil where what comes is masked.
	shown *Mask
	// kept masks what is recorded once more, where what is held back is shown after a while; nil
	// where what is shown is recorded.
	kept *Mask
	// quiet is how long there is no output until what is held back is shown; 0 for never.
	quiet time.Duration
	// unmaskable ends the stream where something would have to be masked; nil for never.
	unmaskable error

	mu     sync.Mutex
	parts  uint64 // that came
	timer  *time.Timer
	out    []byte
	record []byte
	err    error // the first
}

// Output returns a stream that is passed on to a writer. What may be the beginning of a value is
// held back until more has come, or there was no output for the time quiet, unless that is 0. A
// terminal has such a time, so that prompts appear: a value that is printed more slowly is shown.
// With masked set, what comes is masked already.
//
// Outputs are made before anything passes.
func (t *Tape) Output(name string, to io.Writer, quiet time.Duration, masked bool) *Output {
	o := &Output{tape: t, name: name, to: to, quiet: quiet}
	if !masked {
		o.shown = t.session.NewMask()
	}
	if quiet > 0 {
		o.kept = t.session.NewMask()
	}
	t.outputs = append(t.outputs, o)
	return o
}

// Unmaskable has the stream end with an error before the first value that would have to be
// masked. It is called before anything passes.
func (o *Output) Unmaskable(err error) { o.unmaskable = err }

// Write implements io.Writer. Its error is the first that there was, of whichever step.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next()
	o.pass(o.shown.Of(&o.out, p))
	if o.err != nil {
		return 0, o.err
	}
	// The time begins when the client has what came before: it must not choose where the rest is
	// cut by being slow.
	if part := o.parts; o.quiet > 0 && o.shown.Held() > 0 {
		o.timer = time.AfterFunc(o.quiet, func() { o.flush(part) })
	}
	return len(p), nil
}

// next ends the wait for more of the part before.
func (o *Output) next() {
	o.parts++
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
}

// flush shows what is held back, if nothing has come behind a part.
func (o *Output) flush(part uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parts == part {
		o.out = o.shown.Flush(o.out[:0])
		o.pass(o.out)
	}
}

// Close passes on what is held back, and records what is left. It does not close the writer.
func (o *Output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next()
	o.out = o.shown.Flush(o.out[:0])
	o.pass(o.out)
	if o.err == nil {
		o.record = o.kept.Flush(o.record[:0])
		o.err = o.tape.record(o.name, o.record, 0)
	}
	return o.err
}

// pass records a part that is masked, and passes it on.
func (o *Output) pass(p []byte) {
	if o.err == nil && o.unmaskable != nil && o.shown.Found() > 0 {
		o.err = o.unmaskable
	}
	if len(p) == 0 || o.err != nil {
		return
	}
	if o.err = o.tape.record(o.name, o.kept.Of(&o.record, p), int64(len(p))); o.err == nil {
		_, o.err = o.to.Write(p)
	}
}
