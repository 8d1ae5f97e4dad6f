package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// maxNaming bounds messages that only name something.
	maxNaming = 8 << 10
	// maxReason bounds a CopyFail.
	maxReason = 64 << 10
)

// serveClient reads the client until it goes away or breaks the protocol. It returns
// errGone for a client that left.
func (r *relay) serveClient(ctx context.Context) error {
	for {
		if !r.in.ready() {
			if err := r.send(false); err != nil {
				return err
			}
			r.keepBind()
		}
		kind, size, err := r.in.head()
		if err != nil && !r.interrupted(err) {
			return gone(err)
		}
		if err := r.settle(ctx); err != nil {
			return err
		}
		if err != nil {
			continue
		}
		if err := r.take(ctx, kind, size); err != nil {
			return err
		}
	}
}

// gone tells a client that left from one that sent what is no message.
func gone(err error) error {
	switch {
	case errors.Is(err, errFrame):
		return protocolError("a message's length is out of bounds")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errGone
	}
	return fmt.Errorf("%w: %w: %w", errGone, errBroken, err)
}

// errBroken says that a client's connection failed rather than ended.
var errBroken = errors.New("the connection failed")

func protocolError(what string) error {
	return &sessionEnd{&policy.Refusal{Code: policy.CodeProtocol, Message: what, Hint: "this is a fault of the client's driver"}}
}

// take handles one message of the client.
func (r *relay) take(ctx context.Context, kind byte, size int) error {
	limit := 0
	switch kind {
	case msgTerminate:
		return errGone
	case msgCopyData, msgCopyDone, msgCopyFail:
		return r.takeCopy(ctx, kind, size)
	case msgQuery, msgParse, msgBind:
		limit = r.engine.c.Limits.Command
	case msgDescribe, msgExecute, msgClose:
		limit = maxNaming
	case msgSync, msgFlush:
	case msgFunction:
		return r.takeFunction(ctx, size)
	default:
		return protocolError("a message of an unknown kind")
	}
	copying, err := r.copying(ctx)
	if err != nil {
		return err
	}
	if copying {
		if kind == msgSync || kind == msgFlush {
			return r.skip(size) // as the target does
		}
		return protocolError("a command inside COPY FROM STDIN")
	}
	if size > limit {
		if limit <= maxNaming {
			return protocolError("a message is too long")
		}
		return r.takeLong(kind, size)
	}
	m, err := r.in.whole(size)
	if err != nil {
		return gone(err)
	}
	return r.handle(ctx, kind, m)
}

// handle handles a message that is held whole.
func (r *relay) handle(ctx context.Context, kind byte, m []byte) error {
	if kind == msgSync {
		return r.sync(m)
	}
	if r.dropping() {
		return nil
	}
	if err := r.room(ctx); err != nil {
		return err
	}
	var err error
	switch kind {
	case msgQuery:
		err = r.query(ctx, m)
	case msgParse:
		err = r.parse(ctx, m)
	case msgBind:
		err = r.bind(ctx, m)
	case msgDescribe:
		err = r.describe(ctx, m)
	case msgExecute:
		err = r.execute(ctx, m)
	case msgClose:
		err = r.close(m)
	case msgFlush:
		err = r.toTarget.write(m)
	}
	if errors.Is(err, errMessage) {
		return protocolError("a malformed message")
	}
	return err
}

func (r *relay) skip(size int) error {
	if err := r.in.skip(size); err != nil {
		return gone(err)
	}
	return nil
}

// dropping reports whether messages are dropped up to the next Sync, because the gate or
// the target failed one.
func (r *relay) dropping() bool {
	return r.discarding || r.check(func() bool { return r.skipping })
}

// sync ends a pipeline.
func (r *relay) sync(m []byte) error {
	r.discarding = false
	r.endPipeline()
	r.mu.Lock()
	r.skipping, r.told = false, false
	r.queue.push(await{kind: awaitSync, epoch: r.epoch})
	r.mu.Unlock()
	return r.toTarget.write(m)
}

// endPipeline counts anew for what follows a Sync.
func (r *relay) endPipeline() {
	r.pipeline, r.binds, r.executes = 0, 0, 0
	r.nextEpoch()
}

// takeLong drops a command that is too long, without ever holding it.
func (r *relay) takeLong(kind byte, size int) error {
	if err := r.skip(size); err != nil {
		return err
	}
	if r.dropping() {
		return nil
	}
	limit := r.engine.c.Limits.Command
	err := r.s.Refuse(&policy.Command{Engine: Name, Context: r.meaning(nil)}, &policy.Refusal{Code: policy.CodeLimit,
		Message: fmt.Sprintf("a command of %d bytes is refused, the bound is %d", size, limit),
		Hint:    "send it in smaller commands, or data with COPY FROM STDIN"})
	return r.refuse(err, kind == msgQuery)
}

