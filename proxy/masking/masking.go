// Package masking replaces values. A function masks one value in its canonical text, so
// that it knows nothing of protocols; a dialect's package, such as masking/postgres,
// decodes a value of the wire into that text and encodes what comes back.
//
// Nothing here returns the original on an error: an error withholds the row.
package masking

import "unicode/utf8"

// Func masks one value. It is immutable and safe for concurrent use.
type Func interface {
	// Mask appends the masked form of src to dst and returns the result. null says that the
	// masked value is NULL; then the result is dst unchanged. The result never aliases src.
	// src is the value's canonical text; a Func must cope with any bytes. An error withholds
	// the row.
	Mask(dst, src []byte) (out []byte, null bool, err error)
}

// Kind is what a value is, independent of the dialect that names its type. The zero Kind
// is one of which no function has a value.
type Kind uint8

// The kinds, each with the canonical text of its values.
const (
	Other   Kind = iota
	Text         // as it is
	Int          // -12
	Decimal      // -12.50, without exponent
	Float        // what strconv.ParseFloat reads
	Date         // 2006-01-02, 0044-03-15 BC, infinity
	Time         // 2006-01-02 15:04:05.999999, with BC and infinity as dates; an instant in UTC
	UUID         // 36 characters of lower case
	Bytes        // the bytes themselves
)

// Type is the type of a column.
type Type struct {
	Kind Kind
	// Bits of an Int or Float, its sign included.
	Bits int
	// Length is the most characters of a Text; 0 is unbounded.
	Length int
	// Digits is the most digits of a Decimal before its point; 0 is unbounded, less is none.
	Digits int
}

// Typed is a Func that has values of other kinds than Text.
type Typed interface {
	Func
	// For returns the function for one type, nil if it has no value of it.
	For(t Type) Func
}

// For returns f for values of type t. Where f has no such value it returns a function
// that masks every value by NULL.
func For(f Func, t Type) Func {
	bound := Func(nil)
	if typed, ok := f.(Typed); ok {
		bound = typed.For(t)
	} else if t.Kind == Text {
		bound = f
	}
	switch {
	case bound == nil:
		return nothing{}
	case t.Kind == Text && t.Length > 0:
		return short{bound, t.Length}
	}
	return bound
}

// nothing masks by NULL.
type nothing struct{}

// Mask returns dst unchanged.
func (nothing) Mask(dst, _ []byte) ([]byte, bool, error) { return dst, true, nil }

// short cuts masked text to what its column can hold.
type short struct {
	Func
	length int
}

// Mask masks src and keeps the first characters.
func (s short) Mask(dst, src []byte) ([]byte, bool, error) {
	from := len(dst)
	out, null, err := s.Func.Mask(dst, src)
	if null || err != nil || len(out)-from <= s.length {
		return out, null, err
	}
	at := from
	for n := 0; n < s.length && at < len(out); n++ {
		_, size := utf8.DecodeRune(out[at:])
		at += size
	}
	return out[:at], false, nil
}
