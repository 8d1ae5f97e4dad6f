package postgres

import (
	"bytes"

	"github.com/cardea-dev/cardea/proxy/masking/detect"
	pgmask "github.com/cardea-dev/cardea/proxy/masking/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// maxKept bounds a row that is recorded: a longer one is only counted.
const maxKept = frameBuffer - headSize

// dataRow handles a DataRow of the given size. mu is held.
func (r *relay) dataRow(size int) error {
	h := r.queue.head()
	if h == nil || (h.kind != awaitExecute && h.kind != awaitQuery) {
		return r.targetError("a row that nothing asked for")
	}
	if h.own != nil {
		return r.ownRow(h.own, size)
	}
	c := h.command
	r.attend(c)
	if c.columns == nil {
		c.columns = r.columnsOf(h)
	}
	switch {
	case c.held && size+headSize > maxHeld:
		r.proof.lost = true
		return r.drop(size)
	case c.masked && c.plan == nil:
		return r.unestablishedRow(c, nil)
	case c.plan != nil && (len(c.plan.masked) > 0 || r.detectors != nil):
		return r.maskedRow(c, c.plan, size)
	case r.detectors != nil:
		return r.maskedRow(c, nil, size)
	}
	if c.deferral == nil && !c.held && (size > maxKept || !c.wants(size)) {
		c.count(size)
		return r.pass(size)
	}
	if size > r.engine.c.Limits.MaskedRow {
		return tooLong()
	}
	m, err := r.up.in.whole(size)
	if err != nil {
		return r.targetGone(err)
	}
	return r.show(c, m)
}

// show lets a row go as it is, unless it is to be held back.
func (r *relay) show(c *command, row []byte) error {
	if c.deferral != nil {
		c.deferral.row = bytes.Clone(row)
		return nil
	}
	if size := len(row) - headSize; c.wants(size) {
		if err := c.keep(row[headSize:]); err != nil {
			return r.targetError("a malformed message")
		}
	} else {
		c.count(size)
	}
	return r.give(c, row)
}

// unestablishedRow ends a session in which a row came whose columns are not established. One
// that is held back is of definitions that nothing has proven yet, and nothing will.
func (r *relay) unestablishedRow(c *command, err error) error {
	if !c.held {
		return r.withheld(err)
	}
	r.proof.lost = true
	return nil
}

// attend makes c the command whose answer is recorded as far as it goes to the client.
func (r *relay) attend(c *command) {
	if !c.held {
		r.current = c
	}
}

// ownRow handles a row of the gate's own inquiry. mu is held.
func (r *relay) ownRow(q *inquiry, size int) error {
	if size > maxInquiry {
		return r.targetError("a message is too long")
	}
	m, err := r.up.in.whole(size)
	if err != nil {
		return r.targetGone(err)
	}
	if q.asserts {
		return nil // that it came says all
	}
	if q.add(m[headSize:]) != nil {
		return r.targetError("a malformed message")
	}
	return nil
}

// columnsOf returns what was described of the result of an Execute.
func (r *relay) columnsOf(h *await) []column {
	p := h.portal
	switch {
	case h.command.plan != nil:
		return h.command.plan.described
	case p == nil:
		return nil
	case p.columns != nil:
		return p.columns
	case p.statement.columns == nil:
		return nil
	}
	p.columns = append([]column(nil), p.statement.columns...)
	for i := range p.columns {
		p.columns[i].binary = format(p.results, i)
	}
	return p.columns
}

// pass lets a message through in pieces, however long it is.
func (r *relay) pass(size int) error {
	left := headSize + size
	for left > 0 {
		if r.ending.Load() {
			return errEnded
		}
		p, err := r.up.in.piece(left)
		if err != nil {
			return r.targetGone(err)
		}
		left -= len(p)
		r.torn = left > 0
		if err := r.out.write(p); err != nil {
			return err
		}
	}
	return nil
}

// drop reads a message that nobody is shown.
func (r *relay) drop(size int) error {
	if err := r.up.in.skip(size); err != nil {
		return r.targetGone(err)
	}
	return nil
}

// tooLong ends a session with a message that cannot be masked.
func tooLong() error {
	return &sessionEnd{&policy.Refusal{Code: policy.CodeLimit, Message: "a row with masked columns is too long to be masked; it was withheld and the session ended",
		Hint: "select fewer or shorter columns"}}
}

// maskedRow lets a row through after its masks and the detectors. A row that cannot be
// masked ends the session. Without a plan there are no masks.
func (r *relay) maskedRow(c *command, plan *rowPlan, size int) error {
	if size > r.engine.c.Limits.MaskedRow {
		return tooLong()
	}
	m, err := r.up.in.whole(size)
	if err != nil {
		return r.targetGone(err)
	}
	if plan == nil {
		if !c.text.covers(c.columns) {
			c.text = planText(c.columns, m[headSize:])
		}
		plan = c.text
	}
	var found int
	r.row, found, err = plan.apply(r.row[:0], m[headSize:], r.detectors)
	if err != nil {
		return r.unestablishedRow(c, err)
	}
	c.detected += int64(found)
	row := r.row
	if cap(r.row) > 2*frameBuffer {
		r.row = nil
	}
	return r.show(c, row)
}

// copyOut handles a CopyData of COPY TO STDOUT.
func (r *relay) copyOut(size int) error {
	h := r.queue.head()
	if h == nil || h.command == nil || (h.kind != awaitExecute && h.kind != awaitQuery) {
		return r.targetError("data that nothing asked for")
	}
	c := h.command
	r.current = c
	if !c.copies {
		return r.withheld(nil)
	}
	if c.deferral != nil {
		return r.drop(size)
	}
	if r.detectors != nil || c.lines != nil {
		return r.maskedCopy(c, size)
	}
	if size > maxKept || !c.wants(size) {
		c.count(size)
		return r.pass(size)
	}
	m, err := r.up.in.whole(size)
	if err != nil {
		return r.targetGone(err)
	}
	c.keepLine(m[headSize:])
	return r.out.write(m)
}

// maskedCopy lets a CopyData through after its masks and the detectors.
func (r *relay) maskedCopy(c *command, size int) error {
	if size > r.engine.c.Limits.MaskedRow {
		return tooLong()
	}
	m, err := r.up.in.whole(size)
	if err != nil {
		return r.targetGone(err)
	}
	line := m[headSize:]
	if c.lines != nil {
		if c.lines.line, err = c.lines.apply(c.lines.line[:0], line); err != nil {
			return r.withheld(err)
		}
		line = c.lines.line
	}
	out, found := beginMessage(r.row[:0], msgCopyData), 0
	if r.detectors == nil {
		out = append(out, line...)
	} else if out, found, err = pgmask.MaskCopy(r.detectors, out, line, c.binary); err != nil {
		return r.withheld(err)
	}
	r.row = endMessage(out, 0)
	c.detected += int64(found)
	row := r.row
	if cap(r.row) > 2*frameBuffer {
		r.row = nil
	}
	if size := len(row) - headSize; c.wants(size) {
		c.keepLine(row[headSize:])
	} else {
		c.count(size)
	}
	return r.out.write(row)
}

// maskedWords replaces what the detectors find in the words of an ErrorResponse, a
// NoticeResponse or a NotificationResponse.
func (r *relay) maskedWords(m []byte) ([]byte, error) {
	if r.detectors == nil {
		return m, nil
	}
	out, b := beginMessage(nil, m[0]), body{b: m[headSize:]}
	if m[0] == msgNotification {
		out = append(out, b.take(4)...)
	}
	for !b.bad && len(b.b) > 0 {
		if m[0] != msgNotification {
			code := b.byte()
			out = append(out, code)
			if code == 0 {
				break
			}
		}
		words := b.string()
		var found int
		if out, found = r.detectors.Replace(out, words, detect.Plain); found == 0 {
			out = append(out, words...)
		}
		out = append(out, 0)
	}
	if b.end() != nil {
		return nil, r.targetError("a malformed message")
	}
	return endMessage(out, 0), nil
}

// commit records what was collected of an answer before it goes to the client.
func (r *relay) commit() error {
	if r.current == nil {
		return nil
	}
	part := r.current.part()
	if part == nil {
		return nil
	}
	return r.s.Respond(r.current.permit, part)
}
