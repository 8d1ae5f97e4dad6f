// Package email masks the local part of an e-mail address: "alice@example.com" becomes
// "a***@example.com".
//
// The domain stays only where it has the form of one: labels of letters, digits and
// hyphens, two at least, 253 bytes at most. Every other value is masked whole, so that
// free text with an "@" in it shows nothing. The first character stays only if the local
// part has another one.
package email

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

const (
	mask      = "***"
	maxDomain = 253
	maxLabel  = 63
	minLabels = 2
)

// Func masks e-mail addresses.
type Func struct{}

// Mask appends the masked form of src to dst.
func (Func) Mask(dst, src []byte) ([]byte, bool, error) {
	at := bytes.LastIndexByte(src, '@')
	if at < 1 || !isDomain(src[at+1:]) {
		return append(dst, mask...), false, nil
	}
	r, size := utf8.DecodeRune(src)
	if size < at && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		dst = append(dst, src[:size]...)
	}
	dst = append(dst, mask...)
	return append(dst, src[at:]...), false, nil
}

func isDomain(d []byte) bool {
	if len(d) > maxDomain {
		return false
	}
	labels, length := 1, 0
	for _, c := range d {
		switch {
		case c == '.':
			if length == 0 {
				return false
			}
			labels, length = labels+1, 0
		case c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z':
			length++
		default:
			return false
		}
		if length > maxLabel {
			return false
		}
	}
	return length > 0 && labels >= minLabels
}
