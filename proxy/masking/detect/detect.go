// Package detect finds sensitive values in text by their form and puts a word in their
// place: card numbers with a valid check digit, social security numbers, e-mail
// addresses, bank account numbers with a valid check, keys and tokens.
//
// A Stream does so in text that comes in parts, wherever they are split.
//
// It is a net for what no rule names, not a boundary: a value that is reversed, split or
// encoded gets through. It reads every byte a bounded number of times and allocates
// nothing.
package detect

import (
	"cmp"
	"fmt"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Set is some detectors together. It is immutable and safe for concurrent use. A nil Set
// finds nothing.
type Set struct {
	trigger [256]trigger // of what a byte may be the beginning
	on      [kinds]bool
}

// kind is one detector.
type kind uint8

const (
	card kind = iota
	ssn
	email
	iban
	token
	kinds
)

// words stand in place of what was found.
var words = [kinds]string{card: "[card]", ssn: "[ssn]", email: "[email]", iban: "[iban]", token: "[token]"}

type trigger uint8

const (
	onDigit trigger = 1 << iota
	onLetter
	onAt
	onDash
)

// New returns a Set; nil for an empty list.
func New(list []v1alpha1.Detector) (*Set, error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // nothing to find is no error
	}
	s := &Set{}
	for _, d := range list {
		switch d {
		case v1alpha1.DetectCreditCard:
			s.on[card] = true
		case v1alpha1.DetectSSN:
			s.on[ssn] = true
		case v1alpha1.DetectEmail:
			s.on[email] = true
		case v1alpha1.DetectIBAN:
			s.on[iban] = true
		case v1alpha1.DetectToken:
			s.on[token] = true
		default:
			return nil, fmt.Errorf("%q is not CreditCard, SSN, Email, IBAN or Token", d)
		}
	}
	s.arm()
	return s, nil
}

// Join returns a Set that finds what either finds.
func Join(a, b *Set) *Set {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	s := &Set{}
	for k := range s.on {
		s.on[k] = a.on[k] || b.on[k]
	}
	s.arm()
	return s
}

func (s *Set) arm() {
	for c := range s.trigger {
		s.trigger[c] = s.triggers(byte(c)) //nolint:gosec // a byte
	}
}

func (s *Set) triggers(c byte) trigger {
	switch {
	case isDigit(c) && (s.on[card] || s.on[ssn]):
		return onDigit
	case isLetter(c) && (s.on[iban] || s.on[token] && begins[c] != nil):
		return onLetter
	case c == '@' && s.on[email]:
		return onAt
	case c == '-' && s.on[token]:
		return onDash
	}
	return 0
}

// span is what was found.
type span struct {
	start, end int
	kind       kind
}

// next returns the first finding that begins at from or later.
func (s *Set) next(b []byte, from int) (span, bool) {
	trigger := &s.trigger
	for i := from; i < len(b); i++ {
		t := trigger[b[i]]
		if t == 0 || t == onLetter && i > 0 && inWord[b[i-1]] != 0 && (i < 2 || b[i-2] != '\\') && (inWord[b[i-1]] == 1 || !behindColour(b, i)) {
			continue
		}
		switch t {
		case onDigit:
			if f, ok := s.digits(b, i); ok {
				return f, true
			}
			for i+1 < len(b) && isDigit(b[i+1]) {
				i++
			}
		case onLetter:
			if f, ok := s.word(b, i); ok {
				return f, true
			}
		default:
			if f, ok := s.find(b, i, from, t); ok {
				return f, true
			}
		}
	}
	return span{}, false
}

// find returns what the byte at i is the beginning, or the sign, of. It begins at from at the
// earliest.
func (s *Set) find(b []byte, i, from int, t trigger) (span, bool) {
	switch t {
	case onDigit:
		return s.digits(b, i)
	case onLetter:
		return s.word(b, i)
	case onAt:
		return address(b, i, from)
	case onDash:
		if end := privateKey(b, i); end > 0 {
			return span{i, end, token}, true
		}
	}
	return span{}, false
}

func (s *Set) digits(b []byte, i int) (span, bool) {
	if i > 0 && isDigit(b[i-1]) {
		return span{}, false
	}
	if s.on[ssn] {
		if end := socialSecurity(b, i); end > 0 {
			return span{i, end, ssn}, true
		}
	}
	if s.on[card] {
		if end := cardNumber(b, i); end > 0 {
			return span{i, end, card}, true
		}
	}
	return span{}, false
}

func (s *Set) word(b []byte, i int) (span, bool) {
	if s.on[iban] {
		if end := accountNumber(b, i); end > 0 {
			return span{i, end, iban}, true
		}
	}
	if s.on[token] {
		if end := secret(b, i); end > 0 {
			return span{i, end, token}, true
		}
	}
	return span{}, false
}

// maxColour is the most bytes of a sequence for colours.
const maxColour = 24

// behindColour reports whether a sequence of a terminal ends before i that selects colours or
// clears the line behind the cursor, as programs put around what they highlight (ECMA-48, SGR
// and EL).
func behindColour(b []byte, i int) bool {
	if i == 0 || b[i-1] != 'm' && b[i-1] != 'K' {
		return false
	}
	at := i - 2
	for at > 0 && i-at < maxColour && (isDigit(b[at]) || b[at] == ';' || b[at] == ':') {
		at--
	}
	return at > 0 && b[at] == '[' && b[at-1] == '\x1b'
}

// inWord are the bytes behind which no word begins: 1, and 2 for those behind which one does
// where they end a sequence for colours. The letter of an escape such as \n is no part of the
// word behind it either.
var inWord = func() (in [256]uint8) {
	for c := range in {
		switch c := byte(c); { //nolint:gosec // a byte
		case c == 'm' || c == 'K':
			in[c] = 2
		case isLetter(c) || isDigit(c) || c == '_':
			in[c] = 1
		}
	}
	return in
}()

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
