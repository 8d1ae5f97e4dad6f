package postgres

import (
	"bytes"
	"errors"

	"github.com/cardea-dev/cardea/proxy/masking"
	pgmask "github.com/cardea-dev/cardea/proxy/masking/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// COPY TO sends each row, and the header, as one CopyData message. linePlan says how the fields
// of one are masked. It is made from the analysis; a line that is not of its form ends the session.
type linePlan struct {
	sql.Lines
	masks []masking.Func // nil: shown as it is
	named bool           // the header went by
	// Of the line and of one value, to be used again.
	line, value, masked []byte
}

var errLine = errors.New("a line of COPY is not what the analysis established")

// planLines returns how the lines of a COPY are masked; nil if none of them is.
func planLines(f *sql.Facts, masks policy.Masks) *linePlan {
	if f.Lines == nil {
		return nil
	}
	p := &linePlan{Lines: *f.Lines, masks: make([]masking.Func, len(f.Lines.Columns))}
	for i, c := range f.Lines.Columns {
		if c.Mask != 0 {
			if mask, _ := masks.Func(c.Mask); mask != nil {
				p.masks[i] = pgmask.Bind(mask, c.Type, -1, false)
			}
		}
	}
	return p
}

// copyOf returns whether a command is a COPY, and how its lines are masked.
func copyOf(k *known) (bool, *linePlan) {
	if !hasKind(k.facts, "Copy") {
		return false, nil
	}
	return true, planLines(k.facts, k.admission.Masks)
}

// beginsLines takes a CopyOutResponse. It reports whether the lines are of the form that was planned.
func (c *command) beginsLines(b []byte) bool {
	c.binary = len(b) > 0 && b[0] == 1
	if c.lines == nil {
		return true
	}
	n := len(c.lines.masks)
	return len(b) == 3+2*n && b[0] == 0 && int(b[1])<<8|int(b[2]) == n
}

// apply appends the line in b, masked, to dst. On an error nothing of it may be sent.
func (p *linePlan) apply(dst, b []byte) ([]byte, error) {
	if p.Header && !p.named {
		p.named = true
		return append(dst, b...), nil
	}
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return dst, errLine
	}
	b = b[:len(b)-1]
	for i, mask := range p.masks {
		field, rest, last := p.field(b)
		if field < 0 || last != (i == len(p.masks)-1) || mask == nil && p.Columns[i].Mask != 0 {
			return dst, errLine
		}
		var err error
		if dst, err = p.mask(dst, b[:field], mask); err != nil {
			return dst, err
		}
		if !last {
			dst = append(dst, p.Delimiter)
		}
		b = rest
	}
	return append(dst, '\n'), nil
}

// field returns the length of the first field of a line, -1 if it is malformed, and what is behind
// its delimiter.
func (p *linePlan) field(b []byte) (n int, rest []byte, last bool) {
	if p.CSV && len(b) > 0 && b[0] == '"' {
		n = quoted(b)
	} else {
		n = p.plain(b)
	}
	switch {
	case n < 0:
		return -1, nil, false
	case n == len(b):
		return n, nil, true
	case b[n] != p.Delimiter:
		return -1, nil, false
	}
	return n, b[n+1:], false
}

// quoted returns where the quoted value at the beginning of b ends; -1 if it does not.
func quoted(b []byte) int {
	for i := 1; i < len(b); i++ {
		if b[i] != '"' {
			continue
		}
		if i+1 == len(b) || b[i+1] != '"' {
			return i + 1
		}
		i++
	}
	return -1
}

// plain returns where the value at the beginning of b, which is not quoted, ends; -1 if it
// holds what such a value cannot.
func (p *linePlan) plain(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == p.Delimiter:
			return i
		case b[i] == '\n' || b[i] == '\r' || p.CSV && b[i] == '"':
			return -1
		case b[i] == '\\' && !p.CSV:
			if i++; i == len(b) {
				return -1
			}
		}
	}
	return len(b)
}

// mask appends a field, masked.
func (p *linePlan) mask(dst, field []byte, mask masking.Func) ([]byte, error) {
	if mask == nil || string(field) == p.Null {
		return append(dst, field...), nil
	}
	p.value = p.decode(p.value[:0], field)
	out, null, err := mask.Mask(p.masked[:0], p.value)
	switch {
	case err != nil:
		return dst, err
	case null:
		return append(dst, p.Null...), nil
	}
	p.masked = out
	return p.encode(dst, out), nil
}

// escapes are the letters by which text format writes characters, which stand at the same place.
const (
	escapes    = "bfnrtv"
	characters = "\b\f\n\r\t\v"
)

func (p *linePlan) decode(dst, field []byte) []byte {
	switch {
	case p.CSV && len(field) > 0 && field[0] == '"':
		return append(dst, bytes.ReplaceAll(field[1:len(field)-1], []byte(`""`), []byte(`"`))...)
	case p.CSV:
		return append(dst, field...)
	}
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c == '\\' {
			i++
			if c = field[i]; bytes.IndexByte([]byte(escapes), c) >= 0 {
				c = characters[bytes.IndexByte([]byte(escapes), c)]
			}
		}
		dst = append(dst, c)
	}
	return dst
}

func (p *linePlan) encode(dst, value []byte) []byte {
	if p.CSV {
		if string(value) != p.Null && string(value) != `\.` && !bytes.ContainsAny(value, "\"\r\n") && bytes.IndexByte(value, p.Delimiter) < 0 {
			return append(dst, value...)
		}
		return append(append(append(dst, '"'), bytes.ReplaceAll(value, []byte(`"`), []byte(`""`))...), '"')
	}
	for _, c := range value {
		if at := bytes.IndexByte([]byte(characters), c); at >= 0 {
			dst = append(dst, '\\', escapes[at])
			continue
		}
		if c == '\\' || c == p.Delimiter {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}
