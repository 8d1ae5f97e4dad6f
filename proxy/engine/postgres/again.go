package postgres

import (
	"bytes"
	"context"
	"errors"
	"math"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// Definitions that change between the analysis of a command and its execution are no
// business of the client's as long as nothing was executed: the command is analysed again,
// and the target parses and binds it again, until both are of the same definitions.

// maxAttempts bounds how often that is tried for one command.
const maxAttempts = 5

// errAgain says that a command is to be analysed again.
var errAgain = errors.New("the command is to be analysed again")

// errResult is the target's own answer to a statement whose result is another one than the
// client was told. Drivers know it by its text or its routine, and prepare the statement
// again.
var errResult = &failure{state: "0A000", message: cachedPlan, routine: "RevalidateCachedQuery"}

const cachedPlan = "cached plan must not change result type"

// boundKept is the portal.bindAt of a Bind that lies no more in the client's buffer.
const boundKept = math.MaxUint64

// keepBind copies the last Bind before the client's buffer is used again, if its portal is
// not executed yet. One of a session is kept.
func (r *relay) keepBind() {
	p := r.bound
	if p == nil || r.pipeline == 0 || !p.known.masked || p.verified || p.bindAt != r.in.reads {
		return
	}
	if r.kept != nil {
		r.kept.bind, r.kept.bindAt = nil, 0
	}
	p.bind, p.bindAt = bytes.Clone(p.bind), boundKept
	r.kept = p
}

// holdsBind reports whether the Bind of a portal can be sent again.
func (r *relay) holdsBind(p *portal) bool {
	return p.bindAt == boundKept || p.bindAt == r.in.reads
}

// notExecuted records that a permitted command is analysed again. Nothing of it was
// executed or told to the client.
func (r *relay) notExecuted(c *command) error {
	return r.s.Respond(c.permit, &recording.Response{Final: true, Error: "not executed: definitions changed, the command is analysed again"})
}

// establishAgain establishes a portal anew, after that failed for the reason given: its
// statement is analysed, parsed and bound again. It returns the command to be executed; nil
// if the client was refused. synced says that the client's Sync is to be answered too.
func (r *relay) establishAgain(ctx context.Context, name string, p *portal, c *command, why error, synced bool) (*command, error) {
	p.statement.outdated = true
	for attempt := 1; attempt < maxAttempts && isChanged(why) && r.holdsBind(p) && !r.approved(); attempt++ {
		if err := r.notExecuted(c); err != nil {
			return nil, err
		}
		permit, err := r.bindAgain(ctx, name, p)
		if err != nil {
			return nil, r.refuseOpen(err, synced)
		}
		c = newCommand(r.s, permit)
		c.masked = p.known.masked
		c.copies, c.lines = copyOf(p.known)
		if why = r.forward(permit, p.bind); why == nil {
			why = r.establishPortal(ctx, name, p, c)
		}
		if why == nil {
			why = r.asTold(p, c)
		}
		if why == nil {
			return c, nil
		}
		p.statement.outdated = true
	}
	return nil, r.abandon(c, why, synced)
}

// bindAgain decides on a portal by what its statement means now, and has the target parse
// the statement again. The caller forwards the Bind.
func (r *relay) bindAgain(ctx context.Context, name string, p *portal) (session.Permit, error) {
	st := p.statement
	r.catalog.Forget()
	k, err := r.analyze(ctx, st.text)
	if err != nil {
		return session.Permit{}, r.refused(st.text, nil, err)
	}
	st.known, p.known, p.verified = k, k, false
	permit, err := r.authorizePortal(ctx, p)
	if err != nil {
		return session.Permit{}, err
	}
	if err := r.reparse(st); err != nil {
		return session.Permit{}, err
	}
	r.mu.Lock()
	p.outcome, p.epoch = unanswered, r.epoch
	if name != "" {
		r.queue.push(await{kind: awaitClose, quiet: true})
	}
	r.queue.push(await{kind: awaitBind, portal: p, quiet: true})
	r.mu.Unlock()
	p.paths, p.tunings = r.paths, r.tunings
	r.portals[name] = p
	r.pipeline++
	r.binds++
	if name == "" {
		return permit, nil
	}
	return permit, r.toTarget.write(appendClose(nil, 'P', name))
}

// refuseOpen refuses a command in an open pipeline, which ends if synced says so.
func (r *relay) refuseOpen(err error, synced bool) error {
	if err := r.refuse(err, false); err != nil || !synced {
		return err
	}
	return r.sync([]byte{msgSync, 0, 0, 0, 4})
}

// asTold makes sure that a portal which was parsed again returns what the client was told
// of its columns, as the target does of one that it parses again itself.
func (r *relay) asTold(p *portal, c *command) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, told := range [][]column{p.columns, p.statement.columns} {
		if told == nil {
			continue
		}
		if len(told) != len(c.columns) {
			return errResult
		}
		for i := range told {
			if told[i].name != c.columns[i].name || told[i].typ != c.columns[i].typ || told[i].modifier != c.columns[i].modifier {
				return errResult
			}
		}
	}
	return nil
}
