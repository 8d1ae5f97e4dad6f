package detect

import "bytes"

// reach returns up to where b is read to decide on what the byte at i is the beginning, or the
// sign, of. As long as that is the end of b, more bytes behind it could change the decision.
// Where it is i, no number and no word begins there that would be found.
func (s *Set) reach(b []byte, i int, t trigger) int {
	switch t {
	case onDigit:
		return reachOfDigits(b, i)
	case onLetter:
		at := i
		if s.on[iban] {
			at = max(at, reachOfAccount(b, i))
		}
		if s.on[token] {
			at = max(at, reachOfSecret(b, i))
		}
		return at
	case onAt:
		return reachOfDomain(b, i)
	case onDash:
		return reachOfKey(b, i)
	}
	return i
}

// maxDigits is the most bytes that are read of a card's number, with what sets its groups apart
// and what is looked at behind it.
const maxDigits = 32

func reachOfDigits(b []byte, i int) int {
	if i > 0 && isDigit(b[i-1]) {
		return i
	}
	at := i
	for at < len(b) && at-i < maxDigits && (isDigit(b[at]) || isDigit(b[at-1]) && (b[at] == ' ' || b[at] == '-' || b[at] == '.')) {
		at++
	}
	return at
}

func reachOfAccount(b []byte, i int) int {
	at := i + 1
	for ; at < len(b) && at < i+ibanHead; at++ {
		if at == i+1 && !isLetter(b[at]) || at > i+1 && !isDigit(b[at]) {
			return i
		}
	}
	if at == len(b) {
		return at
	}
	length := ibanLengths[[2]byte{b[i] &^ 0x20, b[i+1] &^ 0x20}]
	if length == 0 {
		return i
	}
	most := at + length + length/ibanGroup + 1
	for at < len(b) && at < most && (isDigit(b[at]) || isLetter(b[at]) || b[at] == ' ') {
		at++
	}
	return at
}

func reachOfDomain(b []byte, i int) int {
	at := i + 1
	for at < len(b) && at-i <= maxDomain+utf8Tail && (isLetter(b[at]) || isDigit(b[at]) || b[at] == '-' || b[at] == '.' || b[at] >= 0x80) {
		at++
	}
	return at
}

func reachOfSecret(b []byte, i int) int {
	reach := i
	for _, p := range begins[b[i]] {
		switch rest := b[i:]; {
		case len(rest) < len(p.text):
			if bytes.HasPrefix([]byte(p.text), rest) {
				return len(b)
			}
		case !bytes.HasPrefix(rest, []byte(p.text)):
		case p.text == jwt:
			reach = max(reach, reachOfWebToken(b, i))
		default:
			reach = max(reach, p.reach(b, i+len(p.text)))
		}
	}
	return reach
}

func (p *prefix) reach(b []byte, from int) int {
	at, digit := from, false
	for at < len(b) && (isTokenByte(b[at]) || p.dotted && b[at] == '.') {
		digit = digit || isDigit(b[at])
		if at-from == decided && p.digit && !digit {
			return at
		}
		at++
	}
	return at
}

func reachOfWebToken(b []byte, i int) int {
	if insideOfToken(b, i) {
		return i
	}
	at := segment(b, i)
	if at == len(b) || at-i < minSegment {
		return at
	}
	for _, c := range []byte("." + jwt) {
		if at == len(b) || b[at] != c {
			return at
		}
		at++
	}
	from := at - len(jwt)
	at = segment(b, at)
	if at == len(b) || at-from < minSegment {
		return at
	}
	for at+1 < len(b) && b[at] == '.' && isTokenByte(b[at+1]) {
		at = segment(b, at+1)
	}
	if at+1 == len(b) && b[at] == '.' {
		at++
	}
	return at
}

func reachOfKey(b []byte, i int) int {
	if rest := b[i:]; len(rest) < len(pemBegin) {
		if bytes.HasPrefix(pemBegin, rest) {
			return len(b)
		}
		return i
	}
	if !bytes.HasPrefix(b[i:], pemBegin) {
		return i
	}
	if isLabelOpen(b, i+len(pemBegin)) {
		return len(b)
	}
	return i
}

// isLabelOpen reports whether more bytes behind b could make a label with its dashes of what
// begins at from.
func isLabelOpen(b []byte, from int) bool {
	at := from
	for at < len(b) && at-from < maxLabel && isLabel(b[at]) {
		at++
	}
	return len(b)-at < len(pemDashes) && bytes.HasPrefix(pemDashes, b[at:])
}
