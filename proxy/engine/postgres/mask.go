package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	pgmask "github.com/cardea-dev/cardea/proxy/masking/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// rowPlan says what happens to each value of a result's rows. It is made from the
// analysis, never from what the target says of the result; that has to agree.
type rowPlan struct {
	columns   []columnPlan
	masked    []int    // positions of masked columns
	described []column // as the target described them
}

type columnPlan struct {
	mask masking.Func // nil: shown as it is, but for what detectors find
	text pgmask.Text  // how detectors read it
}

var (
	errWithheld = errors.New("a row whose columns are not established")
	errLineage  = errors.New("the result is not what the analysis established")
)

// planRows returns how the rows of a result are masked. It fails if the described result
// and the analysis differ in any way.
func planRows(f *sql.Facts, masks policy.Masks, columns []column) (*rowPlan, error) {
	if len(f.Outputs) != len(columns) {
		return nil, errLineage
	}
	p := &rowPlan{columns: make([]columnPlan, len(columns)), described: columns}
	for i, out := range f.Outputs {
		c := columns[i]
		if !out.Known {
			return nil, errLineage
		}
		if c.table != 0 && c.attribute != 0 {
			if mask, known := pgsql.MaskedOrigin(f, c.table, c.attribute); !known || mask != out.Mask {
				return nil, errLineage
			}
		}
		if out.Mask == 0 {
			p.columns[i].text = pgmask.TextOf(c.typ, c.binary)
			continue
		}
		mask, _ := masks.Func(out.Mask)
		if mask == nil {
			return nil, errLineage
		}
		p.columns[i] = columnPlan{mask: pgmask.Bind(mask, c.typ, c.modifier, c.binary)}
		p.masked = append(p.masked, i)
	}
	return p, nil
}

// planText returns how detectors read the rows of a result without masks. Where its
// columns are not known, for the client did not ask, they are opaque.
func planText(columns []column, row []byte) *rowPlan {
	p := &rowPlan{columns: make([]columnPlan, len(columns)), described: columns}
	for i := range columns {
		p.columns[i].text = pgmask.TextOf(columns[i].typ, columns[i].binary)
	}
	if columns == nil {
		b := body{b: row}
		p.columns = make([]columnPlan, max(b.int16(), 0))
	}
	return p
}

// covers reports whether p was made for these columns.
func (p *rowPlan) covers(columns []column) bool {
	return p != nil && len(p.described) == len(columns) && (len(columns) == 0 || &p.described[0] == &columns[0])
}

// columnsDescribed returns the columns of the result; nil if there is none.
func (p *rowPlan) columnsDescribed() []column {
	if p == nil {
		return nil
	}
	return p.described
}

// apply appends the DataRow message for the row in b, masked, and returns the result, and
// how many values the detectors replaced something in. On an error nothing of the row may
// be sent.
func (p *rowPlan) apply(dst, b []byte, detectors *detect.Set) ([]byte, int, error) {
	from, found := len(dst), 0
	dst = beginMessage(dst, msgDataRow)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.columns))) //nolint:gosec // at most maxColumns
	n, err := rowValues(b, func(i int, value []byte) error {
		if i >= len(p.columns) {
			return errLineage
		}
		at := len(dst)
		dst = append(dst, 0xff, 0xff, 0xff, 0xff)
		c := &p.columns[i]
		switch {
		case value == nil:
			return nil
		case c.mask == nil && detectors != nil:
			out, null, n := c.text.Mask(detectors, dst, value)
			found += n
			switch {
			case null:
				return nil
			case n == 0:
				out = append(out, value...)
			}
			dst = out
		case c.mask == nil:
			dst = append(dst, value...)
		default:
			out, null, err := c.mask.Mask(dst, value)
			if err != nil {
				return fmt.Errorf("mask a value: %w", err)
			}
			if null {
				return nil
			}
			dst = out
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4)) //nolint:gosec // bounded by the row
		return nil
	})
	if err == nil && n != len(p.columns) {
		err = errLineage
	}
	if err != nil {
		return dst[:from], 0, err
	}
	return endMessage(dst, from), found, nil
}
