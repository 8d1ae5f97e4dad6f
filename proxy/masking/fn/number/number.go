// Package number masks numbers by rounding them towards zero to a multiple. Digits after
// the point are cut with their number, which would tell of the value too. What is no
// number, is not finite or has no such multiple in its type becomes NULL.
package number

import (
	"bytes"
	"math"
	"strconv"

	"github.com/cardea-dev/cardea/proxy/masking"
)

// MaxMultiple bounds MultipleOf.
const MaxMultiple = 1_000_000_000_000

// Func rounds numbers. It has no value of another kind, and none at all unless MultipleOf
// is between 1 and MaxMultiple.
type Func struct{ MultipleOf int64 }

// Mask has no value of text.
func (Func) Mask(dst, _ []byte) ([]byte, bool, error) { return dst, true, nil }

// For returns the function for decimal or binary numbers.
func (f Func) For(t masking.Type) masking.Func {
	if f.MultipleOf < 1 || f.MultipleOf > MaxMultiple {
		return nil
	}
	switch t.Kind {
	case masking.Int, masking.Decimal:
		return decimal(f)
	case masking.Float:
		return float{f.MultipleOf, t.Bits}
	case masking.Other, masking.Text, masking.Date, masking.Time, masking.UUID, masking.Bytes:
	}
	return nil
}

type decimal Func

// Mask appends the rounded number. It subtracts the remainder from the digits, so that a
// number may have any length.
func (f decimal) Mask(dst, src []byte) ([]byte, bool, error) {
	digits, negative := src, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	whole, fraction, pointed := bytes.Cut(digits, []byte("."))
	if len(whole) == 0 || !isDigits(whole) || pointed && !isDigits(fraction) {
		return dst, true, nil
	}
	var rest int64
	for _, c := range whole {
		rest = (rest*10 + int64(c-'0')) % f.MultipleOf
	}
	from := len(dst)
	if negative {
		dst = append(dst, '-')
	}
	at := len(dst)
	dst = append(dst, whole...)
	for i := len(dst) - 1; rest > 0 && i >= at; i-- {
		d := int64(dst[i]-'0') - rest%10
		rest /= 10
		if d < 0 {
			d, rest = d+10, rest+1
		}
		dst[i] = byte('0' + d) //nolint:gosec // a digit
	}
	zeros := 0
	for zeros < len(dst)-at-1 && dst[at+zeros] == '0' {
		zeros++
	}
	dst = append(dst[:at], dst[at+zeros:]...)
	if dst[at] == '0' {
		dst = append(dst[:from], '0')
	}
	return dst, false, nil
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

type float struct {
	multiple int64
	bits     int
}

// Mask appends the rounded number if the type has it exactly: the spacing of large numbers
// is wider than the multiple.
func (f float) Mask(dst, src []byte) ([]byte, bool, error) {
	v, err := strconv.ParseFloat(string(src), f.bits)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, true, nil //nolint:nilerr // what is no number is NULL
	}
	m := float64(f.multiple)
	v -= math.Mod(v, m)
	if f.bits == 32 {
		v = float64(float32(v))
	}
	if math.Mod(v, m) != 0 {
		return dst, true, nil
	}
	if v == 0 {
		v = 0 // not -0
	}
	return strconv.AppendFloat(dst, v, 'g', -1, f.bits), false, nil
}
