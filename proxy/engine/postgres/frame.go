package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// frameBuffer is the size of a connection's buffers: one TLS record.
	frameBuffer = 16 << 10
	// headSize is the size of a message's type and length.
	headSize = 5
	// maxBody is the most a message may hold; PostgreSQL's own bound is 1 GiB.
	maxBody = 1<<30 - 1
	// maxEmptyReads ends a connection whose reader makes no progress.
	maxEmptyReads = 100
)

var errFrame = errors.New("message length out of bounds")

// frames reads messages from one side. What it returns lies in its buffer and is valid
// until the next call. It holds a whole message only when asked to: others pass through
// in pieces.
type frames struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] is read and not consumed
	// reads counts how often what was consumed may have been overwritten.
	reads uint64
}

func newFrames(src io.Reader) *frames { return &frames{src: src, buf: make([]byte, frameBuffer)} }

// buffered returns how many bytes are read and not consumed.
func (f *frames) buffered() int { return f.w - f.r }

// more reads once, into the space that is left. It fails with io.ErrShortBuffer without
// reading if there is none.
func (f *frames) more() error {
	f.reads++
	if f.r == f.w {
		f.r, f.w = 0, 0
		if len(f.buf) > frameBuffer {
			f.buf = make([]byte, frameBuffer)
		}
	} else if f.w == len(f.buf) && f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.w == len(f.buf) {
		return io.ErrShortBuffer
	}
	for range maxEmptyReads {
		n, err := f.src.Read(f.buf[f.w:])
		f.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// need reads until n bytes are buffered. The caller has bounded n.
func (f *frames) need(n int) error {
	if n > len(f.buf) {
		f.reads++
		grown := make([]byte, n)
		f.w = copy(grown, f.buf[f.r:f.w])
		f.r, f.buf = 0, grown
	}
	for f.buffered() < n {
		if err := f.more(); err != nil {
			if errors.Is(err, io.EOF) && f.buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// head returns the type and the size of the body of the next message and consumes
// nothing. It fails with io.EOF where the other side closed between two messages.
func (f *frames) head() (kind byte, size int, err error) {
	if err := f.need(headSize); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(f.buf[f.r+1:])
	if n < 4 || n-4 > maxBody {
		return 0, 0, errFrame
	}
	return f.buf[f.r], int(n - 4), nil
}

// ready reports whether the next message is buffered whole.
func (f *frames) ready() bool {
	if f.buffered() < headSize {
		return false
	}
	n := binary.BigEndian.Uint32(f.buf[f.r+1:])
	return int64(f.buffered()) >= int64(n)+1
}

// whole consumes the next message, whose body has the given size, and returns all of it,
// head included. The caller has bounded the size.
func (f *frames) whole(size int) ([]byte, error) {
	n := headSize + size
	if err := f.need(n); err != nil {
		return nil, noEOF(err)
	}
	m := f.buf[f.r : f.r+n]
	f.r += n
	return m, nil
}

// piece consumes and returns at least one and at most n bytes of a message.
func (f *frames) piece(n int) ([]byte, error) {
	if f.buffered() == 0 {
		if err := f.more(); err != nil {
			return nil, noEOF(err)
		}
	}
	p := f.buf[f.r:min(f.w, f.r+n)]
	f.r += len(p)
	return p, nil
}

// stream consumes the next message, whose body has the given size, and passes it to each
// in pieces, head included.
func (f *frames) stream(size int, each func(piece []byte) error) error {
	for left := headSize + size; left > 0; {
		p, err := f.piece(left)
		if err != nil {
			return err
		}
		left -= len(p)
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// skip consumes the next message without holding it.
func (f *frames) skip(size int) error {
	return f.stream(size, func([]byte) error { return nil })
}

// noEOF says that the end came inside a message.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// output collects messages for one side and writes them together. commit, if set, runs
// before bytes are written and may refuse that.
type output struct {
	dst    io.Writer
	buf    []byte
	commit func() error
	err    error // the first one; nothing is written after it
}

func newOutput(dst io.Writer) *output { return &output{dst: dst, buf: make([]byte, 0, frameBuffer)} }

// write adds b, writing out what does not fit.
func (o *output) write(b []byte) error {
	for len(b) > 0 {
		if len(o.buf) == cap(o.buf) {
			if err := o.flush(); err != nil {
				return err
			}
		}
		n := min(len(b), cap(o.buf)-len(o.buf))
		o.buf = append(o.buf, b[:n]...)
		b = b[n:]
	}
	return nil
}

// flush writes out what was collected.
func (o *output) flush() error {
	if o.err != nil || len(o.buf) == 0 {
		return o.err
	}
	if o.commit != nil {
		if o.err = o.commit(); o.err != nil {
			return o.err
		}
	}
	if _, err := o.dst.Write(o.buf); err != nil {
		o.err = fmt.Errorf("write: %w", err)
	}
	o.buf = o.buf[:0]
	return o.err
}
