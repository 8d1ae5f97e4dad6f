package postgres

import (
	"context"
	"errors"

	"github.com/cardea-dev/cardea/proxy/recording"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// querySeveral runs the statements of a Query one by one, each verified before it is
// executed, in one pipeline with one Sync: what stands between two statements that end or
// begin transactions is one transaction, as in the simple protocol, and what follows a
// statement that fails is not executed. Where again says so it returns errAgain as long as
// nothing was executed.
func (r *relay) querySeveral(ctx context.Context, k *known, c *command, again bool) error {
	r.mu.Lock()
	r.told = false // of this pipeline
	r.mu.Unlock()
	parts := pgsql.Parts(k.facts)
	for i := range parts {
		of := &known{facts: parts[i].Facts, admission: k.admission, masked: true}
		err := r.queryPart(ctx, of, parts[i].Text, c, i < len(parts)-1)
		for left := maxAttempts - 1; left > 0 && i > 0 && isChanged(err) && r.still(ctx, of, parts[i].Text); left-- {
			err = r.queryPart(ctx, of, parts[i].Text, c, i < len(parts)-1)
		}
		switch {
		case err == nil:
		case i == 0 && again && !r.approved() && isChanged(err):
			return r.again(ctx, c)
		case errors.Is(err, errEnded):
			return errors.Join(err, r.brokenOff(c))
		case r.check(func() bool { return c.done }):
			// A statement failed, of which the client was told; the target skips the others.
			return r.sync([]byte{msgSync, 0, 0, 0, 4})
		default:
			return r.abandon(c, err, true)
		}
	}
	return r.sync([]byte{msgSync, 0, 0, 0, 4})
}

// queryPart parses, verifies and executes one statement of several. more says that it is not
// the last.
func (r *relay) queryPart(ctx context.Context, k *known, text []byte, c *command, more bool) error {
	q := newInquiry()
	r.mu.Lock()
	for _, kind := range []awaitKind{awaitParse, awaitBind, awaitDescribe} {
		r.queue.push(await{kind: kind, own: q, last: kind == awaitDescribe})
	}
	r.overtaken()
	r.mu.Unlock()
	r.pipeline++
	m := append(appendUnnamed(nil, text), msgDescribe, 0, 0, 0, 6, 'P', 0)
	if err := r.forward(c.permit, m); err != nil {
		return err
	}
	var of command
	if err := r.establish(ctx, k, q, &of); err != nil {
		return err
	}
	// The statement before this one is over: nothing else uses c now.
	c.plan, c.columns, c.text, c.named, c.binary = of.plan, of.columns, nil, false, false
	c.copies, c.lines = copyOf(k)
	r.mu.Lock()
	if q.raw != nil {
		r.queue.push(await{kind: awaitNothing, raw: q.raw})
	}
	d := r.deferralOf(k.facts)
	if d == nil {
		r.queue.push(await{kind: awaitExecute, command: c, more: more})
	}
	err := r.turn()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if d != nil {
		d.followed = more
		return r.executeDeferred(ctx, d, c, k, nil, &executeMessage{})
	}
	r.mayCopy = c.copies
	r.pipeline++
	r.executes++
	err = r.forward(c.permit, appendExecute(nil, ""))
	r.forwarded(k.facts)
	return err
}

// still reports whether a statement of several is, by the definitions that there are now,
// what it was when the message was decided on, and takes them for those that it relies on.
func (r *relay) still(ctx context.Context, k *known, text []byte) bool {
	r.catalog.Forget()
	now, err := r.analyze(ctx, text)
	if err != nil || now.stale(k.admission) || !pgsql.SameMeaning(k.facts, now.facts) {
		return false
	}
	k.facts = now.facts
	return true
}

// brokenOff records that a session ended between two statements of a command.
func (r *relay) brokenOff(c *command) error {
	if r.check(func() bool { return c.done }) {
		return nil
	}
	return r.s.Respond(c.permit, &recording.Response{Final: true, Unknown: true})
}