// takeFunction refuses a FunctionCall, whatever it calls.
func (r *relay) takeFunction(ctx context.Context, size int) error {
	if err := r.skip(size); err != nil {
		return err
	}
	copying, err := r.copying(ctx)
	if err != nil {
		return err
	}
	if r.dropping() {
		return nil
	}
	if r.pipeline > 0 || copying {
		return protocolError("a function call inside a pipeline")
	}
	err = r.s.Refuse(&policy.Command{Engine: Name, Context: r.meaning(nil)}, &policy.Refusal{Code: policy.CodeUnknownCommand,
		Message: "the protocol's function call is refused", Hint: "call the function in a statement"})
	return r.refuse(err, true)
}

// refuse answers a command that does not go to the target. err is the refusal; any other
// error ends the session. An open transaction fails by it, as by any error.
func (r *relay) refuse(err error, simple bool) error {
	var f *failure
	switch refusal := new(policy.Refusal); {
	case errors.Is(err, errSkipped):
		r.discarding = !simple
		return nil
	case errors.As(err, &f):
	case errors.As(err, &refusal):
		f = failureOf(refusal, duringSession)
	default:
		return err
	}
	// The refusal may be for something that has changed since it was read.
	r.catalog.Forget()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.skipping && r.told {
		r.discarding = !simple
		return nil
	}
	// What is not answered yet may open a transaction, or take one out of its failure.
	open := r.status == inTransaction || r.executes > 0
	r.queue.each(func(a *await) { open = open || a.kind == awaitExecute || a.kind == awaitQuery })
	open = open && !r.skipping
	r.told = true
	r.queue.push(await{kind: awaitNothing, failure: f, ready: simple && !open})
	if open {
		r.queue.push(await{kind: awaitFailure})
		if err := r.toTarget.write(appendExecute(nil, r.secret)); err != nil {
			return err
		}
	}
	switch {
	case !simple:
		r.discarding = true
		r.pipeline++
	case open:
		r.nextEpoch()
		r.queue.push(await{kind: awaitSync, epoch: r.epoch})
		if err := r.toTarget.write([]byte{msgSync, 0, 0, 0, 4}); err != nil {
			return err
		}
	}
	return r.turn()
}

// takeCopy handles the messages of COPY FROM STDIN. A client may send them before the
// target has said that it reads them; when it does not, they are dropped, as the target
// does.
func (r *relay) takeCopy(ctx context.Context, kind byte, size int) error {
	limit := 0
	switch kind {
	case msgCopyData:
		limit = maxBody
	case msgCopyFail:
		limit = maxReason
	}
	if size > limit {
		return protocolError("a message is too long")
	}
	if _, err := r.copying(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	reads := r.copyIn
	if h := r.queue.head(); reads && h != nil && h.command != nil {
		r.input.begin(h.command, r.detectors != nil)
	}
	if reads && kind != msgCopyData {
		r.copyIn = false
	}
	r.mu.Unlock()
	if !reads {
		return r.skip(size)
	}
	if kind != msgCopyData {
		r.input.end()
	}
	head := headSize
	return r.in.stream(size, func(piece []byte) error {
		if kind == msgCopyData {
			r.input.take(piece[min(head, len(piece)):])
			head -= min(head, len(piece))
		}
		if err := r.toTarget.write(piece); err != nil {
			return fmt.Errorf("%w: %w", errTargetGone, err)
		}
		return nil
	})
}

// copying reports whether the target reads CopyData. Behind a COPY that may make it do so
// it first waits until that is known: what the target reads then is no command, whatever
// it says.
func (r *relay) copying(ctx context.Context) (bool, error) {
	if r.mayCopy {
		if err := r.until(ctx, func() bool { return r.copyIn || !r.running() }); err != nil {
			return false, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mayCopy = r.mayCopy && r.running()
	return r.copyIn, nil
}

// running reports whether the target runs a command. mu is held.
func (r *relay) running() bool {
	running := false
	r.queue.each(func(a *await) { running = running || a.kind == awaitExecute || a.kind == awaitQuery })
	return running
}

// suspicious reports whether a text is read in another way when client_encoding or
// standard_conforming_strings is another than the gate expects.
func suspicious(text []byte) bool {
	return bytes.IndexByte(text, '\\') >= 0 || bytes.ContainsFunc(text, func(c rune) bool { return c >= 0x80 })
}
