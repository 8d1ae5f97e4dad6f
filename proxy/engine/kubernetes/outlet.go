package kubernetes

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// errArchive refuses an archive of which a part would have to be masked.
var errArchive = &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "the files hold what a MaskingRule's detectors mask, and an archive cannot be masked",
	Hint: "copy other files, or read these as text, which is masked"}

// outlet is one stream of output on its way to the client. What detectors find is replaced
// before it is recorded and shown.
type outlet struct {
	tape   *tape
	stream string
	// shown masks for the client; nil where what comes is masked.
	shown *session.Mask
	// kept masks what is recorded once more, where what is held back is shown after a while; nil
	// where what is shown is recorded.
	kept *session.Mask
	// quiet is how long there is no output until what is held back is shown; 0 for never.
	quiet time.Duration

	mu     sync.Mutex
	parts  uint64 // that came
	timer  clock.Timer
	out    []byte
	record []byte
}

// write masks, records and passes on the next part.
func (o *outlet) write(p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next()
	if err := o.pass(o.shown.Of(&o.out, p)); err != nil {
		return err
	}
	// The time begins when the client has what came before: it must not choose where the rest is
	// cut by being slow.
	if part := o.parts; o.quiet > 0 && o.shown.Held() > 0 {
		o.timer = o.tape.clock.AfterFunc(o.quiet, func() { o.flush(part) })
	}
	return nil
}

// next ends the wait for more of the part before.
func (o *outlet) next() {
	o.parts++
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
}

// flush shows what is held back, if nothing has come behind a part.
func (o *outlet) flush(part uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parts != part {
		return
	}
	o.out = o.shown.Flush(o.out[:0])
	if err := o.pass(o.out); err != nil {
		o.tape.fail(err)
	}
}

// end passes on what is held back, and records what is left. Nothing is shown by itself any more
// when it has returned.
func (o *outlet) end() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next()
	o.out = o.shown.Flush(o.out[:0])
	if err := o.pass(o.out); err != nil {
		return err
	}
	o.record = o.kept.Flush(o.record[:0])
	return o.tape.record(o.stream, o.record, 0)
}

// pass records a part that is masked, and passes it on.
func (o *outlet) pass(p []byte) error {
	if o.tape.files.of(o.stream) && o.shown.Found() > 0 {
		return errArchive
	}
	if len(p) == 0 {
		return nil
	}
	if err := o.tape.record(o.stream, o.kept.Of(&o.record, p), int64(len(p))); err != nil {
		return err
	}
	if err := o.tape.files.write(o.stream, p); err != nil {
		return err
	}
	return o.tape.client.write(o.stream, p)
}
