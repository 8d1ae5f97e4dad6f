package sftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// readClient takes the client's requests: it passes on those of open files, and queues the others.
func (r *relay) readClient(ctx context.Context) error {
	defer close(r.left)
	defer close(r.queue)
	for {
		p, err := r.fromClient.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the client: %w", err)
		}
		if err := r.request(ctx, p); err != nil {
			return err
		}
	}
}

// request takes one packet of the client.
func (r *relay) request(ctx context.Context, p []byte) error {
	if len(p) < headerLength {
		return fmt.Errorf("%w: a packet of type %d and %d bytes", errClient, p[4], len(p))
	}
	typ, id := p[4], binary.BigEndian.Uint32(p[5:])
	switch typ {
	case typeInit, typeVersion, typeStatus, typeHandle, typeData, typeName, typeAttrs, typeExtendedReply:
		return fmt.Errorf("%w: a packet of type %d where a request belongs", errClient, typ)
	}
	r.mu.Lock()
	_, used := r.numbers[id]
	r.numbers[id] = struct{}{}
	r.mu.Unlock()
	if used {
		return fmt.Errorf("%w: the number %d is in use twice", errClient, id)
	}
	c := cursor{rest: p[headerLength:]}
	switch typ {
	case typeClose, typeRead, typeWrite, typeFstat, typeReaddir:
		return r.onHandle(ctx, p, typ, "", id, &c)
	case typeExtended:
		return r.extended(ctx, p, id, &c)
	}
	f, known := forms[typ]
	if !known {
		return r.unsupported(id, fmt.Sprintf("packet type %d", typ))
	}
	return r.enqueue(ctx, typ, "", f, id, &c)
}

func (r *relay) extended(ctx context.Context, p []byte, id uint32, c *cursor) error {
	ext := string(c.bytes())
	if c.bad {
		return fmt.Errorf("%w: %w", errClient, errMalformed)
	}
	if !r.offered[ext] {
		return r.unsupported(id, ext[:min(len(ext), 256)])
	}
	switch ext {
	case extFsync, extFstatvfs:
		return r.onHandle(ctx, p, typeExtended, ext, id, c)
	case extLimits:
		if !c.ended() {
			return fmt.Errorf("%w: %w", errClient, errMalformed)
		}
		return r.forward(ctx, p, pending{typ: typeExtended, ext: ext, id: id})
	}
	return r.enqueue(ctx, typeExtended, ext, extendedForms[ext], id, c)
}

// unsupported answers what the relay does not know.
func (r *relay) unsupported(id uint32, what string) error {
	message := fmt.Sprintf("the gate does not pass on %q", what)
	if err := r.record(files.Outcome{Operation: files.Operation{Action: files.Unsupported, Asked: what}, Result: files.Refused, Reason: message}); err != nil {
		return err
	}
	return r.answer(id, status{codeUnsupported, message})
}

// answer gives the client an answer of the relay's own.
func (r *relay) answer(id uint32, s status) error {
	return r.reply(id, statusPacket(id, s.code, s.message))
}

func (r *relay) reply(id uint32, p packet) error {
	r.mu.Lock()
	delete(r.numbers, id)
	r.mu.Unlock()
	if err := r.toClient.write(p); err != nil {
		return fmt.Errorf("answer the client: %w", err)
	}
	return nil
}

// enqueue hands a request over to the goroutine that asks the guard.
func (r *relay) enqueue(ctx context.Context, typ byte, ext string, f form, id uint32, c *cursor) error {
	var h *handle
	if typ == typeFsetstat {
		var err error
		if h, err = r.opened(ctx, c.bytes()); err != nil {
			return err
		}
	}
	q, refused, err := decode(typ, ext, f, id, c)
	if err != nil {
		return fmt.Errorf("%w: packet type %d: %w", errClient, typ, err)
	}
	if refused == nil && (f.action == files.Open || f.action == files.List) {
		r.mu.Lock()
		if len(r.handles) >= maxHandles {
			refused = &status{codeFailure, fmt.Sprintf("more than %d files are open", maxHandles)}
		}
		r.mu.Unlock()
	}
	if typ == typeFsetstat && refused == nil {
		if h == nil {
			return r.answer(id, noHandle)
		}
		q.handle, h.changing = h, q.done
		q.op.Asked, q.op.Path = h.op.Asked, h.op.Path
	}
	if refused != nil {
		return r.finish(q, files.Refused, *refused)
	}
	r.mu.Lock()
	r.asked[q] = struct{}{}
	r.mu.Unlock()
	select {
	case r.queue <- q:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var noHandle = status{codeFailure, "the handle is not open"}

// opened finds a handle that is open, and waits until nothing is asked about it any more, so that
// what was sent after an FSETSTAT does not pass it.
func (r *relay) opened(ctx context.Context, name []byte) (*handle, error) {
	r.mu.Lock()
	h := r.handles[string(name)]
	if h != nil && h.closing {
		h = nil
	}
	r.mu.Unlock()
	if h == nil || h.changing == nil {
		return h, nil
	}
	select {
	case <-h.changing:
		h.changing = nil
		return h, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// onHandle passes on a request of an open file.
func (r *relay) onHandle(ctx context.Context, p []byte, typ byte, ext string, id uint32, c *cursor) error {
	handleName := c.bytes()
	next := pending{typ: typ, ext: ext, id: id}
	var data []byte
	switch typ {
	case typeRead:
		next.offset, next.length = c.uint64(), c.uint32()
	case typeWrite:
		next.offset, data = c.uint64(), c.bytes()
		next.length = uint32(len(data))
	}
	if !c.ended() {
		return fmt.Errorf("%w: packet type %d: %w", errClient, typ, errMalformed)
	}
	h, err := r.opened(ctx, handleName)
	if err != nil {
		return err
	}
	if refused := unfit(h, typ, next); refused != nil {
		return r.answer(id, *refused)
	}
	next.handle = h
	switch typ {
	case typeRead:
		if next.length > maxData {
			// A short answer is allowed, one that is larger than a packet may be is not.
			next.length = maxData
			binary.BigEndian.PutUint32(p[len(p)-4:], maxData)
		}
	case typeWrite:
		h.sent.pass(next.offset, data)
	}
	return r.forward(ctx, p, next)
}

// unfit tells what a handle was not opened for.
func unfit(h *handle, typ byte, p pending) *status {
	file := typ == typeRead || typ == typeWrite || p.ext == extFsync
	switch {
	case h == nil:
		return &noHandle
	case file && h.directory, typ == typeReaddir && !h.directory:
		return &status{codeFailure, "the handle is of another kind"}
	case typ == typeRead && h.op.Access&files.Read == 0:
		return &status{codePermissionDenied, "the file is not open for reading"}
	case typ == typeWrite && h.op.Access&files.Write == 0:
		return &status{codePermissionDenied, "the file is not open for writing"}
	case p.offset > math.MaxInt64-maxPacket:
		return &status{codeFailure, "an offset that no file has"}
	}
	return nil
}

// forward sends a packet on, under a number of the relay's own.
func (r *relay) forward(ctx context.Context, p []byte, next pending) error {
	id, err := r.reserve(ctx, r.freeNumbers, next)
	if err != nil {
		return err
	}
	if h := next.handle; h != nil {
		r.mu.Lock()
		switch next.typ {
		case typeRead, typeWrite, typeReaddir:
			h.underway++
		case typeClose:
			h.closing = true
		}
		r.mu.Unlock()
	}
	binary.BigEndian.PutUint32(p[5:], id)
	if err := r.toServer.write(p); err != nil {
		return fmt.Errorf("pass on to the server: %w", err)
	}
	return nil
}
