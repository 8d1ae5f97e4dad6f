package sftp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// perform takes requests with paths, one after the other, until the client has sent all.
func (r *relay) perform(ctx context.Context) error {
	held, queue, left := map[*request]struct{}{}, r.queue, r.left
	for queue != nil || len(held) > 0 {
		var err error
		select {
		case q, more := <-queue:
			if !more {
				queue = nil
				break
			}
			err = r.take(ctx, q, held)
		case q := <-r.released:
			delete(held, q)
			err = r.settle(ctx, q, true)
		case <-left:
			// Nobody is there to be answered.
			left = nil
			for q := range held {
				q.cancel()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take resolves a request's paths and asks the guard. If that lasts it is put with those held.
func (r *relay) take(ctx context.Context, q *request, held map[*request]struct{}) error {
	s, err := r.locate(ctx, q)
	if err != nil {
		return err
	}
	if s != nil {
		return r.finish(q, files.Unresolved, *s)
	}
	asking, cancel := context.WithCancel(ctx)
	q.cancel = cancel
	r.waiting.Go(func() {
		defer cancel()
		defer close(q.judged)
		q.verdict = r.guard.Operation(asking, q.op)
	})
	patience := time.NewTimer(r.patience)
	defer patience.Stop()
	select {
	case <-q.judged:
		return r.settle(ctx, q, false)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-patience.C:
	}
	if len(held) < maxHeld {
		select {
		case <-r.left:
			cancel()
		default:
		}
		held[q] = struct{}{}
		r.waiting.Go(func() {
			<-q.judged
			select {
			case r.released <- q:
			case <-ctx.Done():
			}
		})
		return nil
	}
	select {
	case <-q.judged:
	case <-r.left:
		cancel()
		<-q.judged
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return r.settle(ctx, q, true)
}

// settle does as the guard said. A request that was late is looked at again, and refused if its
// paths have become others.
func (r *relay) settle(ctx context.Context, q *request, late bool) error {
	var refusal *files.Refusal
	switch {
	case q.verdict == nil:
	case errors.As(q.verdict, &refusal):
		return r.finish(q, files.Refused, status{codePermissionDenied, refusal.Message})
	case late && errors.Is(q.verdict, context.Canceled) && ctx.Err() == nil:
		return r.finish(q, files.Refused, status{codePermissionDenied, "the client did not wait for the decision"})
	default:
		return fmt.Errorf("ask the guard: %w", q.verdict)
	}
	if late {
		path, to := q.op.Path, q.op.To
		s, err := r.locate(ctx, q)
		if err != nil {
			return err
		}
		if s == nil && (q.op.Path != path || q.op.To != to) {
			s = &status{codePermissionDenied, "the path leads elsewhere than when it was judged; ask again"}
		}
		if s != nil {
			q.op.Path, q.op.To = path, to
			return r.finish(q, files.Refused, *s)
		}
	}
	if q.form.action == files.RealPath {
		r.forget(q)
		if err := r.record(files.Outcome{Operation: q.op, Result: files.Succeeded}); err != nil {
			return err
		}
		defer close(q.done)
		return r.reply(q.id, begin(nil, typeName, q.id).uint32(1).text(q.op.Path).text(q.op.Path).uint32(0).finish(0))
	}
	if q.handle != nil && q.op.Set.HasSize {
		q.handle.resized.Store(true)
	}
	id, err := r.reserve(ctx, r.ownNumbers, pending{typ: q.typ, id: q.id, asks: q})
	if err != nil {
		return err
	}
	q.forwarded = true
	if err := r.toServer.write(q.encode(id)); err != nil {
		return fmt.Errorf("pass on to the server: %w", err)
	}
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finish answers a request that was not forwarded.
func (r *relay) finish(q *request, result files.Result, s status) error {
	defer close(q.done)
	r.forget(q)
	if err := r.record(files.Outcome{Operation: q.op, Result: result, Reason: s.message}); err != nil {
		return err
	}
	return r.answer(q.id, s)
}
