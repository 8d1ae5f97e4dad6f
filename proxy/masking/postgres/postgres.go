// Package postgres reads and writes values as PostgreSQL sends them, in text and in binary
// format, so that masking functions see the same canonical text in both and what they
// return is valid for the column's type in both.
//
// A value that cannot be read is masked by NULL. Text that depends on settings of the
// session is read in one form alone: dates in the DateStyle ISO. Types of which no
// function has a value, among them money, whose digits mean what the server's locale
// says, are masked by NULL.
package postgres

import (
	"bytes"

	"github.com/cardea-dev/cardea/proxy/masking"
)

// Types by OID (pg_type.dat).
const (
	oidBytea       = 17
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidFloat4      = 700
	oidFloat8      = 701
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidNumeric     = 1700
	oidUUID        = 2950
)

const (
	maxName    = 63
	headerSize = 4 // that type modifiers count
)

// Bind returns f for the values of a column as its RowDescription says: their type, its
// modifier, and whether they are binary.
func Bind(f masking.Func, oid uint32, modifier int32, binary bool) masking.Func {
	t, c := typeOf(oid, modifier, binary)
	f = masking.For(f, t)
	switch {
	case c != nil:
		return coded{f, c.read, c.write}
	case oid == oidBPChar:
		return trimmed{f}
	}
	return f
}

// codec reads the wire's form of a value into canonical text and writes it back. Both
// append to dst; ok is false for what they cannot do.
type codec struct {
	read, write func(dst, src []byte) (out []byte, ok bool)
}

func same(dst, src []byte) ([]byte, bool) { return append(dst, src...), true }

// typeOf returns what is known of a type, and how its values are read; nil if they are
// canonical text already.
func typeOf(oid uint32, modifier int32, binary bool) (masking.Type, *codec) {
	choose := func(text, bin codec) *codec {
		if binary {
			return &bin
		}
		return &text
	}
	switch oid {
	case oidText:
		return masking.Type{Kind: masking.Text}, nil
	case oidName:
		return masking.Type{Kind: masking.Text, Length: maxName}, nil
	case oidVarchar, oidBPChar:
		return masking.Type{Kind: masking.Text, Length: int(max(modifier-headerSize, 0))}, nil
	case oidInt2:
		return masking.Type{Kind: masking.Int, Bits: 16}, choose(codec{same, same}, codec{readInt, writeInt(2)})
	case oidInt4:
		return masking.Type{Kind: masking.Int, Bits: 32}, choose(codec{same, same}, codec{readInt, writeInt(4)})
	case oidInt8:
		return masking.Type{Kind: masking.Int, Bits: 64}, choose(codec{same, same}, codec{readInt, writeInt(8)})
	case oidFloat4:
		return masking.Type{Kind: masking.Float, Bits: 32}, choose(codec{same, same}, codec{readFloat, writeFloat(32)})
	case oidFloat8:
		return masking.Type{Kind: masking.Float, Bits: 64}, choose(codec{same, same}, codec{readFloat, writeFloat(64)})
	case oidNumeric:
		return masking.Type{Kind: masking.Decimal, Digits: wholeDigits(modifier)}, choose(codec{readDecimal, same}, codec{readNumeric, writeNumeric})
	case oidDate:
		return masking.Type{Kind: masking.Date}, choose(codec{same, same}, codec{readDays, writeDays})
	case oidTimestamp:
		return masking.Type{Kind: masking.Time}, choose(codec{same, same}, codec{readMicros, writeMicros})
	case oidTimestamptz:
		return masking.Type{Kind: masking.Time}, choose(codec{readZoned, writeZoned}, codec{readMicros, writeMicros})
	case oidUUID:
		return masking.Type{Kind: masking.UUID}, choose(codec{same, same}, codec{readUUID, writeUUID})
	case oidBytea:
		return masking.Type{Kind: masking.Bytes}, choose(codec{readBytea, writeBytea}, codec{same, same})
	}
	return masking.Type{}, nil
}

// wholeDigits returns how many digits a numeric has before its point: 0 for any number, -1
// for none.
func wholeDigits(modifier int32) int {
	if modifier < headerSize {
		return 0
	}
	m := int(modifier) - headerSize
	precision, scale := m>>16&0xffff, (m&0x7ff^0x400)-0x400
	if precision <= scale {
		return -1
	}
	return precision - scale
}

// coded masks values that have to be read first.
type coded struct {
	f           masking.Func
	read, write func(dst, src []byte) ([]byte, bool)
}

// Mask implements masking.Func. The canonical text and its masked form lie behind dst for
// as long as they are needed.
func (c coded) Mask(dst, src []byte) ([]byte, bool, error) {
	from := len(dst)
	dst, ok := c.read(dst, src)
	if !ok {
		return dst[:from], true, nil
	}
	masked := len(dst)
	dst, null, err := c.f.Mask(dst, dst[from:masked])
	if null || err != nil {
		return dst[:from], null, err
	}
	written := len(dst)
	if dst, ok = c.write(dst, dst[masked:written]); !ok {
		return dst[:from], true, nil
	}
	return append(dst[:from], dst[written:]...), false, nil
}

// trimmed masks a value of a type that is filled up with blanks, which mean nothing.
type trimmed struct{ f masking.Func }

// Mask implements masking.Func.
func (t trimmed) Mask(dst, src []byte) ([]byte, bool, error) {
	return t.f.Mask(dst, bytes.TrimRight(src, " "))
}
