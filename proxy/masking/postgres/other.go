package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"

	"github.com/cardea-dev/cardea/proxy/masking/calendar"
)

func readDays(dst, src []byte) ([]byte, bool) {
	if len(src) != 4 {
		return dst, false
	}
	m := calendar.Moment{}
	switch days := int32(binary.BigEndian.Uint32(src)); days { //nolint:gosec // the wire's own conversion
	case math.MaxInt32:
		m.Infinite = 1
	case math.MinInt32:
		m.Infinite = -1
	default:
		m = calendar.OfDays(int64(days))
	}
	return m.AppendDate(dst), true
}

func writeDays(dst, src []byte) ([]byte, bool) {
	m, ok := calendar.ParseDate(src)
	days := int64(math.MaxInt32)
	switch {
	case m.Infinite < 0:
		days = math.MinInt32
	case m.Infinite == 0:
		days = m.Days()
		ok = ok && days > math.MinInt32 && days < math.MaxInt32
	}
	return binary.BigEndian.AppendUint32(dst, uint32(days)), ok //nolint:gosec // in range if ok
}

func readMicros(dst, src []byte) ([]byte, bool) {
	if len(src) != 8 {
		return dst, false
	}
	m := calendar.Moment{}
	switch micros := int64(binary.BigEndian.Uint64(src)); micros { //nolint:gosec // the wire's own conversion
	case math.MaxInt64:
		m.Infinite = 1
	case math.MinInt64:
		m.Infinite = -1
	default:
		m = calendar.OfMicros(micros)
	}
	return m.AppendTime(dst, ""), true
}

func writeMicros(dst, src []byte) ([]byte, bool) {
	m, ok := calendar.ParseTime(src, false)
	micros := int64(math.MaxInt64)
	switch {
	case m.Infinite < 0:
		micros = math.MinInt64
	case m.Infinite == 0:
		micros = m.Micros()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(micros)), ok //nolint:gosec // the wire's own conversion
}

// readZoned reads an instant, which the session shows in its own zone, in UTC.
func readZoned(dst, src []byte) ([]byte, bool) {
	m, ok := calendar.ParseTime(src, true)
	if !ok {
		return dst, false
	}
	return m.AppendTime(dst, ""), true
}

func writeZoned(dst, src []byte) ([]byte, bool) {
	m, ok := calendar.ParseTime(src, false)
	if !ok {
		return dst, false
	}
	return m.AppendTime(dst, "+00"), true
}

const uuidSize = 16

func readUUID(dst, src []byte) ([]byte, bool) {
	if len(src) != uuidSize {
		return dst, false
	}
	for i, b := range src {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst, true
}

func writeUUID(dst, src []byte) ([]byte, bool) {
	from := len(dst)
	var half byte
	digits := 0
	for _, c := range src {
		v := bytes.IndexByte([]byte("0123456789abcdef"), c)
		switch {
		case c == '-':
			continue
		case v < 0:
			return dst[:from], false
		case digits%2 == 1:
			dst = append(dst, half<<4|byte(v)) //nolint:gosec // a digit
		}
		half = byte(v) //nolint:gosec // a digit
		digits++
	}
	return dst, digits == 2*uuidSize
}

// readBytea reads both forms that bytea_output chooses from.
func readBytea(dst, src []byte) ([]byte, bool) {
	if digits, found := bytes.CutPrefix(src, []byte(`\x`)); found {
		out, err := hex.AppendDecode(dst, digits)
		return out, err == nil
	}
	for i := 0; i < len(src); i++ {
		switch rest := src[i:]; {
		case rest[0] != '\\':
			dst = append(dst, rest[0])
		case len(rest) > 1 && rest[1] == '\\':
			dst = append(dst, '\\')
			i++
		case len(rest) > 3 && isOctal(rest[1:4]):
			dst = append(dst, (rest[1]-'0')<<6|(rest[2]-'0')<<3|(rest[3]-'0'))
			i += 3
		default:
			return dst, false
		}
	}
	return dst, true
}

func isOctal(b []byte) bool {
	return b[0] >= '0' && b[0] <= '3' && b[1] >= '0' && b[1] <= '7' && b[2] >= '0' && b[2] <= '7'
}

func writeBytea(dst, src []byte) ([]byte, bool) {
	return hex.AppendEncode(append(dst, '\\', 'x'), src), true
}
