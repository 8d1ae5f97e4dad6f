package session

import (
	"errors"
	"sync"

	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// ErrSealed is the error of what would pass after the end of a command.
var ErrSealed = errors.New("the command has ended")

// The names of streams in recordings.
const (
	StreamStdin  = "stdin"
	StreamStdout = "stdout"
	StreamStderr = "stderr"
	StreamResize = "resize"
)

// Tape records the streams of one permitted command, before they pass. Input is kept whole,
// for it may be commands; output up to the bound of the RecordingStore after each part of
// input, and counted beyond. It is safe for concurrent use.
type Tape struct {
	session *Session
	permit  Permit
	keep    int64
	// detectors find what is replaced in the streams; nil for none.
	detectors *detect.Set

	mu        sync.Mutex // orders what is recorded
	left      int64
	bytes     int64
	sent      int64
	truncated bool
	sealed    bool
}

// Tape returns a tape for a permitted command.
func (s *Session) Tape(p Permit) *Tape {
	a := s.Admission()
	t := &Tape{session: s, permit: p, detectors: a.Detectors}
	if n := a.Store.Spec.Responses.MaxBytes; n != nil {
		t.keep = int64(*n)
	}
	t.left = t.keep
	return t
}

// Input records a part of what the client sends. Only a nil error lets it pass.
func (t *Tape) Input(stream string, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return ErrSealed
	}
	t.left = t.keep
	if stream == StreamStdin {
		t.sent += int64(len(p))
		if t.detectors != nil {
			// What passes is recorded before it does: a value in several parts is not found.
			d := detect.NewStream(t.detectors)
			p = d.Flush(d.Write(nil, p))
		}
	}
	return t.session.Input(t.permit, &recording.Input{Stream: stream, Data: p})
}

// InputEnded records that the client has sent all.
func (t *Tape) InputEnded() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return ErrSealed
	}
	return t.session.Input(t.permit, &recording.Input{Stream: StreamStdin, Final: true, ByteCount: t.sent})
}

// output records a part of what comes back. Only a nil error lets it pass.
func (t *Tape) output(stream string, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return ErrSealed
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

// Seal lets nothing pass any more.
func (t *Tape) Seal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = true
}

// Counts returns how many bytes came back, and whether some were not kept.
func (t *Tape) Counts() (bytes int64, truncated bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes, t.truncated
}

// End seals the tape and records the end of the command: r says how it ended, the counts are
// filled in.
func (t *Tape) End(r *recording.Response) error {
	t.Seal()
	r.Final = true
	r.ByteCount, r.Truncated = t.Counts()
	return t.session.Respond(t.permit, r)
}
