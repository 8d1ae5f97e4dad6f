package postgres

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
)

func readInt(dst, src []byte) ([]byte, bool) {
	switch len(src) {
	case 2:
		return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(src))), 10), true //nolint:gosec // the wire's own conversion
	case 4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(src))), 10), true //nolint:gosec // the wire's own conversion
	case 8:
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(src)), 10), true //nolint:gosec // the wire's own conversion
	}
	return dst, false
}

func writeInt(size int) func(dst, src []byte) ([]byte, bool) {
	return func(dst, src []byte) ([]byte, bool) {
		v, err := strconv.ParseInt(string(src), 10, 8*size)
		if err != nil {
			return dst, false
		}
		for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
			dst = append(dst, byte(v>>shift)) //nolint:gosec // one byte after the other
		}
		return dst, true
	}
}

func readFloat(dst, src []byte) ([]byte, bool) {
	switch len(src) {
	case 4:
		return strconv.AppendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(src))), 'g', -1, 32), true
	case 8:
		return strconv.AppendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(src)), 'g', -1, 64), true
	}
	return dst, false
}

func writeFloat(bits int) func(dst, src []byte) ([]byte, bool) {
	return func(dst, src []byte) ([]byte, bool) {
		v, err := strconv.ParseFloat(string(src), bits)
		switch {
		case err != nil:
			return dst, false
		case bits == 32:
			return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v))), true
		}
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), true
	}
}

// readDecimal cuts what does not change a numeric's value: zeros at the end of its
// fraction. What is not finite it does not read.
func readDecimal(dst, src []byte) ([]byte, bool) {
	for _, c := range src {
		if c != '-' && c != '.' && (c < '0' || c > '9') {
			return dst, false
		}
	}
	if bytes.IndexByte(src, '.') >= 0 {
		src = bytes.TrimRight(src, "0")
		src = bytes.TrimSuffix(src, []byte("."))
	}
	return append(dst, src...), len(src) > 0
}

// The binary form of numeric (utils/adt/numeric.c, numeric_send): counts of digits, the
// weight of the first, sign and scale, then digits of base 10000.
const (
	numericHead     = 8
	numericPositive = 0x0000
	numericNegative = 0x4000
	groupDigits     = 4
	groupBase       = 10_000
	maxGroups       = 32_768 + 4_096 // more than a numeric can have
)

func readNumeric(dst, src []byte) ([]byte, bool) {
	if len(src) < numericHead {
		return dst, false
	}
	groups := int(binary.BigEndian.Uint16(src))
	weight := int(int16(binary.BigEndian.Uint16(src[2:]))) //nolint:gosec // the wire's own conversion
	sign := binary.BigEndian.Uint16(src[4:])
	src = src[numericHead:]
	if len(src) != 2*groups || groups > maxGroups || sign != numericPositive && sign != numericNegative {
		return dst, false
	}
	if sign == numericNegative && groups > 0 {
		dst = append(dst, '-')
	}
	group := func(i int) int {
		if i < 0 || i >= groups {
			return 0
		}
		return int(binary.BigEndian.Uint16(src[2*i:]))
	}
	if weight < 0 {
		dst = append(dst, '0')
	}
	for i := range weight + 1 {
		g := group(i)
		if g >= groupBase {
			return dst, false
		}
		if i == 0 {
			dst = strconv.AppendInt(dst, int64(g), 10)
		} else {
			dst = appendGroup(dst, g)
		}
	}
	if groups <= weight+1 {
		return dst, true
	}
	dst = append(dst, '.')
	for i := weight + 1; i < groups; i++ {
		g := group(i)
		if g >= groupBase {
			return dst, false
		}
		dst = appendGroup(dst, g)
	}
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return bytes.TrimSuffix(dst, []byte(".")), true
}

func appendGroup(dst []byte, g int) []byte {
	return append(dst, byte('0'+g/1000%10), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10)) //nolint:gosec // digits
}

// writeNumeric writes a whole number, which is all that functions return.
func writeNumeric(dst, src []byte) ([]byte, bool) {
	sign := uint16(numericPositive)
	if len(src) > 0 && src[0] == '-' {
		src, sign = src[1:], numericNegative
	}
	if len(src) == 0 {
		return dst, false
	}
	for _, c := range src {
		if c < '0' || c > '9' {
			return dst, false
		}
	}
	src = bytes.TrimLeft(src, "0")
	groups := (len(src) + groupDigits - 1) / groupDigits
	if groups > maxGroups {
		return dst, false
	}
	if groups == 0 {
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0), true
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(groups))   //nolint:gosec // bounded above
	dst = binary.BigEndian.AppendUint16(dst, uint16(groups-1)) //nolint:gosec // bounded above
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = append(dst, 0, 0)
	for i := range groups {
		end := len(src) - groupDigits*(groups-1-i)
		g := 0
		for _, c := range src[max(0, end-groupDigits):end] {
			g = g*10 + int(c-'0')
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(g)) //nolint:gosec // four digits
	}
	return dst, true
}
