package gated

import (
	"bytes"
	"io"
	"sync"
)

// screen is the client's terminal, in raw mode: a line feed alone would not begin a line.
type screen struct {
	mu   sync.Mutex
	w    io.Writer
	last byte
}

// Write writes p, each line feed behind a carriage return.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]byte, 0, len(p)+8)
	for _, b := range p {
		if b == '\n' && s.last != '\r' {
			out = append(out, '\r')
		}
		out = append(out, b)
		s.last = b
	}
	if _, err := s.w.Write(out); err != nil {
		return 0, err //nolint:wrapcheck // the terminal's
	}
	return len(p), nil
}

// output is what commands print, with fences between.
type output struct {
	from io.Reader
	to   io.Writer
	mask Mask

	mu    sync.Mutex
	shown []byte
	held  []byte // the beginning of a fence, perhaps
	fence []byte
	seen  chan bool
	ended bool
}

func newOutput(from io.Reader, to io.Writer, mask Mask) *output {
	return &output{from: from, to: to, mask: mask}
}

// until returns what tells when a fence was seen, or, with false, that the output ended.
func (o *output) until(fence string) <-chan bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := make(chan bool, 1)
	if o.ended {
		seen <- false
		return seen
	}
	o.fence, o.seen = []byte(fence), seen
	return seen
}

// copy shows what commands print until it ends.
func (o *output) copy() {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.from.Read(buf)
		if !o.take(buf[:n]) {
			err = io.ErrShortWrite
		}
		if err != nil {
			o.end()
			return
		}
	}
}

// take shows p without the fence, and reports whether that was possible.
func (o *output) take(p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p = append(o.held, p...)
	o.held = nil
	whole := false
	if o.fence != nil {
		at := bytes.Index(p, o.fence)
		if at >= 0 {
			p = append(p[:at:at], p[at+len(o.fence):]...)
			o.fence, whole = nil, true
			defer func() { o.seen <- true }()
		} else {
			keep := tail(p, o.fence)
			o.held = bytes.Clone(p[len(p)-keep:])
			p = p[:len(p)-keep]
		}
	}
	return o.show(p, whole)
}

// show shows p as it is masked, and all of it where it is whole.
func (o *output) show(p []byte, whole bool) bool {
	if o.mask != nil {
		o.shown = o.mask.Write(o.shown[:0], p)
		if whole {
			o.shown = o.mask.Flush(o.shown)
		}
		p = o.shown
	}
	if len(p) == 0 {
		return true
	}
	_, err := o.to.Write(p)
	return err == nil
}

// tail is how many bytes at the end of p may be the beginning of fence.
func tail(p, fence []byte) int {
	for n := min(len(p), len(fence)-1); n > 0; n-- {
		if bytes.HasPrefix(fence, p[len(p)-n:]) {
			return n
		}
	}
	return 0
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.show(o.held, true)
	o.held = nil
	o.ended = true
	if o.fence != nil {
		o.fence = nil
		o.seen <- false
	}
}
