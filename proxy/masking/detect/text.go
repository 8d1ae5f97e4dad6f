package detect

import (
	"bytes"
	"unicode/utf8"
)

const (
	maxLocal  = 64
	maxDomain = 253
	minTop    = 2
	// utf8Tail is the most bytes that continue a character.
	utf8Tail = utf8.UTFMax - 1
)

// address returns the e-mail address around the sign at i. It begins at from at the
// earliest.
func address(b []byte, i, from int) (span, bool) {
	start := i
	for start > from && i-start < maxLocal && isLocal(b[start-1]) {
		start--
	}
	for start < i && (b[start] == '.' || !utf8.RuneStart(b[start])) {
		start++
	}
	if start == i {
		return span{}, false
	}
	end := domain(b, i+1)
	return span{start, end, email}, end > 0
}

// domain returns the end of a domain that begins at from, 0 if there is none: labels of
// which the last begins with two letters, so that no version number is one.
func domain(b []byte, from int) int {
	dots, label, good := 0, 0, 0
	letters := true // in this label, so far
	end := from
	for ; end < len(b) && end-from < maxDomain; end++ {
		c := b[end]
		switch {
		case c == '.' && label > 0:
			dots, label, letters = dots+1, 0, true
			continue
		case isLetter(c) || c >= utf8.RuneSelf:
		case isDigit(c) || c == '-' && label > 0:
			letters = letters && label >= minTop
		default:
			return good
		}
		label++
		if dots > 0 && label >= minTop && letters && c != '-' {
			good = end + 1
		}
	}
	for most := end + utf8Tail; good == end && end < min(len(b), most) && !utf8.RuneStart(b[end]); {
		end, good = end+1, good+1
	}
	return good
}

// isLocal reports whether a byte may stand in the local part: of the signs of RFC 5322
// those that do not set off addresses in lists, queries and code too.
func isLocal(c byte) bool {
	return isLetter(c) || isDigit(c) || c >= utf8.RuneSelf || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'
}

// prefix is the form of one kind of token.
type prefix struct {
	text string
	// least is how many bytes follow at least; dotted lets dots be among them; digit wants
	// one of the first to be a digit, where the prefix is one of ordinary words too.
	least  int
	dotted bool
	digit  bool
}

// prefixes are those that issuers give their tokens so that they can be found.
var prefixes = []prefix{
	{text: "AKIA", least: 16}, {text: "ASIA", least: 16}, {text: "AIza", least: 35},
	{text: "AGE-SECRET-KEY-1", least: 50},
	{text: "cda_", least: 40}, {text: "dop_v1_", least: 60}, {text: "doo_v1_", least: 60},
	{text: "ghp_", least: 36}, {text: "gho_", least: 36}, {text: "ghu_", least: 36}, {text: "ghs_", least: 36}, {text: "ghr_", least: 36},
	{text: "github_pat_", least: 40}, {text: "glpat-", least: 20}, {text: "gldt-", least: 20}, {text: "glrt-", least: 20}, {text: "glptt-", least: 20},
	{text: "hf_", least: 30}, {text: "hvs.", least: 24}, {text: "npm_", least: 36}, {text: "pypi-", least: 50},
	{text: "rk_live_", least: 16}, {text: "rk_test_", least: 16},
	{text: "SG.", least: 40, dotted: true}, {text: "shpat_", least: 32},
	{text: "sk-", least: 20, digit: true}, {text: "sk_live_", least: 16}, {text: "sk_test_", least: 16},
	{text: "whsec_", least: 16}, {text: "ya29.", least: 30, dotted: true},
	{text: "xoxa-", least: 10}, {text: "xoxb-", least: 10}, {text: "xoxe-", least: 10}, {text: "xoxp-", least: 10}, {text: "xoxr-", least: 10},
	{text: "xoxs-", least: 10}, {text: "xapp-", least: 10},
}

// begins are the prefixes by their first byte.
var begins = func() (by [256][]prefix) {
	for _, p := range prefixes {
		by[p.text[0]] = append(by[p.text[0]], p)
	}
	by['e'] = append(by['e'], prefix{text: jwt})
	return by
}()

const (
	// jwt begins every JSON Web Token: base64url of `{"`.
	jwt        = "eyJ"
	minSegment = 10
	// decided is how many bytes tell a token with a prefix from a word.
	decided = 64
)

