package sftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// readServer takes the server's answers.
func (r *relay) readServer(ctx context.Context) error {
	for {
		p, err := r.fromServer.next()
		if errors.Is(err, io.EOF) {
			return r.complete()
		}
		if err != nil {
			return fmt.Errorf("read the server: %w", err)
		}
		if err := r.answered(p); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

// complete fails if a request has no answer.
func (r *relay) complete() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.pending {
		if r.pending[i].busy {
			return errors.New("the server ended without answering all requests")
		}
	}
	return nil
}

// answered takes one packet of the server: the answer to a request of the client or of the relay.
func (r *relay) answered(p []byte) error {
	if len(p) < headerLength {
		return errAnswer
	}
	typ, id := p[4], binary.BigEndian.Uint32(p[5:])
	if id >= uint32(len(r.pending)) {
		return fmt.Errorf("%w: an answer to no request", errServer)
	}
	r.mu.Lock()
	to := r.pending[id]
	r.pending[id] = pending{}
	r.mu.Unlock()
	if !to.busy {
		return fmt.Errorf("%w: an answer to no request", errServer)
	}
	r.numbersOf(id) <- id
	c := cursor{rest: p[headerLength:]}
	var err error
	switch {
	case to.call != nil:
		to.call.typ, to.call.body = typ, bytes.Clone(c.rest)
		close(to.call.done)
		return nil
	case to.asks != nil:
		err = r.onAnswer(to.asks, typ, &c)
	case to.handle != nil:
		err = r.onHandleAnswer(&to, typ, &c)
	default:
		p, err = limits(p, typ, &c)
	}
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(p[5:], to.id)
	if err := r.reply(to.id, p); err != nil {
		return err
	}
	if to.asks != nil {
		close(to.asks.done)
	}
	return nil
}

// onAnswer takes the answer to a request with paths.
func (r *relay) onAnswer(q *request, typ byte, c *cursor) error {
	o := files.Outcome{Operation: q.op, Result: files.Succeeded}
	if typ == typeStatus {
		code := c.uint32()
		// Success without what was asked for is none.
		if c.bad || code == codeOK && q.form.answer() != typeStatus {
			return errAnswer
		}
		if code != codeOK {
			o.Result, o.Reason = files.Failed, reason(code)
		}
		r.forget(q)
		return r.record(o)
	}
	if typ != q.form.answer() {
		return fmt.Errorf("%w: packet type %d for %s", errAnswer, typ, q.op.Action)
	}
	switch typ {
	case typeHandle:
		return r.open(q, c)
	case typeAttrs:
		c.attributes()
	case typeName:
		if n, err := names(c); err != nil || n != 1 {
			return errAnswer
		}
	case typeExtendedReply:
		c.rest = nil
	}
	if !c.ended() {
		return errAnswer
	}
	r.forget(q)
	return r.record(o)
}

// open keeps a new handle.
func (r *relay) open(q *request, c *cursor) error {
	h := &handle{name: string(c.bytes()), op: q.op, directory: q.op.Action == files.List}
	if !c.ended() || len(h.name) > maxHandle {
		return errAnswer
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A server that does not answer in order may use a name again before it says that it is closed.
	if old := r.handles[h.name]; old != nil && !old.closing {
		return fmt.Errorf("%w: a handle that is open already", errServer)
	}
	r.handles[h.name] = h
	delete(r.asked, q)
	return nil
}

// names reads the body of an SSH_FXP_NAME and counts its names.
func names(c *cursor) (int64, error) {
	n := int64(c.uint32())
	for i := int64(0); i < n && !c.bad; i++ {
		c.bytes()
		c.bytes()
		c.attributes()
	}
	if !c.ended() {
		return 0, errAnswer
	}
	return n, nil
}

// onHandleAnswer takes the answer to a request of an open file.
func (r *relay) onHandleAnswer(to *pending, typ byte, c *cursor) error {
	if typ == typeStatus {
		code := c.uint32()
		if c.bad || code == codeOK && to.answer() != typeStatus {
			return errAnswer
		}
		to.handle.told(to, code)
		return r.passed(to.handle, to.typ, code)
	}
	if typ != to.answer() {
		return fmt.Errorf("%w: packet type %d for type %d", errAnswer, typ, to.typ)
	}
	h := to.handle
	switch typ {
	case typeData:
		data := c.bytes()
		if !c.ended() || uint32(len(data)) > to.length {
			return errAnswer
		}
		h.read.pass(to.offset, data)
	case typeName:
		n, err := names(c)
		if err != nil {
			return err
		}
		h.entries += n
	case typeAttrs:
		if c.attributes(); !c.ended() {
			return errAnswer
		}
	}
	return r.passed(h, to.typ, codeOK)
}

// answer is the type of packet that answers success to a request of an open file.
func (p *pending) answer() byte {
	switch {
	case p.typ == typeRead:
		return typeData
	case p.typ == typeReaddir:
		return typeName
	case p.typ == typeFstat:
		return typeAttrs
	case p.ext == extFstatvfs:
		return typeExtendedReply
	}
	return typeStatus // WRITE, CLOSE and fsync
}

// told takes the status of a request.
func (h *handle) told(to *pending, code uint32) {
	switch {
	case to.typ == typeRead && code == codeEOF:
		h.read.toEnd = h.read.toEnd || to.offset == uint64(h.read.bytes)
	case to.typ == typeWrite && code == codeOK:
		h.acknowledged += int64(to.length)
	case to.typ == typeWrite:
		h.unwritten = true
	}
}

// passed logs a handle once it is closed and the last answer of it has come.
func (r *relay) passed(h *handle, typ byte, code uint32) error {
	r.mu.Lock()
	switch typ {
	case typeRead, typeWrite, typeReaddir:
		h.underway--
	case typeClose:
		h.closed, h.result = true, files.Succeeded
		if code != codeOK {
			h.result, h.reason = files.Failed, reason(code)
		}
		if r.handles[h.name] == h {
			delete(r.handles, h.name)
		}
	default:
		r.mu.Unlock()
		return nil
	}
	last := h.closed && h.underway == 0
	r.mu.Unlock()
	if !last {
		return nil
	}
	h.logged = true
	return r.record(h.outcome())
}

// limits lowers the server's limits to those of the relay, in the order in which
// limits@openssh.com has them: packet, read, write, handles.
func limits(p []byte, typ byte, c *cursor) ([]byte, error) {
	if typ == typeStatus {
		return p, nil
	}
	answer := begin(nil, typeExtendedReply, 0)
	for _, most := range []uint64{maxPacket, maxData, maxData, maxHandles} {
		v := c.uint64()
		if v == 0 || v > most {
			v = most
		}
		answer = answer.uint64(v)
	}
	if typ != typeExtendedReply || !c.ended() {
		return nil, errAnswer
	}
	return answer.finish(0), nil
}
