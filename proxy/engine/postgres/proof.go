package postgres

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// A command that only reads, and returned little when it was executed last, is proven after
// its execution: a FunctionCall in place of the Sync asks for the snapshot, by which nothing
// was committed since the definitions were read, or else nothing of the answer is shown and
// the command is executed anew. That costs the target a tenth of an assertion.

const (
	// maxHeld bounds what is held back of an answer until it is proven.
	maxHeld = 16 << 10
	// maxProvenLater bounds the rows of the last answer of a command that is proven after the
	// next: an answer that turns out longer was executed in vain.
	maxProvenLater = maxHeld / 2
)

// errUnproven says that something may have been committed before the command was executed.
var errUnproven = errors.New("it is not proven that the definitions are unchanged")

// provenance is what is held back until the target has proven it. One is due at a time.
type provenance struct {
	by       *inquiry
	snapshot string // that proves it
	proven   bool
	buf      []byte
	lost     bool // it did not fit
}

// give passes a message of an answer on, or holds it back. mu is held.
func (r *relay) give(c *command, m []byte) error {
	if !c.held {
		return r.out.write(m)
	}
	p := &r.proof
	if p.lost || len(p.buf)+len(m) > maxHeld {
		p.lost = true
		return nil
	}
	p.buf = append(p.buf, m...)
	return nil
}

// pin is how far the session's path is its own.
type pin uint8

const (
	pinNone  pin = iota
	pinAsked     // asked for, and not committed yet
	pinMade
)

// provable returns the snapshot that proves a command of which the plan holds, if it may be
// proven after its execution. The client's Sync has to be there.
func (r *relay) provable(k *known, planned *planned) (string, bool) {
	f := k.facts
	if !pgsql.Repeatable(f) || len(k.admission.Masks.Functions()) > 0 {
		return "", false
	}
	snapshot, ok := r.catalog.Snapshot(f)
	return snapshot, ok && r.check(func() bool { return r.pinned == pinMade && planned.small })
}

// prove ends the open pipeline, whose Execute is to be sent by execute, with a FunctionCall
// that proves it.
func (r *relay) prove(snapshot string, c *command, execute func() error) (*inquiry, error) {
	// The outcome of the one before was taken before anything else was sent.
	q := r.assertedBy
	r.mu.Lock()
	q.again()
	q.proves = true
	r.proof = provenance{by: q, snapshot: snapshot, buf: r.proof.buf[:0]}
	c.held = true
	r.mu.Unlock()
	if err := execute(); err != nil {
		return nil, err
	}
	r.endPipeline()
	r.mu.Lock()
	r.queue.push(await{kind: awaitProof, own: q, command: c, epoch: r.epoch})
	r.overtaken()
	r.mu.Unlock()
	return q, r.toTarget.write(snapshotCall)
}

// snapshotCall is a FunctionCall without arguments, whose result is text.
var snapshotCall = func() []byte {
	m := binary.BigEndian.AppendUint32(beginMessage(nil, msgFunction), pgsql.SnapshotFunction)
	return endMessage(append(m, 0, 0, 0, 0, 0, 0), 0)
}()

// proofAnswer handles what the target says to a FunctionCall. mu is held.
func (r *relay) proofAnswer(h *await, kind byte, m []byte) error {
	q, p := h.own, &r.proof
	switch kind {
	case msgFunctionResponse:
		p.proven = isText(m[headSize:], p.snapshot)
		return nil
	case msgReadyForQuery:
	default:
		return r.targetError("an answer out of its turn")
	}
	c := h.command
	if err := r.readyFor(h, m); err != nil {
		return err
	}
	if r.status != idle {
		return r.targetError("a transaction that nobody began")
	}
	if p.proven && !p.lost && q.err == nil && c.tag != "" {
		err := r.s.Respond(c.permit, c.final())
		if err == nil {
			err = r.out.write(p.buf)
		}
		if err == nil {
			err = r.out.write(m)
		}
		q.finish(nil)
		return err
	}
	if p.lost {
		c.planned.small = false
	}
	c.done = true
	err := r.s.Respond(c.permit, &recording.Response{Final: true, Error: unshown})
	r.end(q, errUnproven)
	return err
}

// unshown is what is recorded of an answer that is not proven.
const unshown = "not shown: it is not proven by which definitions it was executed; it is executed again"

// end ends a proof that failed, and has the client's side deal with it. mu is held.
func (r *relay) end(q *inquiry, err error) {
	if q.deferred && !q.finished {
		q.interrupts = true
		r.interrupt()
	}
	q.finish(err)
}

// isText reports whether a FunctionCallResponse has a value.
func isText(b []byte, value string) bool {
	return len(b) == 4+len(value) && binary.BigEndian.Uint32(b) == uint32(len(value)) && string(b[4:]) == value //nolint:gosec // a snapshot
}

// failsUnproven reports whether the failure of an Execute is to be proven as its rows are: it
// may be due to what the command was not to read. What the client's cancel request or a limit
// of time ended, or the end of the target, is not executed again.
func failsUnproven(h *await, f *failure, m []byte) bool {
	return h.kind == awaitExecute && h.command != nil && h.command.held && f.state != stateCanceled && !fatal(m)
}

// proven waits for the outcome of a proof. It returns errAgain if the command is to be
// executed again, and errSkipped if it failed, of which the client was told.
func (r *relay) proven(ctx context.Context, q *inquiry) error {
	err := r.inquire(ctx, q)
	if err == nil || errors.Is(err, errEnded) {
		return err
	}
	// The target does not take a FunctionCall for the end of a pipeline that failed.
	open := r.check(func() bool { return r.skipping })
	switch {
	case errors.Is(err, errSkipped):
		if open {
			err = errors.Join(r.sync([]byte{msgSync, 0, 0, 0, 4}), err)
		}
		return err
	case open:
		if err := r.ownSync(ctx); err != nil {
			return err
		}
	}
	r.catalog.Disturbed()
	return errAgain
}

// pin makes the session's path its own, in the open pipeline, if it is not yet.
func (r *relay) pin() error {
	if !r.check(func() bool { return r.pinned == pinNone }) {
		return nil
	}
	m, kinds, err := r.flight([]pgsql.Question{{SQL: pgsql.PinQuery}})
	if err != nil {
		return err
	}
	q := newInquiry()
	r.mu.Lock()
	for _, kind := range kinds {
		r.queue.push(await{kind: kind, own: q})
	}
	r.pinned = pinAsked
	r.overtaken()
	r.mu.Unlock()
	r.asking = m[:0]
	return r.toTarget.write(m)
}

// mayUnpin reports whether a command may give the path up again.
func mayUnpin(f *sql.Facts) bool {
	for _, n := range f.Nodes {
		switch n.Group {
		case sql.GroupRead, sql.GroupWrite, sql.GroupTransaction:
		default:
			return true
		}
	}
	return false
}
