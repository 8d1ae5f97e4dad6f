package session

const (
	// maxTyped bounds, in bytes, what is typed and not yet seen to be shown.
	maxTyped = 8 << 10
	// maxPieces bounds the pieces of that.
	maxPieces = 256
	// maxSequence bounds an escape sequence in bytes; what is longer is text.
	maxSequence = 32
)

// echo tells what of that which is typed into a terminal the terminal shows: passwords are not.
// What is typed is cut into pieces at every key that is no text. A piece is known when the very
// next output is the piece, whole and without anything else in between; otherwise, be it for a
// redrawn line, it is not. So it never tells more than the output does.
type echo struct {
	pieces        []piece // in order; the last one is being typed unless it has ended
	size          int
	input, output escapes // of keys there are CSI and SS3 alone
}

// piece is some text with the key that ended it.
type piece struct {
	text   []byte
	end    []byte
	seen   int // bytes of text that were shown
	ended  bool
	unseen bool // something else was shown in place of it
}

// typed takes keys, and appends to dst what is known then.
func (e *echo) typed(dst, p []byte) []byte {
	for _, b := range p {
		if e.input.within(b, false) || b < ' ' || b == 0x7f {
			e.key(b)
		} else {
			e.letter(b)
		}
	}
	return e.known(dst)
}

func (e *echo) letter(b byte) {
	if n := len(e.pieces); n == 0 || e.pieces[n-1].ended {
		e.pieces = append(e.pieces, piece{})
	}
	last := &e.pieces[len(e.pieces)-1]
	last.text = append(last.text, b)
	e.size++
}

// key ends the piece that is being typed. The bytes of one key are one end.
func (e *echo) key(b byte) {
	n := len(e.pieces)
	if n == 0 || e.pieces[n-1].ended && !e.input.inside {
		e.pieces = append(e.pieces, piece{})
		n++
	}
	last := &e.pieces[n-1]
	last.end, last.ended = append(last.end, b), true
	e.size++
}

// shown takes output, and appends to dst what is known then.
func (e *echo) shown(dst, p []byte) []byte {
	for _, b := range p {
		if len(e.pieces) == 0 {
			e.output.within(b, true)
			continue
		}
		if e.output.within(b, true) {
			continue
		}
		head := &e.pieces[0]
		switch {
		case head.seen == len(head.text):
		case !head.unseen && b == head.text[head.seen]:
			head.seen++
		default:
			head.unseen = true
		}
		if head.ended {
			dst = e.known(dst)
		}
	}
	return dst
}

// known appends to dst the pieces at the beginning of which all is known.
func (e *echo) known(dst []byte) []byte {
	for len(e.pieces) > 0 {
		head := &e.pieces[0]
		over := e.size > maxTyped || len(e.pieces) > maxPieces
		head.unseen = head.unseen || over && head.seen < len(head.text)
		if head.unseen {
			e.size -= len(head.text)
			head.text, head.seen = head.text[:0], 0
		}
		if !head.ended || head.seen < len(head.text) {
			return dst
		}
		dst = append(append(dst, head.text...), head.end...)
		e.size -= len(head.text) + len(head.end)
		e.pieces = e.pieces[1:]
	}
	return dst
}

// rest appends to dst what is known when nothing more will be shown.
func (e *echo) rest(dst []byte) []byte {
	for _, p := range e.pieces {
		if !p.unseen && p.seen == len(p.text) {
			dst = append(dst, p.text...)
		}
		dst = append(dst, p.end...)
	}
	e.pieces, e.size = nil, 0
	return dst
}

// escapes follows escape sequences: CSI and SS3 of ECMA-48, and OSC.
type escapes struct {
	inside  bool // the byte that was given last belongs to a sequence, and is not its first
	state   byte // 0, ESC, or what came behind it: [, O, ]
	length  int
	stopped bool // an OSC may end with ESC \
}

// within takes the next byte, and tells whether it belongs to a sequence, which may be an OSC.
func (s *escapes) within(b byte, osc bool) bool {
	const esc, bel = 0x1b, 0x07
	s.inside = s.state != 0
	if s.length++; s.length > maxSequence && s.state != ']' {
		s.state = 0
	}
	switch s.state {
	case 0:
		if b == esc {
			s.state, s.length, s.inside = esc, 1, false
			return true
		}
		s.inside = false
		return false
	case esc:
		if b == '[' || b == 'O' || osc && b == ']' {
			s.state, s.stopped = b, false
			return true
		}
		s.state, s.inside = 0, false
		return false
	case '[':
		if b >= 0x40 && b <= 0x7e {
			s.state = 0
		}
	case 'O':
		s.state = 0
	case ']':
		if b == bel || s.stopped && b == '\\' || s.length > 16*maxSequence {
			s.state = 0
		}
		s.stopped = b == esc
	}
	return true
}
