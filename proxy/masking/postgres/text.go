package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/cardea-dev/cardea/proxy/masking/detect"
)

// Text says how detectors read the values of a column.
type Text uint8

// How values are read. What is opaque may hold text in an order of its own: where there is
// a finding, the value is masked by NULL.
const (
	opaque Text = iota
	noText      // no text at all, such as a number
	plain
	escaped // text of an array
	json
	jsonb // binary, behind its version
	texts // binary array of text
)

// Types by OID that hold no text, or whose text form is of a form of its own
// (pg_type.dat).
const (
	oidBool      = 16
	oidOID       = 26
	oidJSON      = 114
	oidXML       = 142
	oidXMLArray  = 143
	oidJSONArray = 199
	oidUnknown   = 705
	oidMoney     = 790
	oidNameArray = 1003
	oidTextArray = 1009
	oidBPArray   = 1014
	oidVCArray   = 1015
	oidTime      = 1083
	oidInterval  = 1186
	oidTimetz    = 1266
	oidJSONB     = 3802
	firstNormal  = 16384 // the first OID that is not built in
)

// TextOf returns how detectors read values of a type.
func TextOf(oid uint32, isBinary bool) Text {
	switch oid {
	case oidBool, oidOID, oidBytea, oidInt2, oidInt4, oidInt8, oidFloat4, oidFloat8, oidNumeric, oidMoney,
		oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz, oidInterval, oidUUID:
		return noText
	case oidText, oidVarchar, oidBPChar, oidName, oidXML, oidUnknown:
		return plain
	case oidJSON:
		return json
	case oidJSONB:
		if isBinary {
			return jsonb
		}
		return json
	case oidTextArray, oidVCArray, oidBPArray, oidNameArray, oidXMLArray:
		if isBinary {
			return texts
		}
		return escaped
	}
	if oid < firstNormal || isBinary {
		return opaque
	}
	return plain
}

// Mask appends a value to dst with what s finds in it replaced. null says that it is
// masked by NULL. found is how many findings there were; if there were none, dst is
// unchanged.
func (t Text) Mask(s *detect.Set, dst, value []byte) (out []byte, null bool, found int) {
	switch t {
	case noText:
		return dst, false, 0
	case plain:
		dst, found = s.Replace(dst, value, detect.Plain)
		return dst, false, found
	case escaped:
		dst, found = s.Replace(dst, value, detect.Escaped)
		return dst, false, found
	case json:
		dst, found = s.Replace(dst, value, detect.JSON)
		return dst, false, found
	case jsonb:
		from := len(dst)
		if len(value) == 0 || value[0] != 1 {
			break
		}
		dst, found = s.Replace(append(dst, value[0]), value[1:], detect.JSON)
		if found == 0 {
			dst = dst[:from]
		}
		return dst, false, found
	case texts:
		return arrayOfText(s, dst, value)
	case opaque:
	}
	if s.Found(value) {
		return dst, true, 1
	}
	return dst, false, 0
}

// The binary form of an array (utils/adt/arrayfuncs.c, array_send).
const (
	arrayHead      = 12
	arrayDimension = 8
	maxDimensions  = 6
)

// arrayOfText masks the elements of an array. One that cannot be read is masked by NULL if
// there is a finding in it.
func arrayOfText(s *detect.Set, dst, value []byte) ([]byte, bool, int) {
	if !s.Found(value) {
		return dst, false, 0
	}
	from, found := len(dst), 0
	unread := func() ([]byte, bool, int) { return dst[:from], true, 1 }
	if len(value) < arrayHead {
		return unread()
	}
	dimensions := binary.BigEndian.Uint32(value)
	if dimensions > maxDimensions || len(value) < arrayHead+arrayDimension*int(dimensions) {
		return unread()
	}
	head := arrayHead + arrayDimension*int(dimensions)
	dst, value = append(dst, value[:head]...), value[head:]
	for len(value) > 0 {
		element, rest, ok := field(value)
		if !ok {
			return unread()
		}
		value = rest
		at := len(dst)
		dst = append(dst, 0xff, 0xff, 0xff, 0xff)
		if element == nil {
			continue
		}
		var n int
		if dst, n = s.Replace(dst, element, detect.Plain); n == 0 {
			dst = append(dst, element...)
		}
		found += n
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4)) //nolint:gosec // bounded by the row
	}
	return dst, false, found
}

// field takes a value behind its length; nil is NULL.
func field(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	size := int32(binary.BigEndian.Uint32(b)) //nolint:gosec // the wire's own conversion
	b = b[4:]
	switch {
	case size == -1:
		return nil, b, true
	case size < 0 || int(size) > len(b):
		return nil, nil, false
	}
	return b[:size:size], b[size:], true
}

// ErrCopy says that data of a binary COPY could not be read.
var ErrCopy = errors.New("malformed data of a binary COPY")

// The binary form of COPY (documentation of COPY, "Binary Format").
var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

const copyFlags = 4

// MaskCopy appends one message of COPY TO STDOUT to dst with what s finds in it replaced,
// and returns how many findings there were. Of the fields of binary data the types are not
// known: one with a finding is masked by NULL.
func MaskCopy(s *detect.Set, dst, data []byte, isBinary bool) ([]byte, int, error) {
	if !isBinary {
		out, found := s.Replace(dst, data, detect.Escaped)
		if found == 0 {
			out = append(out, data...)
		}
		return out, found, nil
	}
	if bytes.HasPrefix(data, copySignature) {
		head := len(copySignature) + copyFlags
		_, rest, ok := field(data[min(head, len(data)):])
		if !ok {
			return dst, 0, ErrCopy
		}
		dst, data = append(dst, data[:len(data)-len(rest)]...), rest
	}
	found := 0
	for len(data) > 0 {
		if len(data) < 2 {
			return dst, 0, ErrCopy
		}
		fields := int16(binary.BigEndian.Uint16(data)) //nolint:gosec // the wire's own conversion
		dst, data = append(dst, data[:2]...), data[2:]
		for range max(fields, 0) {
			value, rest, ok := field(data)
			if !ok {
				return dst, 0, ErrCopy
			}
			if s.Found(value) {
				found++
				dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			} else {
				dst = append(dst, data[:len(data)-len(rest)]...)
			}
			data = rest
		}
	}
	return dst, found, nil
}
