package detect

import "bytes"

// Form is how a text is written, so that it is still of that form when a part of it is
// replaced.
type Form uint8

// The forms.
const (
	Plain   Form = iota
	Escaped      // a backslash and the character behind it belong together
	JSON
)

// Found reports whether there is anything to replace.
func (s *Set) Found(b []byte) bool {
	if s == nil {
		return false
	}
	_, found := s.next(b, 0)
	return found
}

// Replace appends b to dst with a word in place of each finding, and returns how many
// there were. If there were none, dst is unchanged.
func (s *Set) Replace(dst, b []byte, form Form) ([]byte, int) {
	if s == nil {
		return dst, 0
	}
	found, done := 0, 0
	q := quotes{}
	for {
		f, ok := s.next(b, done)
		if !ok {
			break
		}
		found++
		f.start = behindEscape(b, f, form)
		if form == JSON && !q.inside(b, f.start) {
			dst, done = replaceBare(dst, b, f, done)
			continue
		}
		dst = append(append(dst, b[done:f.start]...), words[f.kind]...)
		done = f.end
	}
	if found == 0 {
		return dst, 0
	}
	return append(dst, b[done:]...), found
}

// replaceBare replaces what stands in JSON outside of a string, the number that it is a
// part of included, by a string.
func replaceBare(dst, b []byte, f span, done int) ([]byte, int) {
	isNumber := func(c byte) bool { return isDigit(c) || bytes.IndexByte([]byte("+-.eE"), c) >= 0 }
	for f.start > done && isNumber(b[f.start-1]) {
		f.start--
	}
	for f.end < len(b) && isNumber(b[f.end]) {
		f.end++
	}
	dst = append(append(dst, b[done:f.start]...), '"')
	return append(append(dst, words[f.kind]...), '"'), f.end
}

const unicodeEscape = len("u0000")

// behindEscape returns where the replacement of a finding begins: what a backslash makes
// an escape stays whole.
func behindEscape(b []byte, f span, form Form) int {
	if form == Plain {
		return f.start
	}
	if isEscape(b, f.start) {
		size := 1
		if form == JSON && b[f.start] == 'u' {
			size = unicodeEscape
		}
		return min(f.start+size, f.end)
	}
	for back := 1; form == JSON && back < unicodeEscape && back <= f.start; back++ {
		if at := f.start - back; b[at] == 'u' && isEscape(b, at) {
			return min(at+unicodeEscape, f.end)
		}
	}
	return f.start
}

// isEscape reports whether a backslash makes an escape of the byte at i.
func isEscape(b []byte, i int) bool {
	backslashes := 0
	for backslashes < i && b[i-1-backslashes] == '\\' {
		backslashes++
	}
	return backslashes%2 == 1
}

// quotes follows JSON's strings.
type quotes struct {
	at     int
	string bool
}

// inside reports whether a position, which only grows, lies in a string.
func (q *quotes) inside(b []byte, position int) bool {
	for ; q.at < position; q.at++ {
		switch {
		case b[q.at] == '"':
			q.string = !q.string
		case b[q.at] == '\\' && q.string:
			q.at++
		}
	}
	return q.string
}
