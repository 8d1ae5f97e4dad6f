package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cardea-dev/cardea/proxy/policy"
)

// maxDescription bounds a RowDescription: its columns have names of at most 64 bytes.
const maxDescription = 256 << 10

var errTargetGone = errors.New("the target closed the connection")

// serveTarget reads the target and answers the client until the target goes away or says
// what nobody asked for.
func (r *relay) serveTarget(ctx context.Context) error {
	for {
		kind, size, err := r.up.in.head()
		if err != nil {
			if errors.Is(err, errFrame) {
				return r.targetError("a message's length is out of bounds")
			}
			return r.targetGone(err)
		}
		if err := r.serveBatch(ctx, kind, size); err != nil {
			return err
		}
		r.progressed()
	}
}

// progressed tells who waits that the target's side made progress.
func (r *relay) progressed() {
	select {
	case r.progress <- struct{}{}:
	default:
	}
}

// serveBatch handles all messages that are there and then lets what they gave go to the
// client.
func (r *relay) serveBatch(ctx context.Context, kind byte, size int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	admission := r.s.Admission()
	r.strict, r.detectors = !admission.Masks.Empty(), admission.Detectors
	for {
		if r.ending.Load() {
			return errEnded
		}
		if err := r.answer(kind, size); err != nil {
			return err
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
		if err := r.turn(); err != nil {
			return err
		}
		if !r.up.in.ready() {
			return r.out.flush()
		}
		var err error
		if kind, size, err = r.up.in.head(); err != nil {
			return r.targetError("a message's length is out of bounds")
		}
	}
}

// targetError ends a session whose target breaks the protocol.
func (r *relay) targetError(what string) error {
	return &sessionEnd{&policy.Refusal{Code: policy.CodeUpstream, Message: "the target broke the protocol: " + what,
		Hint: "ask an administrator to look at the target"}}
}

// targetGone ends a session whose target closed the connection. If it said why, the client
// has been told.
func (r *relay) targetGone(err error) error {
	if r.farewell {
		return errTargetGone
	}
	return fmt.Errorf("%w: %w", &sessionEnd{&policy.Refusal{Code: policy.CodeUpstream, Message: errTargetGone.Error(), Hint: "connect again"}}, err)
}

// answer handles the next message of the target. mu is held.
func (r *relay) answer(kind byte, size int) error {
	switch kind {
	case msgDataRow:
		return r.dataRow(size)
	case msgCopyData:
		return r.copyOut(size)
	}
	limit := maxSmall
	if kind == msgRowDescription || kind == msgParameterDescription {
		limit = maxDescription
	}
	if size > limit && kind == msgErrorResponse || size > limit && kind == msgNotice {
		return r.longText(kind, size)
	}
	if size > limit {
		return r.targetError("a message is too long")
	}
	m, err := r.up.in.whole(size)
	if err != nil {
		return r.targetGone(err)
	}
	switch kind {
	case msgNotice, msgNotification, msgParameterStatus:
		return r.aside(kind, m)
	case msgErrorResponse:
		return r.failedCommand(m)
	}
	h := r.queue.head()
	if h == nil {
		return r.targetError("an answer that nothing asked for")
	}
	return r.progressOf(h, kind, m)
}

// longText drops the text of an error or notice that is too long to hold.
func (r *relay) longText(kind byte, size int) error {
	if err := r.up.in.skip(size); err != nil {
		return r.targetGone(err)
	}
	if kind == msgNotice {
		return nil
	}
	return r.failedCommand((&failure{state: "XX000", message: "the target's error is too long to be shown"}).response(msgErrorResponse, "ERROR"))
}

// aside handles what a target says at any time.
func (r *relay) aside(kind byte, m []byte) error {
	if kind == msgParameterStatus {
		b := body{b: m[headSize:]}
		name, value := string(b.string()), string(b.string())
		if b.end() != nil {
			return r.targetError("a malformed message")
		}
		if !pinned(name, value) {
			return unpinned()
		}
		if !reported[name] {
			return nil
		}
		if name == "application_name" {
			m = r.unmarked(m, value)
		}
		return r.out.write(m)
	}
	if r.strict {
		if kind != msgNotification {
			return nil
		}
		var ok bool
		if m, ok = withoutPayload(m); !ok {
			return r.targetError("a malformed message")
		}
	}
	m, err := r.maskedWords(m)
	if err != nil {
		return err
	}
	return r.tellAside(m)
}

// progressOf handles a message of the answer that is due.
func (r *relay) progressOf(h *await, kind byte, m []byte) error {
	if h.own != nil {
		return r.inquiryAnswer(h, kind, m)
	}
	switch {
	case h.kind == awaitParse && kind == msgParseComplete:
		if h.statement != nil {
			h.statement.outcome = made
		}
	case h.kind == awaitBind && kind == msgBindComplete:
		if h.portal != nil {
			h.portal.outcome = made
		}
	case h.kind == awaitClose && kind == msgCloseComplete:
	case h.kind == awaitDescribe:
		return r.description(h, kind, m)
	case h.kind == awaitExecute, h.kind == awaitQuery:
		return r.commandAnswer(h, kind, m)
	case h.kind == awaitSync && kind == msgReadyForQuery:
		return r.readyForQuery(h, m)
	default:
		return r.targetError("an answer out of its turn")
	}
	quiet := h.quiet
	r.queue.pop()
	if quiet {
		return nil
	}
	return r.out.write(m)
}

// description is a RowDescription and what it says. Statements are described with each of
// their executions, mostly.
type description struct {
	message []byte
	columns []column
}

// of returns what m says, which is not to be changed.
func (d *description) of(m []byte) ([]column, error) {
	if bytes.Equal(d.message, m) {
		return d.columns, nil
	}
	columns, err := decodeColumns(m[headSize:])
	if err == nil {
		d.message, d.columns = append(d.message[:0], m...), columns
	}
	return columns, err
}

// description handles the answer to a Describe of the client.
func (r *relay) description(h *await, kind byte, m []byte) error {
	switch {
	case kind == msgParameterDescription && h.statement != nil:
		b := body{b: m[headSize:]}
		n := b.int16()
		types := make([]uint32, 0, min(n, len(b.b)/4))
		for range n {
			types = append(types, uint32(b.int32())) //nolint:gosec // the wire's own conversion
		}
		if b.end() != nil {
			return r.targetError("a malformed message")
		}
		h.statement.parameters = types
		return r.out.write(m)
	case kind == msgRowDescription:
		columns, err := r.described.of(m)
		if err != nil {
			return r.targetError("a malformed message")
		}
		switch {
		case h.command != nil:
			if !slices.Equal(columns, h.command.columns) {
				if err := r.unestablishedRow(h.command, errLineage); err != nil {
					return err
				}
			}
		case h.statement != nil:
			h.statement.columns = columns
		default:
			h.portal.columns = columns
			if st := h.portal.statement; st != nil && st.columns == nil {
				st.columns = columns
			}
		}
	case kind == msgNoData && h.command == nil:
	default:
		return r.targetError("an answer out of its turn")
	}
	c := h.command
	r.queue.pop()
	if c != nil {
		return r.give(c, m)
	}
	return r.out.write(m)
}

// commandAnswer handles the answer to a command, except its rows.
func (r *relay) commandAnswer(h *await, kind byte, m []byte) error {
	c := h.command
	r.attend(c)
	simple := h.kind == awaitQuery
	switch {
	case kind == msgRowDescription && simple:
		columns, err := decodeColumns(m[headSize:])
		if err != nil || c.masked {
			return r.withheld(err)
		}
		c.columns, c.named = columns, false
	case kind == msgCommandComplete, kind == msgEmptyQuery, kind == msgPortalSuspended && !simple:
		return r.complete(h, m)
	case kind == msgCopyInResponse && c.copies:
		// Nothing was sent after it, so that the target takes nothing else for data.
		if r.queue.len() != 1 {
			return r.targetError("an answer out of its turn")
		}
		r.copyIn = true
	case kind == msgCopyOutResponse && c.copies:
		if !c.beginsLines(m[headSize:]) {
			return r.withheld(errLine)
		}
		if c.deferral != nil {
			c.deferral.end, r.paused = bytes.Clone(m), make(chan struct{})
			return nil
		}
	case kind == msgCopyDone:
		if c.deferral != nil {
			return nil
		}
	case kind == msgReadyForQuery && simple:
		if !c.done {
			if err := r.s.Respond(c.permit, c.final()); err != nil {
				return err
			}
		}
		return r.readyForQuery(h, m)
	default:
		return r.targetError("an answer out of its turn")
	}
	return r.out.write(m)
}

// complete handles the end of a statement. A Query may have several; its answer ends with
// ReadyForQuery.
func (r *relay) complete(h *await, m []byte) error {
	r.up.finished.Add(1)
	c, execute, last := h.command, h.kind == awaitExecute, !h.more
	if execute {
		r.queue.pop()
	}
	switch {
	case c.deferral == nil:
	case c.deferral.unproven != nil:
		return unprovenEnd(c.deferral.unproven)
	default:
		c.deferral.end = bytes.Clone(m)
		return nil
	}
	return r.completed(c, execute, last, m)
}

// completed passes the end of a statement on, which is the last one of its command or not.
// mu is held.
func (r *relay) completed(c *command, execute, last bool, m []byte) error {
	tag := ""
	if m[0] == msgCommandComplete {
		if c.shown > 0 {
			m, c.shown = countedTo(m, c.shown), 0
		}
		b := body{b: m[headSize:]}
		tag = string(b.string())
		if b.end() != nil {
			return r.targetError("a malformed message")
		}
	}
	if c.tag != "" {
		if err := r.s.Respond(c.permit, c.part()); err != nil {
			return err
		}
	}
	c.tag = tag
	if c.planned != nil {
		c.planned.small = c.bytes <= maxProvenLater
	}
	if c.held {
		return r.give(c, m)
	}
	if execute {
		r.current = nil
		part := c.part
		if last {
			part = c.final
		}
		if part := part(); part != nil {
			if err := r.s.Respond(c.permit, part); err != nil {
				return err
			}
		}
	}
	return r.out.write(m)
}

// withheld ends a session in which rows came whose columns are not established.
func (r *relay) withheld(err error) error {
	if err == nil {
		err = errWithheld
	}
	return fmt.Errorf("%w: %w", &sessionEnd{&policy.Refusal{Code: policy.CodeMaskedColumn,
		Message: "the target returned a result that was not established; it was withheld and the session ended", Hint: "connect again and write the command in another way"}}, err)
}

// readyForQuery ends a pipeline or a Query.
func (r *relay) readyForQuery(h *await, m []byte) error {
	own := h.own
	if err := r.readyFor(h, m); err != nil {
		return err
	}
	if own != nil {
		own.finish(nil)
		return nil
	}
	return r.out.write(m)
}

// readyFor takes a ReadyForQuery.
func (r *relay) readyFor(h *await, m []byte) error {
	if len(m) != headSize+1 || (m[headSize] != idle && m[headSize] != inTransaction && m[headSize] != failed) {
		return r.targetError("a malformed message")
	}
	r.up.finished.Add(1)
	r.up.pipelines.Add(1)
	r.status, r.current = m[headSize], nil
	if r.status == idle {
		r.over = max(r.over, h.epoch)
		if r.pinned == pinAsked {
			r.pinned = pinMade
		}
	}
	r.queue.pop()
	return nil
}

// inquiryAnswer handles an answer for the gate itself.
func (r *relay) inquiryAnswer(h *await, kind byte, m []byte) error {
	q := h.own
	done := false
	switch {
	case h.kind == awaitProof:
		return r.proofAnswer(h, kind, m)
	case h.kind == awaitParse && kind == msgParseComplete, h.kind == awaitBind && kind == msgBindComplete,
		h.kind == awaitClose && kind == msgCloseComplete, h.kind == awaitExecute && kind == msgCommandComplete,
		h.kind == awaitDescribe && kind == msgNoData:
		done = true
		if h.kind == awaitExecute {
			q.ends = append(q.ends, len(q.rows))
		}
	case h.kind == awaitDescribe && kind == msgParameterDescription:
	case h.kind == awaitDescribe && kind == msgRowDescription:
		columns, err := decodeColumns(m[headSize:])
		if err != nil {
			return r.targetError("a malformed message")
		}
		q.columns, q.raw = columns, append([]byte(nil), m...)
		done = true
	case h.kind == awaitSync && kind == msgReadyForQuery:
		return r.readyForQuery(h, m)
	default:
		return r.targetError("an answer out of its turn")
	}
	if !done {
		return nil
	}
	last := h.last
	r.queue.pop()
	if last {
		q.finish(nil)
	}
	return nil
}
