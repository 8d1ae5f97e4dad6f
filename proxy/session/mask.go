package session

import (
	"sync/atomic"

	"github.com/cardea-dev/cardea/proxy/masking/detect"
)

// Mask replaces what the session's detectors find in one text that comes in parts, by the policy
// of the moment in which a part comes. A nil Mask passes everything. But for Found
// it is not safe for concurrent use.
type Mask struct {
	session *Session
	stream  *detect.Stream
	found   atomic.Int64
	used    bool // there were detectors
}

// NewMask returns a Mask at the beginning of a text.
func (s *Session) NewMask() *Mask { return &Mask{session: s, stream: detect.NewStream(nil)} }

// Write appends to dst what may go on, as detect.Stream does.
func (m *Mask) Write(dst, p []byte) []byte {
	if m == nil {
		return append(dst, p...)
	}
	if !m.finds() {
		return append(dst, p...)
	}
	dst = m.stream.Write(dst, p)
	m.found.Store(int64(m.stream.Found()))
	return dst
}

// Of returns what may go on of p and of what was held back: p itself where there are no
// detectors, otherwise what it writes over buf.
func (m *Mask) Of(buf *[]byte, p []byte) []byte {
	if m == nil || !m.finds() {
		return p
	}
	*buf = m.Write((*buf)[:0], p)
	return *buf
}

// finds takes the detectors of now, and reports whether there are any, or were.
func (m *Mask) finds() bool {
	set := m.session.Admission().Detectors
	if set == nil && !m.used {
		return false
	}
	m.used = true
	m.stream.Use(set)
	return true
}

// Flush appends to dst what is held back.
func (m *Mask) Flush(dst []byte) []byte {
	if m == nil {
		return dst
	}
	dst = m.stream.Flush(dst)
	m.found.Store(int64(m.stream.Found()))
	return dst
}

// Held returns how many bytes are held back.
func (m *Mask) Held() int {
	if m == nil {
		return 0
	}
	return m.stream.Held()
}

// Found returns how many values were replaced.
func (m *Mask) Found() int64 {
	if m == nil {
		return 0
	}
	return m.found.Load()
}
