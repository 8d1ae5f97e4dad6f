package postgres

import (
	"context"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// execute handles an Execute: the decision on a command of the extended protocol.
func (r *relay) execute(ctx context.Context, m []byte) error {
	var e executeMessage
	if err := e.decode(m[headSize:]); err != nil {
		return err
	}
	p, err := r.portal(ctx, string(e.portal))
	if err != nil {
		return r.refuse(err, false)
	}
	if p.known.stale(r.s.Admission()) {
		if err := r.renewPortal(ctx, p); err != nil {
			return r.refuse(err, false)
		}
	}
	if p.known.masked && p.paths != r.paths {
		// What it reads was resolved by another path than that by which it would be verified.
		return r.refuse(r.refused(p.statement.text, p.known, changedPath()), false)
	}
	if err := r.mayOwnPath(p.known); err != nil {
		return r.refuse(r.refused(p.statement.text, p.known, err), false)
	}
	permit, err := r.authorizePortal(ctx, p)
	if err != nil {
		return r.refuse(err, false)
	}
	st := p.statement
	st.recorded = true
	c := newCommand(r.s, permit)
	c.masked, c.plan = p.known.masked, p.plan
	c.copies, c.lines = copyOf(p.known)
	if c.masked && !p.verified {
		if !r.approved() {
			if done, err := r.executeAsserted(ctx, p, c, string(e.portal), m); done || err != nil {
				return err
			}
		}
		err := r.establishPortal(ctx, string(e.portal), p, c)
		if err == nil {
			err = r.asTold(p, c)
		}
		if err != nil {
			if c, err = r.establishAgain(ctx, string(e.portal), p, c, err, false); c == nil {
				return err
			}
		}
	}
	if d := r.deferralOf(p.known.facts); d != nil {
		return r.shown(c, r.executeDeferred(ctx, d, c, p.known, p, &e))
	}
	return r.executeVerified(p, c, m)
}

// executeVerified forwards the Execute of a portal that may be executed.
func (r *relay) executeVerified(p *portal, c *command, m []byte) error {
	r.sqlNames.note(p.statement.text, p.known.facts)
	r.mayCopy = c.copies
	r.pipeline++
	r.executes++
	r.push(await{kind: awaitExecute, command: c, portal: p})
	err := r.forward(c.permit, m)
	r.forwarded(p.known.facts)
	return err
}

// renewPortal renews what is known of a portal under another policy. It was bound already:
// the analysis holds for it only if it relies on the same definitions.
func (r *relay) renewPortal(ctx context.Context, p *portal) error {
	st := p.statement
	k, err := r.analyze(ctx, st.text)
	if err != nil {
		return r.refused(st.text, nil, err)
	}
	if k.masked && !pgsql.SameDefinitions(p.known.facts, k.facts) {
		st.outdated = true
		return r.refused(st.text, k, changed())
	}
	p.known, p.verified = k, false
	return r.comparable(st, k)
}

// authorizePortal decides on the execution of a portal.
func (r *relay) authorizePortal(ctx context.Context, p *portal) (session.Permit, error) {
	st := p.statement
	r.command = policy.Command{Engine: Name, Text: st.text, Parameters: p.parameters, SQL: p.known.facts, EstimatedRows: p.estimated}
	before := p.known.facts
	permit, err := r.authorize(ctx, &r.command, p.known, r.asOfPortal(p))
	if err != nil {
		return session.Permit{}, err
	}
	if p.known.facts != before {
		p.verified = false
		if !pgsql.Fits(p.known.facts, st.types) {
			return session.Permit{}, r.notForwarded(permit, inexact())
		}
		if p.known.masked && !pgsql.SameDefinitions(before, p.known.facts) {
			st.outdated = true
			return session.Permit{}, r.notForwarded(permit, changed())
		}
	}
	return permit, nil
}

// establishPortal asks the target what a portal returns, reads the definitions again,
// which the target holds since the Bind, and plans how rows are masked.
func (r *relay) establishPortal(ctx context.Context, name string, p *portal, c *command) error {
	p.plan = nil
	f := p.known.facts
	if f.Outputs == nil && f.Definitions == nil {
		p.verified = true
		return nil
	}
	if planned := r.plans.of(f); planned.fits(p) && r.catalog.Likely(f) {
		if err := r.verify(ctx, p.known); err != nil {
			return err
		}
		if planned.holds(f) {
			p.plan, p.verified = planned.plan, true
			c.planned, c.plan, c.columns = planned, p.plan, p.plan.columnsDescribed()
			return nil
		}
	}
	q := newInquiry()
	r.push(await{kind: awaitDescribe, own: q, last: true})
	r.pipeline++
	m := appendString(append(beginMessage(nil, msgDescribe), 'P'), name)
	if err := r.forward(c.permit, endMessage(m, 0)); err != nil {
		return err
	}
	if err := r.establish(ctx, p.known, q, c); err != nil {
		return err
	}
	p.plan, p.verified = c.plan, true
	c.planned = &planned{results: p.results, types: p.statement.types, plan: p.plan}
	r.plans.note(f, c.planned)
	return nil
}

// forward writes a message of a command to the target. There is no other way for one that
// runs something.
func (r *relay) forward(p session.Permit, m []byte) error {
	if !p.Valid() {
		return session.ErrPermit
	}
	return r.toTarget.write(m)
}

// notForwarded records that a permitted command did not go on, and returns why.
func (r *relay) notForwarded(p session.Permit, why error) error {
	f := failureOf(why, duringSession)
	if err := r.s.Respond(p, &recording.Response{Final: true, SQLState: f.state, Error: "not forwarded: " + f.message}); err != nil {
		return err
	}
	return why
}
