package session

import (
	"errors"
	"sync"

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
// for it may be commands, with what detectors find in it replaced; output up to the bound of the
// RecordingStore after each part of input, and counted beyond. It is safe for concurrent use.
type Tape struct {
	session *Session
	permit  Permit
	keep    int64
	typed   *Mask
	outputs []*Output
	counted bool
	echo    *echo // of a terminal; nil for what is none

	mu        sync.Mutex // orders what is recorded
	left      int64
	bytes     int64
	sent      int64
	truncated bool
	skipped   bool // of input
	sealed    bool
	line      []byte
}

// Tape returns a tape for a permitted command.
func (s *Session) Tape(p Permit) *Tape {
	t := &Tape{session: s, permit: p, typed: s.NewMask()}
	if store := s.Admission().Store; store != nil && store.Spec.Responses.MaxBytes != nil {
		t.keep = int64(*store.Spec.Responses.MaxBytes)
	}
	t.left = t.keep
	return t
}

// Counted returns a tape that records how many bytes pass, and none of them: of what is no text.
func (s *Session) Counted(p Permit) *Tape {
	t := s.Tape(p)
	t.counted = true
	return t
}

// Terminal has the tape take stdin for what is typed into a terminal: each part is recorded as how
// many bytes it has, and as text once the terminal has shown it. It is called before anything
// passes.
func (t *Tape) Terminal() { t.echo = &echo{} }

// Input records a part of what the client sends. Only a nil error lets it pass. What may be the
// beginning of a value is recorded when more has come.
func (t *Tape) Input(stream string, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return ErrSealed
	}
	t.left = t.keep
	if stream == StreamStdin {
		t.sent += int64(len(p))
		if t.counted {
			return nil
		}
		if t.echo != nil {
			t.line = t.typed.Write(t.line[:0], t.echo.typed(nil, p))
			return t.session.Input(t.permit, &recording.Input{Stream: stream, Data: t.line, ByteCount: int64(len(p))})
		}
		p = t.typed.Of(&t.line, p)
	}
	return t.put(stream, p)
}

// rest records what is left of stdin.
func (t *Tape) rest() error {
	t.line = t.line[:0]
	if t.echo != nil {
		t.line = t.typed.Write(t.line, t.echo.rest(nil))
	}
	t.line = t.typed.Flush(t.line)
	return t.put(StreamStdin, t.line)
}

// Skip counts n bytes of stdin that are not kept: of what is known to be no command. Only a nil
// error lets them pass.
func (t *Tape) Skip(n int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return ErrSealed
	}
	t.left = t.keep
	t.sent += int64(n)
	t.skipped = true
	return t.rest()
}

func (t *Tape) put(stream string, p []byte) error {
	if len(p) == 0 {
		return nil
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
	if err := t.rest(); err != nil {
		return err
	}
	return t.session.Input(t.permit, &recording.Input{Stream: StreamStdin, Final: true, ByteCount: t.sent, Truncated: t.skipped || t.counted && t.sent > 0})
}

// record records a part of what comes back; passed is how many bytes of it the client is sent.
func (t *Tape) record(stream string, p []byte, passed int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return ErrSealed
	}
	t.bytes += passed
	if t.echo != nil && stream == StreamStdout {
		t.line = t.typed.Write(t.line[:0], t.echo.shown(nil, p))
		if err := t.put(StreamStdin, t.line); err != nil {
			return err
		}
	}
	keep := min(int64(len(p)), t.left)
	if t.counted {
		keep = 0
	}
	cut := keep < int64(len(p))
	if len(p) == 0 || cut && t.truncated && keep == 0 {
		return nil
	}
	t.left -= keep
	t.truncated = t.truncated || cut
	return t.session.Output(t.permit, &recording.Output{Stream: stream, Data: p[:keep], Truncated: cut})
}

// Bytes returns how many bytes came back.
func (t *Tape) Bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// End lets nothing pass any more, and records the end of the command: r says how it ended, the
// counts are filled in.
func (t *Tape) End(r *recording.Response) error {
	for _, o := range t.outputs {
		r.Detected += o.shown.Found()
	}
	t.mu.Lock()
	sealed := t.sealed
	t.sealed = true
	err := error(nil)
	if !sealed {
		err = t.rest()
	}
	r.Final, r.ByteCount, r.Truncated = true, t.bytes, t.truncated
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return t.session.Respond(t.permit, r)
}
