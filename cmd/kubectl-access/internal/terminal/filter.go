package terminal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The bounds of sequences, in bytes. A longer one is left out, and what follows the bound of a
// string is text again: none hides what comes after it.
const (
	maxParameters = 128
	maxString     = 4 << 10
	// maxNumber is the largest parameter: more rows and columns than any screen has.
	maxNumber = 9999
)

// The kinds of what is left out.
const (
	leftString  = "string" // of unknown purpose
	leftQuery   = "query"
	leftWindow  = "window"
	leftInput   = "input mode"
	leftUnknown = "other sequence"
	leftControl = "control character"
)

// commands are the kinds of operating system commands (OSC) that have a name.
var commands = map[string]string{"0": "title", "1": "title", "2": "title", "8": "link", "52": "clipboard", "9": "notification", "777": "notification"}

type state uint8

const (
	ground   state = iota
	escape         // behind ESC
	charset        // behind ESC and an intermediate byte
	control        // within a control sequence
	text           // within a string that ends with ST
	textEsc        // behind ESC within one
	skipping       // within a control sequence that is too long
)

// Filter passes what draws on a screen. The zero value is ready; it is for one stream and one
// goroutine. What it returns is UTF-8, and never ends within a sequence or a character.
type Filter struct {
	// Plain leaves out every sequence, so that text alone passes.
	Plain bool

	state   state
	opened  rune   // of a string: the character behind ESC
	content []byte // of the sequence so far
	partial []byte // of a character
	left    map[string]int
}

// Write appends to dst what passes of p.
func (f *Filter) Write(dst, p []byte) []byte {
	if len(f.partial) > 0 {
		p = append(f.partial, p...)
		f.partial = nil
	}
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			f.partial = append([]byte(nil), p...)
			break
		}
		r, size := utf8.DecodeRune(p)
		p = p[size:]
		dst = f.next(dst, r)
	}
	return dst
}

// Close appends what is left of a character. A sequence that did not end is left out.
func (f *Filter) Close(dst []byte) []byte {
	if len(f.partial) > 0 {
		f.partial = nil
		dst = f.next(dst, utf8.RuneError)
	}
	if f.state != ground {
		f.leave(leftUnknown)
	}
	f.state = ground
	return dst
}

// Left says what was left out, and how often; empty for nothing.
func (f *Filter) Left() string {
	parts := make([]string, 0, len(f.left))
	for _, kind := range slices.Sorted(maps.Keys(f.left)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", kind, f.left[kind]))
	}
	return strings.Join(parts, ", ")
}

func (f *Filter) leave(kind string) {
	if f.left == nil {
		f.left = map[string]int{}
	}
	f.left[kind]++
}

// c1 are the controls of C1 as they are written with ESC (ECMA-48, section 5.3).
func c1(r rune) (rune, bool) {
	if r >= 0x80 && r <= 0x9f {
		return r - 0x40, true
	}
	return 0, false
}

func (f *Filter) next(dst []byte, r rune) []byte {
	switch f.state {
	case text, textEsc:
		return f.string(dst, r)
	case ground:
	case escape, charset, control, skipping:
		if r < 0x20 || r == 0x7f {
			// A control within a sequence: the sequence is given up.
			f.leave(leftUnknown)
			f.state = ground
		}
	}
	if escaped, ok := c1(r); ok {
		f.state = escape
		r = escaped
	}
	switch f.state {
	case escape:
		return f.escape(dst, r)
	case charset:
		return f.charset(dst, r)
	case control, skipping:
		return f.control(dst, r)
	case ground, text, textEsc:
	}
	return f.ground(dst, r)
}

func (f *Filter) ground(dst []byte, r rune) []byte {
	switch {
	case r == 0x1b:
		f.state = escape
	case r == '\n' || r == '\r' || r == '\t' || r == '\b':
		return append(dst, byte(r))
	case r == 0x07 || r == 0x0b || r == 0x0c || r == 0x0e || r == 0x0f:
		if !f.Plain {
			return append(dst, byte(r))
		}
	case r == 0x7f && f.Plain:
		return append(dst, '\b')
	case r < 0x20 || r == 0x7f:
		if r != 0 {
			f.leave(leftControl)
		}
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029:
		// They change the order of what is shown beside them.
		f.leave(leftControl)
	default:
		return utf8.AppendRune(dst, r)
	}
	return dst
}

// escape takes what stands behind ESC.
func (f *Filter) escape(dst []byte, r rune) []byte {
	f.state, f.content = ground, f.content[:0]
	switch {
	case r == '[':
		f.state = control
	case strings.ContainsRune("]PX^_", r):
		f.state, f.opened = text, r
	case strings.ContainsRune("()*+#", r):
		f.state = charset
		f.content = append(f.content, byte(r))
	case r >= 0x20 && r <= 0x2f:
		f.state = charset
		f.content = append(f.content, '?')
	case r == 'c': // RIS, that of the auditor's terminal would take its history too
		return f.pass(dst, "\x1b[!p\x1b[m\x1b[2J\x1b[H")
	case strings.ContainsRune("78DEHM", r):
		return f.pass(dst, "\x1b"+string(r))
	case r == '\\': // the end of a string that was given up
	case r == '=' || r == '>':
		f.leave(leftInput)
	case r == 'Z':
		f.leave(leftQuery)
	default:
		f.leave(leftUnknown)
	}
	return dst
}

