package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// Defaults of a RecordingStore's bounds, for a store that names none.
const (
	defaultRows  = 100
	defaultBytes = 64 << 10
)

// command is one permitted command that the target runs, and what was recorded of its
// answer.
type command struct {
	permit session.Permit
	masked bool // the target has masks
	copies bool // it is a COPY
	// plan says how rows are masked. On a target with masks a command without one may return
	// no row.
	plan    *rowPlan
	planned *planned // by which the next one is planned; nil if nothing is remembered
	held    bool     // the answer is held back until it is proven
	columns []column
	text    *rowPlan  // how detectors read rows without a plan
	binary  bool      // COPY sends binary data
	lines   *linePlan // how the lines of COPY are masked; nil if none is

	// deferral is set while the answer is held back; guarded by relay.mu.
	deferral *deferral
	shown    int // rows that were shown before the execution of which the end counts them

	detected int64 // values in which detectors replaced something

	rows, bytes  int64 // of the whole answer
	rowsLeft     int   // that may still be recorded
	bytesLeft    int
	kept         [][]*string // rows that are not recorded yet
	named        bool        // the columns were recorded
	truncated    bool
	done         bool   // the last part was made
	tag          string // of a completed statement, not recorded yet
	state, fault string // of an error

	last recording.Response // the last part
	// first is room for the first row that is kept, if it has few values: most answers have
	// no more.
	first struct {
		rows  [1][]*string
		row   [fewValues]*string
		texts [fewValues]string
	}
}

// fewValues is how many values a row may have to take no memory of its own.
const fewValues = 4

func newCommand(s *session.Session, p session.Permit) *command {
	c := &command{permit: p, rowsLeft: defaultRows, bytesLeft: defaultBytes}
	bounds := s.Admission().Store.Spec.Responses
	if bounds.MaxRows != nil {
		c.rowsLeft = int(*bounds.MaxRows)
	}
	if bounds.MaxBytes != nil {
		c.bytesLeft = int(*bounds.MaxBytes)
	}
	return c
}

// count counts a row that is not kept.
func (c *command) count(size int) {
	c.rows++
	c.bytes += int64(size)
	c.truncated = true
}

// drop forgets rows that nobody was shown.
func (c *command) drop() { c.kept, c.rows, c.bytes, c.detected, c.truncated = nil, 0, 0, 0, false }

// wants reports whether a row of the given size is to be kept.
func (c *command) wants(size int) bool { return c.rowsLeft > 0 && size <= c.bytesLeft }

// keep keeps the row of a DataRow's body, as it goes to the client.
func (c *command) keep(b []byte) error {
	c.rows++
	c.bytes += int64(len(b))
	c.rowsLeft--
	c.bytesLeft -= len(b)
	row, texts, err := c.roomFor(b)
	if err != nil {
		return err
	}
	_, err = rowValues(b, func(i int, value []byte) error {
		switch {
		case value == nil:
			return nil
		case i < len(c.columns) && c.columns[i].binary:
			texts[i] = binaryText(c.columns[i].typ, value)
		default:
			texts[i] = plainText(value)
		}
		row[i] = &texts[i]
		return nil
	})
	c.kept = append(c.kept, row)
	return err
}

// roomFor returns room for the values of a DataRow's body, all NULL.
func (c *command) roomFor(b []byte) (row []*string, texts []string, err error) {
	if len(b) < 2 {
		return nil, nil, errMessage
	}
	// Each value takes four bytes at least.
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b)/4 {
		return nil, nil, errMessage
	}
	if c.kept == nil && c.rows == 1 && n <= fewValues {
		c.kept = c.first.rows[:0]
		return c.first.row[:n], c.first.texts[:n], nil
	}
	return make([]*string, n), make([]string, n), nil
}

// keepLine keeps one CopyData message of COPY TO as a row of one value.
func (c *command) keepLine(b []byte) {
	c.rows++
	c.bytes += int64(len(b))
	c.rowsLeft--
	c.bytesLeft -= len(b)
	text := plainText(b)
	c.kept = append(c.kept, []*string{&text})
}

// part returns what is to be recorded before the bytes collected so far may go to the
// client; nil if there is nothing.
func (c *command) part() *recording.Response {
	if len(c.kept) == 0 && c.tag == "" {
		return nil
	}
	r := &recording.Response{Rows: c.kept, Tag: c.tag}
	c.kept, c.tag = nil, ""
	c.describe(r)
	return r
}

func (c *command) describe(r *recording.Response) {
	if c.named || len(c.columns) == 0 {
		return
	}
	c.named = true
	r.Columns = make([]string, len(c.columns))
	for i := range c.columns {
		r.Columns[i] = c.columns[i].name
	}
	if c.plan != nil {
		r.Masked = c.plan.masked
	}
}

// final returns the last record of the answer.
func (c *command) final() *recording.Response {
	c.last = recording.Response{Final: true, Tag: c.tag, Rows: c.kept, RowCount: c.rows, ByteCount: c.bytes, Truncated: c.truncated, Detected: c.detected,
		SQLState: c.state, Error: c.fault}
	c.kept, c.tag, c.done = nil, "", true
	c.describe(&c.last)
	return &c.last
}

// plainText is a value in text format as it is recorded.
func plainText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return `\x` + hex.EncodeToString(b)
}

// Types whose binary form is recorded as text (pg_type.dat).
const (
	oidBool    = 16
	oidName    = 19
	oidInt8    = 20
	oidInt2    = 21
	oidInt4    = 23
	oidText    = 25
	oidOID     = 26
	oidJSON    = 114
	oidBPChar  = 1042
	oidVarchar = 1043
)

// binaryText is a value in binary format as it is recorded: in hex where its type is not
// one of the common ones.
func binaryText(typ uint32, b []byte) string {
	r := body{b: b}
	switch {
	case typ == oidBool && len(b) == 1:
		return strconv.FormatBool(b[0] != 0)
	case typ == oidInt2 && len(b) == 2:
		return strconv.Itoa(int(int16(r.int16()))) //nolint:gosec // the wire's own conversion
	case typ == oidInt4 && len(b) == 4:
		return strconv.Itoa(int(r.int32()))
	case typ == oidOID && len(b) == 4:
		return strconv.FormatUint(uint64(uint32(r.int32())), 10) //nolint:gosec // the wire's own conversion
	case typ == oidInt8 && len(b) == 8:
		high, low := int64(r.int32()), int64(uint32(r.int32())) //nolint:gosec // the wire's own conversion
		return strconv.FormatInt(high<<32|low, 10)
	case textual(typ) || typ == oidJSON:
		return plainText(b)
	}
	return `\x` + hex.EncodeToString(b)
}

// textual reports whether a type's values are text in both formats, so that a masked text
// is a valid value.
func textual(typ uint32) bool {
	return typ == oidText || typ == oidVarchar || typ == oidBPChar || typ == oidName
}
