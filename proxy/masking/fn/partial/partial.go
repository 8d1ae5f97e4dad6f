// Package partial masks a value except for a few characters at its ends.
//
// Characters are Unicode code points. At least half of every value is masked, and a
// value that is not longer than what would be kept is masked whole. The number of
// characters stays visible. A byte that is not UTF-8 counts as one character and is
// masked wherever it stands, so that the result is always UTF-8.
package partial

import "unicode/utf8"

// MaxKeep bounds First and Last.
const MaxKeep = 16

const mask = '*'

// Func keeps First characters at the beginning and Last at the end. The zero Func keeps
// none.
type Func struct{ First, Last int }

// Mask appends the masked form of src to dst: one '*' for each masked character.
func (f Func) Mask(dst, src []byte) ([]byte, bool, error) {
	n := utf8.RuneCount(src)
	first, last := f.kept(n)
	for i, at := 0, 0; at < len(src); i++ {
		r, size := utf8.DecodeRune(src[at:])
		if (i < first || i >= n-last) && (r != utf8.RuneError || size > 1) {
			dst = append(dst, src[at:at+size]...)
		} else {
			dst = append(dst, mask)
		}
		at += size
	}
	return dst, false, nil
}

// kept returns how many characters stay at either end of a value of n characters. What
// is beyond half of the value is taken from both ends in proportion.
func (f Func) kept(n int) (first, last int) {
	first, last = clamp(f.First), clamp(f.Last)
	keep := first + last
	if keep == 0 || n <= keep {
		return 0, 0
	}
	if half := n / 2; keep > half {
		first = half * first / keep
		last = min(last, half-first)
	}
	return first, last
}

func clamp(n int) int { return min(max(n, 0), MaxKeep) }
