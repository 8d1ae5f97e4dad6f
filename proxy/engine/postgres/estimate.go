package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// estimateTimeout bounds, in milliseconds, how long the target may plan a command for
// which approvers want to know how many rows it is about.
const estimateTimeout = "2000"

// estimateLock bounds, in milliseconds, how long it may wait for a lock: who waits stands in
// the way of others.
const estimateLock = "100"

// explain asks for the plan. Nothing is executed.
const explain = "EXPLAIN (FORMAT JSON) "

// guards are put before it, for its transaction alone: the planner computes functions that
// claim to be immutable, and one that lies must change nothing.
const guards = "SELECT pg_catalog.set_config('transaction_read_only', 'on', true), pg_catalog.set_config('statement_timeout', '" + estimateTimeout + "', true)" +
	", pg_catalog.set_config('lock_timeout', '" + estimateLock + "', true)"

// estimate asks the target's planner how many rows a command changes or returns; nil if
// that is not to be known. b holds the command's parameters, if there are any. It asks only
// where a failure breaks nothing of the client's: in a transaction of its own.
func (r *relay) estimate(ctx context.Context, text []byte, f *sql.Facts, types []uint32, b *bindMessage) *int64 {
	if r.pipeline > 0 || !explainable(f) || b == nil && bytes.IndexByte(text, '$') >= 0 ||
		!r.check(func() bool { return r.status == idle && r.queue.len() == 0 && !r.skipping }) {
		return nil
	}
	q := newInquiry()
	r.mu.Lock()
	for range 2 {
		for _, kind := range []awaitKind{awaitParse, awaitBind, awaitExecute, awaitClose, awaitClose} {
			r.queue.push(await{kind: kind, own: q})
		}
	}
	r.epoch++
	r.queue.push(await{kind: awaitSync, own: q, last: true, epoch: r.epoch})
	r.mu.Unlock()
	m := append(r.question(guards), r.explanation(text, types, b)...)
	if r.toTarget.write(append(m, msgSync, 0, 0, 0, 4)) != nil {
		return nil
	}
	if err := r.inquire(ctx, q); err != nil || len(q.rows) != 2 || len(q.rows[1]) != 1 || q.rows[1][0] == nil {
		return nil
	}
	return plannedRows([]byte(*q.rows[1][0]))
}

// explainable reports whether planning a command can do nothing but plan: it is one
// statement that reads or changes rows, all of which is understood and nothing of which
// reaches further.
func explainable(f *sql.Facts) bool {
	if f == nil || !f.Known || f.Statements != 1 || len(f.Features) > 0 || f.MaskViolation != "" {
		return false
	}
	for _, n := range f.Nodes {
		switch n.Kind {
		case "Select", "Values", "Insert", "Update", "Delete", "Merge":
		default:
			return false
		}
	}
	return len(f.Nodes) > 0
}

// explanation is the messages that ask for a plan and leave nothing behind.
func (r *relay) explanation(text []byte, types []uint32, b *bindMessage) []byte {
	m := appendString(beginMessage(nil, msgParse), r.secret)
	m = append(append(append(m, explain...), text...), 0)
	m = binary.BigEndian.AppendUint16(m, uint16(len(types))) //nolint:gosec // as many as the target described
	for _, t := range types {
		m = binary.BigEndian.AppendUint32(m, t)
	}
	m = endMessage(m, 0)
	at := len(m)
	m = appendString(appendString(beginMessage(m, msgBind), r.secret), r.secret)
	if b == nil {
		m = append(m, 0, 0, 0, 0)
	} else {
		m = binary.BigEndian.AppendUint16(m, uint16(len(b.formats)/2)) //nolint:gosec // as many as the client's Bind had
		m = append(m, b.formats...)
		m = binary.BigEndian.AppendUint16(m, uint16(b.values)) //nolint:gosec // as many as the client's Bind had
		m = append(m, b.rest...)
	}
	m = appendExecute(endMessage(append(m, 0, 0), at), r.secret)
	return appendClose(appendClose(m, 'P', r.secret), 'S', r.secret)
}

// plan is a node of a plan, as EXPLAIN (FORMAT JSON) prints it.
type plan struct {
	Node         string  `json:"Node Type"`
	Relationship string  `json:"Parent Relationship"`
	Rows         float64 `json:"Plan Rows"`
	Plans        []plan  `json:"Plans"`
}

var errPlan = errors.New("not a plan")

// plannedRows returns how many rows a plan changes or returns.
func plannedRows(b []byte) *int64 {
	var all []struct {
		Plan *plan `json:"Plan"`
	}
	rows := 0.0
	err := json.Unmarshal(b, &all)
	for _, q := range all {
		if q.Plan == nil {
			err = errPlan
			break
		}
		rows += q.Plan.rows()
	}
	if err != nil || len(all) == 0 || math.IsNaN(rows) || rows < 0 || rows > math.MaxInt32<<20 {
		return nil
	}
	n := int64(rows)
	return &n
}

// rows are those that a node returns, or those that are given to one that changes them.
func (p *plan) rows() float64 {
	if p.Node != "ModifyTable" {
		return p.Rows
	}
	rows := 0.0
	for i := range p.Plans {
		if c := &p.Plans[i]; c.Relationship == "Outer" || c.Relationship == "Member" {
			rows += c.Rows
		}
	}
	return rows
}
