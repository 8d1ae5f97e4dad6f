package detect

import "bytes"

const (
	// maxHeld is how long a value may be that is held back to be recognised.
	maxHeld = 8 << 10
	// maxPart is how much is looked at together.
	maxPart = 8 << 10
	// maxBounded is more than is read behind the beginning of what is no token, to find it, and to
	// know of a word that it is no token, but for JSON Web Tokens.
	maxBounded = 512
	// behind is how much of what has passed is kept: what stands before a value says whether
	// it is one.
	behind = maxColour + 2
)

// Stream replaces what it finds in a text that comes in parts. Where the parts are split is of
// no consequence: what could still become a value is held back until more has come, or Flush
// says that none will.
//
// Less than 9 KiB are held back. What is longer is a token of which the end does not come: a
// private key and what has the prefix of an issuer are known to be secrets when they begin, and
// the rest of them is dropped as it comes. What begins as a JSON Web Token does and has no dot in
// 8 KiB is taken for one, so that none gets through by being long.
//
// A Stream is not safe for concurrent use.
type Stream struct {
	set   *Set
	buf   []byte // what has passed last, and from from on what is held back
	from  int
	rest  rest // of what the rest is dropped
	found int
}

// rest is the rest of a value that stands replaced already.
type rest uint8

const (
	noRest   rest = iota
	ofToken       // bytes of tokens
	ofDotted      // and dots
	ofWebToken
	ofKey
)

// NewStream returns a Stream at the beginning of a text. That of a nil Set passes everything.
func NewStream(s *Set) *Stream { return &Stream{set: s} }

// Use has another Set find from here on, also in what is held back.
func (s *Stream) Use(set *Set) {
	if set == nil && s.set != nil {
		set = &nothing // lets go what is held back
	}
	s.set = set
}

// nothing finds nothing.
var nothing Set

// Found returns how many values were replaced.
func (s *Stream) Found() int { return s.found }

// Held returns how many bytes are held back that may go on yet.
func (s *Stream) Held() int {
	if s.rest == ofKey {
		return 0 // what is held is of the key, or ends it
	}
	return len(s.buf) - s.from
}

// Write takes the next part of the text, of any size, and appends to dst what may go on. It
// keeps nothing of p.
func (s *Stream) Write(dst, p []byte) []byte {
	if s.set == nil {
		return append(dst, p...)
	}
	for len(p) > 0 {
		n := min(len(p), maxPart)
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		dst = s.pass(dst)
	}
	return dst
}

// Flush appends to dst what is held back, as if the text ended here. The text may go on all the
// same: a value that is cut in two by that is not recognised, but a token that was is replaced to
// its end.
func (s *Stream) Flush(dst []byte) []byte {
	goesOn := s.rest
	for s.rest == noRest && s.from < len(s.buf) {
		f, ok := s.set.next(s.buf, s.from)
		if !ok {
			break
		}
		dst = s.replace(dst, f)
		s.from = f.end
		if f.kind == token && f.end == len(s.buf) {
			goesOn = restOf(s.buf, f.start)
		}
	}
	dst = append(dst, s.buf[len(s.buf)-s.Held():]...)
	if s.rest != ofKey {
		s.keep(len(s.buf))
	}
	s.rest = goesOn
	return dst
}

// pass appends to dst what is settled.
func (s *Stream) pass(dst []byte) []byte {
	for {
		if s.rest != noRest {
			end, open := s.end()
			if open != ended {
				s.keep(open)
				return dst
			}
			s.from, s.rest = end, noRest
		}
		f, at := s.next()
		switch {
		case at >= 0:
			at = s.heldFrom(at)
			dst = append(dst, s.buf[s.from:at]...)
			s.keep(at)
			return dst
		case f.end == 0: // known by its beginning
			dst = s.replace(dst, f)
			s.from, s.rest = f.start+1, restOf(s.buf, f.start)
			if s.rest == ofKey {
				s.from = beginsKey(s.buf, f.start)
			}
		default:
			dst = s.replace(dst, f)
			s.from = f.end
		}
	}
}

// next returns the first finding, with an end of 0 where that is not known yet; or else, from
// where on nothing is settled.
func (s *Stream) next() (f span, open int) {
	b := s.buf
	for i := s.from; i < len(b); i++ {
		t := s.set.trigger[b[i]]
		if t == 0 || t == onLetter && i > 0 && inWord[b[i-1]] != 0 && (i < 2 || b[i-2] != '\\') && (inWord[b[i-1]] == 1 || !behindColour(b, i)) {
			continue
		}
		if f, settled := s.far(i, t); settled {
			if f.end > 0 {
				return f, ended
			}
			continue
		}
		within := b[:min(len(b), i+maxHeld)]
		switch reach := s.set.reach(within, i, t); {
		case reach == i+maxHeld:
			return span{start: i, kind: token}, ended
		case reach == len(b):
			return span{}, i
		case reach == i && t != onDash:
			continue
		}
		if t == onDash && beginsKey(b, i) > 0 {
			return span{start: i, kind: token}, ended
		}
		if f, ok := s.set.find(b, i, s.from, t); ok {
			return f, ended
		}
	}
	return span{}, len(b)
}

// far finds what the byte at i is the beginning, or the sign, of, where the end of what came is so
// far away that it does not matter; settled is false where it may. That is the quick way, with the
// outcome of the other.
func (s *Stream) far(i int, t trigger) (f span, settled bool) {
	if len(s.buf)-i < maxBounded || t == onDash || t == onLetter && s.buf[i] == jwt[0] {
		return span{}, false
	}
	f, ok := s.set.find(s.buf, i, s.from, t)
	if !ok {
		return span{}, true
	}
	return f, f.end < len(s.buf) && f.end-i < maxHeld
}

// heldFrom returns from where on is held back what is before something unsettled: it may be
// the local part of an address.
func (s *Stream) heldFrom(at int) int {
	if !s.set.on[email] {
		return at
	}
	start := at
	for start > s.from && at-start < maxLocal && isLocal(s.buf[start-1]) {
		start--
	}
	return start
}

func (s *Stream) replace(dst []byte, f span) []byte {
	s.found++
	dst = append(dst, s.buf[s.from:f.start]...)
	return append(dst, words[f.kind]...)
}

// keep forgets what is before at, but for the last of it.
func (s *Stream) keep(at int) {
	drop := max(at-behind, 0)
	s.buf = append(s.buf[:0], s.buf[drop:]...)
	s.from = at - drop
}

// restOf returns of what the rest is to be dropped where a token begins.
func restOf(b []byte, i int) rest {
	if b[i] == '-' {
		return ofKey
	}
	for _, p := range begins[b[i]] {
		switch {
		case !bytes.HasPrefix(b[i:], []byte(p.text)):
		case p.text == jwt:
			return ofWebToken
		case p.dotted:
			return ofDotted
		}
	}
	return ofToken
}

// end returns where the rest ends, and, unless more bytes cannot change that, up to where it is
// to be dropped in any case.
func (s *Stream) end() (end, open int) {
	b, at := s.buf, s.from
	switch s.rest {
	case ofKey:
		return endOfKey(b, at)
	case ofWebToken:
		at = segment(b, at)
		for at+1 < len(b) && b[at] == '.' && isTokenByte(b[at+1]) {
			at = segment(b, at+1)
		}
		if at+1 == len(b) && b[at] == '.' {
			return at, at
		}
	case ofToken, ofDotted:
		for at < len(b) && (isTokenByte(b[at]) || s.rest == ofDotted && b[at] == '.') {
			at++
		}
	case noRest:
	}
	if at == len(b) {
		return at, at
	}
	return at, ended
}