// secret returns the end of a token that begins at i, 0 if there is none.
func secret(b []byte, i int) int {
	for _, p := range begins[b[i]] {
		if !bytes.HasPrefix(b[i:], []byte(p.text)) {
			continue
		}
		if p.text == jwt {
			return webToken(b, i)
		}
		if end := p.end(b, i+len(p.text)); end > 0 {
			return end
		}
	}
	return 0
}

func (p *prefix) end(b []byte, from int) int {
	at, digit := from, false
	for at < len(b) && (isTokenByte(b[at]) || p.dotted && b[at] == '.') {
		digit = digit || isDigit(b[at])
		if at-from == decided && p.digit && !digit {
			return 0
		}
		at++
	}
	if at-from < p.least || p.digit && !digit {
		return 0
	}
	return at
}

// webToken returns the end of a JSON Web Token in compact form (RFC 7519): a header and a
// payload of JSON, and what follows them. A token is no part of a longer run of such bytes,
// so that each run is read once.
func webToken(b []byte, i int) int {
	if insideOfToken(b, i) {
		return 0
	}
	at := segment(b, i)
	if at-i < minSegment || !bytes.HasPrefix(b[at:], []byte("."+jwt)) {
		return 0
	}
	from := at + 1
	at = segment(b, from)
	if at-from < minSegment {
		return 0
	}
	for at+1 < len(b) && b[at] == '.' && isTokenByte(b[at+1]) {
		at = segment(b, at+1)
	}
	return at
}

func insideOfToken(b []byte, i int) bool {
	return i > 0 && isTokenByte(b[i-1]) && (i < 2 || b[i-2] != '\\') && !behindColour(b, i)
}

func segment(b []byte, at int) int {
	for at < len(b) && isTokenByte(b[at]) {
		at++
	}
	return at
}

func isTokenByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '-' }

var (
	pemBegin   = []byte("-----BEGIN ")
	pemEnd     = []byte("-----END ")
	pemDashes  = []byte("-----")
	privateTag = []byte("PRIVATE KEY")
)

const maxLabel = 48

func isLabel(c byte) bool { return isLetter(c) || isDigit(c) || c == ' ' }

// pemLabel returns the length of a label before dashes, 0 if there is none.
func pemLabel(b []byte) int {
	n := 0
	for n < len(b) && n < maxLabel && isLabel(b[n]) {
		n++
	}
	if !bytes.HasPrefix(b[n:], pemDashes) {
		return 0
	}
	return n
}

// privateKey returns the end of a private key in PEM (RFC 7468) that begins at i, 0 if
// there is none. One that is cut off ends where its text can no longer be part of it. The
// lines of it may be set apart by escapes.
func privateKey(b []byte, i int) int {
	at := beginsKey(b, i)
	if at == 0 {
		return 0
	}
	end, _ := endOfKey(b, at)
	return end
}

// beginsKey returns where the line ends that begins a private key at i, 0 if there is none.
func beginsKey(b []byte, i int) int {
	if !bytes.HasPrefix(b[i:], pemBegin) {
		return 0
	}
	at := i + len(pemBegin)
	label := pemLabel(b[at:])
	if !bytes.Contains(b[at:at+label], privateTag) {
		return 0
	}
	return at + label + len(pemDashes)
}

// ended says that no more bytes change an end.
const ended = -1

// endOfKey returns the end of a private key of which the text begins at from. Unless more bytes
// behind b cannot change that, open is up to where b is part of the key in any case.
func endOfKey(b []byte, from int) (end, open int) {
	at := from
	for at < len(b) {
		switch c := b[at]; {
		case c == '-' && bytes.HasPrefix(b[at:], pemEnd):
			end := at + len(pemEnd)
			if isLabelOpen(b, end) {
				open = at
			} else {
				open = ended
			}
			if label := pemLabel(b[end:]); label > 0 {
				end += label + len(pemDashes)
			}
			return end, open
		case c == '-' && bytes.HasPrefix(pemEnd, b[at:]):
			return len(b), at
		case c == '\\' && at+1 == len(b):
			return at, at
		case c == '\\' && (b[at+1] == 'n' || b[at+1] == 'r' || b[at+1] == 't' || b[at+1] == '/'):
			at += 2
		case isLetter(c), isDigit(c), bytes.IndexByte([]byte("+/= \r\n\t:,-"), c) >= 0:
			at++
		default:
			return at, ended
		}
	}
	return at, at
}
