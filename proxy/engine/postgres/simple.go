package postgres

import (
	"context"
	"errors"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// query handles a Query.
func (r *relay) query(ctx context.Context, m []byte) error {
	q := queryMessage{message: m}
	if err := q.decode(m[headSize:]); err != nil {
		return err
	}
	if r.pipeline > 0 {
		return protocolError("a Query inside a pipeline")
	}
	for left := maxAttempts - 1; ; left-- {
		if err := r.attempt(ctx, &q, left > 0); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// attempt analyses a Query and runs it. errAgain, which it returns only where again says
// so, means that what was known of it did not hold, and that nothing was executed.
func (r *relay) attempt(ctx context.Context, q *queryMessage, again bool) error {
	// The target drops its unnamed statement and portal too.
	delete(r.statements, "")
	delete(r.portals, "")
	k, err := r.analyze(ctx, q.text)
	if err == nil {
		err = r.sqlNames.admit(r, k.facts)
	}
	if err == nil {
		err = r.mayOwnPath(k)
	}
	if err != nil {
		return r.refuse(r.refused(q.text, nil, err), true)
	}
	r.command = policy.Command{Engine: Name, Text: q.text, SQL: k.facts}
	permit, err := r.authorize(ctx, &r.command, k, asOf{})
	if err != nil {
		return r.refuse(err, true)
	}
	r.sqlNames.note(q.text, k.facts)
	c := newCommand(r.s, permit)
	c.masked = k.masked
	c.copies, c.lines = copyOf(k)
	r.mayCopy = c.copies
	if k.masked && pgsql.Parts(k.facts) != nil {
		return r.querySeveral(ctx, k, c, again)
	}
	if k.masked && (k.facts.Outputs != nil || k.facts.Definitions != nil) {
		err = r.queryMasked(ctx, q, k, c, again)
	} else {
		r.epoch++
		r.push(await{kind: awaitQuery, command: c, epoch: r.epoch})
		err = r.forward(permit, q.message)
	}
	r.forwarded(k.facts)
	return err
}

// queryMasked runs a statement by the extended protocol, so that nothing is executed
// before the definitions were read again under the target's locks and the result was
// compared with the analysis.
func (r *relay) queryMasked(ctx context.Context, sent *queryMessage, k *known, c *command, again bool) error {
	text := sent.text
	approved := r.approved()
	if !approved {
		if done, err := r.queryAsserted(ctx, text, sent.message, k, c); done || err != nil {
			return err
		}
	}
	q := newInquiry()
	r.mu.Lock()
	r.told = false // of this pipeline
	r.queue.push(await{kind: awaitParse, own: q})
	r.queue.push(await{kind: awaitDescribe, own: q})
	r.queue.push(await{kind: awaitBind, own: q, last: true})
	r.mu.Unlock()
	r.pipeline++
	m := appendString(appendString(beginMessage(nil, msgParse), ""), string(text))
	m = endMessage(append(m, 0, 0), 0)
	at := len(m)
	m = endMessage(append(beginMessage(m, msgDescribe), 'S', 0), at)
	// A bound portal keeps its plan: nothing is resolved again after the verification.
	at = len(m)
	m = endMessage(append(beginMessage(m, msgBind), 0, 0, 0, 0, 0, 0, 0, 0), at)
	err := r.forward(c.permit, m)
	if err == nil {
		err = r.establish(ctx, k, q, c)
	}
	if err != nil && again && !approved && isChanged(err) {
		return r.again(ctx, c)
	}
	if err != nil {
		return r.abandon(c, err, true)
	}
	c.planned = &planned{plan: c.plan}
	r.plans.note(k.facts, c.planned)
	if readsData(k.facts) {
		// By the extended protocol its end would need a Sync that the client does not send. The
		// locks of the open pipeline last until the Query ends it; no row comes back from it.
		r.epoch++
		r.pipeline = 0
		r.push(await{kind: awaitQuery, command: c, epoch: r.epoch})
		m = appendString(beginMessage(nil, msgQuery), string(text))
		return r.forward(c.permit, endMessage(m, 0))
	}
	r.mu.Lock()
	if q.raw != nil {
		r.queue.push(await{kind: awaitNothing, raw: q.raw})
	}
	err = r.turn()
	r.mu.Unlock()
	d := r.deferralOf(k.facts)
	switch {
	case err != nil:
	case d != nil:
		err = r.shown(c, r.executeDeferred(ctx, d, c, k, nil, &executeMessage{}))
	default:
		r.push(await{kind: awaitExecute, command: c})
		err = r.forward(c.permit, appendExecute(nil, ""))
	}
	if err != nil {
		return err
	}
	return r.sync([]byte{msgSync, 0, 0, 0, 4})
}

// readsData reports whether a command is COPY FROM STDIN.
func readsData(f *sql.Facts) bool {
	return len(f.Nodes) == 1 && f.Nodes[0].Kind == "Copy" && f.Nodes[0].Group == sql.GroupWrite
}

// again ends the attempt at a command of which what was remembered does not hold any more.
// Nothing of it was executed or told to the client.
func (r *relay) again(ctx context.Context, c *command) error {
	if err := r.notExecuted(c); err != nil {
		return err
	}
	r.catalog.Forget()
	if err := r.ownSync(ctx); err != nil {
		return err
	}
	return errAgain
}

// ownSync ends a pipeline without the client's knowledge.
func (r *relay) ownSync(ctx context.Context) error {
	q := newInquiry()
	r.endPipeline()
	r.push(await{kind: awaitSync, own: q, last: true, epoch: r.epoch})
	if err := r.toTarget.write([]byte{msgSync, 0, 0, 0, 4}); err != nil {
		return err
	}
	return r.inquire(ctx, q)
}

// establish verifies the definitions and plans how rows are masked. q is the description
// of the result, which is asked for and not yet sent.
func (r *relay) establish(ctx context.Context, k *known, q *inquiry, c *command) error {
	unverified := r.verify(ctx, k)
	if unverified == nil || errors.Is(unverified, errSkipped) {
		// A description that failed makes what follows be skipped: its error is the reason.
		if err := r.inquire(ctx, q); err != nil {
			return r.unestablished(ctx, err)
		}
	}
	if unverified != nil {
		return unverified
	}
	if len(q.columns) == 0 && len(k.facts.Outputs) == 0 {
		if q.raw == nil {
			return nil
		}
		// Rows without columns: there is no plan that they could be held against.
		return &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "a result without columns is refused on a target with masks", Hint: "select a column"}
	}
	plan, err := planRows(k.facts, k.admission.Masks, q.columns)
	if err != nil {
		return &policy.Refusal{Code: policy.CodeDefinitionChange, Message: "the target's result is not the one that was established, so nothing was executed",
			Hint: "send the command again; if it stays, write it in another way"}
	}
	c.plan, c.columns = plan, q.columns
	return nil
}

// abandon ends a command that was permitted and is not executed.
func (r *relay) abandon(c *command, err error, simple bool) error {
	f := failureOf(err, duringSession)
	if errors.Is(err, errSkipped) {
		f = &failure{message: errSkipped.Error()}
	}
	if rerr := r.s.Respond(c.permit, &recording.Response{Final: true, SQLState: f.state, Error: "not executed: " + f.message}); rerr != nil {
		return rerr
	}
	return r.refuseOpen(err, simple)
}
