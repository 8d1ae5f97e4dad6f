package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var errMessage = errors.New("malformed message")

// body reads the fields of a message's body. After a field that is not there ok is false
// and stays so.
type body struct {
	b   []byte
	bad bool
}

func (r *body) string() []byte {
	i := bytes.IndexByte(r.b, 0)
	if r.bad || i < 0 {
		r.bad = true
		return nil
	}
	s := r.b[:i]
	r.b = r.b[i+1:]
	return s
}

func (r *body) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *body) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *body) int16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *body) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b)) //nolint:gosec // the wire's own conversion
	}
	return 0
}

// end returns errMessage unless all fields were there and nothing is left.
func (r *body) end() error {
	if r.bad || len(r.b) != 0 {
		return errMessage
	}
	return nil
}

// queryMessage is a Query. What it holds lies in the message.
type queryMessage struct{ message, text []byte }

func (m *queryMessage) decode(b []byte) error {
	r := body{b: b}
	m.text = r.string()
	return r.end()
}

// parseMessage is a Parse.
type parseMessage struct {
	name  []byte
	text  []byte
	types []byte // four bytes for each parameter type
}

func (m *parseMessage) decode(b []byte) error {
	r := body{b: b}
	m.name, m.text = r.string(), r.string()
	m.types = r.take(4 * r.int16())
	return r.end()
}

// bindMessage is a Bind.
type bindMessage struct {
	portal    []byte
	statement []byte
	formats   []byte // two bytes for each parameter format
	values    int
	rest      []byte // the values, each after its length
	results   []byte // two bytes for each result format
}

func (m *bindMessage) decode(b []byte) error {
	r := body{b: b}
	m.portal, m.statement = r.string(), r.string()
	n := r.int16()
	m.formats = r.take(2 * n)
	m.values = r.int16()
	if n > 1 && n != m.values {
		return errMessage
	}
	m.rest = r.b
	for range m.values {
		if size := r.int32(); size > 0 {
			r.take(int(size))
		} else if size < -1 {
			return errMessage
		}
		if r.bad {
			return errMessage
		}
	}
	m.rest = m.rest[:len(m.rest)-len(r.b)]
	m.results = r.take(2 * r.int16())
	for _, formats := range [][]byte{m.formats, m.results} {
		for i := 0; i+1 < len(formats); i += 2 {
			if formats[i] != 0 || formats[i+1] > 1 {
				return errMessage
			}
		}
	}
	return r.end()
}

// format returns one of a list of format codes: none is text, one is for all.
func format(codes []byte, i int) (binary bool) {
	switch {
	case len(codes) == 0:
		return false
	case len(codes) == 2:
		return codes[1] == 1
	case 2*i+1 < len(codes):
		return codes[2*i+1] == 1
	}
	return false
}

// executeMessage is an Execute.
type executeMessage struct {
	portal []byte
	rows   int32
}

func (m *executeMessage) decode(b []byte) error {
	r := body{b: b}
	m.portal, m.rows = r.string(), r.int32()
	return r.end()
}

// nameMessage is a Describe or a Close.
type nameMessage struct {
	kind byte // 'S' for a statement, 'P' for a portal
	name []byte
}

func (m *nameMessage) decode(b []byte) error {
	r := body{b: b}
	m.kind, m.name = r.byte(), r.string()
	if m.kind != 'S' && m.kind != 'P' {
		return errMessage
	}
	return r.end()
}

// column is one column of a RowDescription.
type column struct {
	name      string
	table     uint32
	attribute uint16
	typ       uint32
	modifier  int32
	binary    bool
}

// maxColumns is PostgreSQL's own bound on the columns of a result.
const maxColumns = 1664

// decodeColumns parses a RowDescription.
func decodeColumns(b []byte) ([]column, error) {
	r := body{b: b}
	n := r.int16()
	if n > maxColumns {
		return nil, errMessage
	}
	columns := make([]column, 0, n)
	for range n {
		name := r.string()
		c := column{table: uint32(r.int32()), attribute: uint16(r.int16()), typ: uint32(r.int32())} //nolint:gosec // the wire's own conversion
		r.take(2)                                                                                   // size of the type
		c.modifier = r.int32()
		code := r.int16()
		if r.bad || code > 1 {
			return nil, errMessage
		}
		c.name, c.binary = string(name), code == 1
		columns = append(columns, c)
	}
	return columns, r.end()
}

// rowValues calls each for every value of a DataRow; nil is NULL.
func rowValues(b []byte, each func(i int, value []byte) error) (n int, err error) {
	r := body{b: b}
	n = r.int16()
	for i := range n {
		size := r.int32()
		var value []byte
		switch {
		case size == 0:
			value = []byte{}
		case size > 0:
			value = r.take(int(size))
		case size < -1:
			return 0, errMessage
		}
		if r.bad {
			return 0, errMessage
		}
		if err := each(i, value); err != nil {
			return 0, err
		}
	}
	return n, r.end()
}