func (f *Filter) pass(dst []byte, sequence string) []byte {
	if f.Plain {
		return dst
	}
	return append(dst, sequence...)
}

// charset takes the end of a sequence with an intermediate byte: the choice of a character set,
// or DECALN.
func (f *Filter) charset(dst []byte, r rune) []byte {
	if r >= 0x20 && r <= 0x2f && len(f.content) < maxParameters {
		f.content = append(f.content, '?')
		return dst
	}
	f.state = ground
	if len(f.content) == 1 && (f.content[0] == '#' && r == '8' || strings.ContainsRune("()*+", rune(f.content[0])) && strings.ContainsRune("0AB12", r)) {
		return f.pass(dst, "\x1b"+string(f.content)+string(r))
	}
	f.leave(leftUnknown)
	return dst
}

// control takes a control sequence (ECMA-48, section 5.4).
func (f *Filter) control(dst []byte, r rune) []byte {
	switch {
	case r >= 0x20 && r <= 0x3f:
		if len(f.content) >= maxParameters {
			f.state = skipping
		} else if f.state == control {
			f.content = append(f.content, byte(r))
		}
		return dst
	case r >= 0x40 && r <= 0x7e && f.state == control:
		f.state = ground
		if kind := judge(string(f.content), byte(r)); kind != "" {
			f.leave(kind)
			return dst
		}
		return f.pass(dst, "\x1b["+string(f.content)+string(r))
	}
	f.state = ground
	f.leave(leftUnknown)
	return dst
}

// modes of DEC that do no more than draw: reverse screen, origin, wrap, blinking and visible
// cursor, and the alternate screen.
var modes = []string{"5", "6", "7", "12", "25", "47", "1047", "1048", "1049"}

// draws are the final characters of sequences that draw or move, whatever their numbers.
const draws = "@ABCDEFGHIKLMPSTXZ`abdefgmr"

// only are the parameters with which other sequences pass: erasing (not with 3, which would
// take what the auditor's terminal showed before), insertion, saving the cursor, soft reset.
var only = map[byte][]string{'J': {"", "0", "1", "2"}, 'h': {"4"}, 'l': {"4"}, 's': {""}, 'u': {""}, 'p': {"!"}}

// kinds are those of sequences that do not pass, by final character.
var kinds = map[byte]string{'n': leftQuery, 'c': leftQuery, 'x': leftQuery, 'q': leftQuery, 'p': leftQuery, 't': leftWindow}

// judge returns the kind of a control sequence that does not pass.
func judge(parameters string, final byte) string {
	prefix, numbers := "", parameters
	if numbers != "" && strings.IndexByte("<=>?", numbers[0]) >= 0 {
		prefix, numbers = numbers[:1], numbers[1:]
	}
	switch {
	case prefix == "" && (slices.Contains(only[final], numbers) || strings.IndexByte(draws, final) >= 0 && small(numbers)):
		return ""
	case prefix == "?" && (final == 'h' || final == 'l'):
		for n := range strings.SplitSeq(numbers, ";") {
			if !slices.Contains(modes, n) {
				return leftInput
			}
		}
		return ""
	case kinds[final] != "":
		return kinds[final]
	case prefix != "" && (final == 'u' || final == 'm'):
		return leftInput
	}
	return leftUnknown
}

// small reports whether numbers are nothing else, and none is too large.
func small(numbers string) bool {
	for n := range strings.FieldsFuncSeq(numbers, func(r rune) bool { return r == ';' || r == ':' }) {
		if v, err := strconv.ParseUint(n, 10, 16); err != nil || v > maxNumber {
			return false
		}
	}
	return true
}

// string takes what stands in a string (ECMA-48, section 5.6). None passes.
func (f *Filter) string(dst []byte, r rune) []byte {
	ended := func() []byte {
		f.state = ground
		f.leave(f.purpose())
		return dst
	}
	if f.state == textEsc {
		f.state = text
		if r == '\\' {
			return ended()
		}
		// Another sequence begins: the string was given up.
		_ = ended()
		f.state = escape
		return f.next(dst, r)
	}
	switch {
	case r == 0x1b:
		f.state = textEsc
	case r == 0x9c, r == 0x07, r == 0x18, r == 0x1a:
		return ended()
	case r < 0x20 && f.opened == ']', len(f.content) >= maxString:
		// Terminals differ in what they do. Here it hides nothing.
		_ = ended()
		return f.next(dst, r)
	default:
		f.content = utf8.AppendRune(f.content, r)
	}
	return dst
}

// purpose is the kind of the string that ended.
func (f *Filter) purpose() string {
	if f.opened != ']' {
		return leftString
	}
	number, _, _ := strings.Cut(string(f.content), ";")
	if kind := commands[number]; kind != "" {
		return kind
	}
	return leftString
}

// Restore puts a terminal back into the state in which a shell expects it.
const Restore = "\x1b[!p\x1b[m\x1b[r\x1b[?1049l\x1b[?5l\x1b[?6l\x1b[?7h\x1b[?25h\x1b[4l\x0f\x1b(B\r\n"
