package postgres

import (
	"context"
	"errors"
	"os"
	"time"

	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// maxLater bounds the messages of a flight that are kept to be sent again.
const maxLater = 4 << 10

// launch is a command that was sent behind an assertion, with its Sync. Nobody waits for
// the outcome: it settles before the client's next message is handled. Only where the
// assertion fails, so that the client would wait for ever, the target's side interrupts
// the reading of the client.
type launch struct {
	asserts *inquiry
	known   *known
	portal  *portal // nil for that of a Query
	command *command
	name    string // of the portal
}

// settleLater leaves the outcome of fl to settle, and reports that. First and second are
// the client's messages that would have to be sent again.
func (r *relay) settleLater(fl launch, first, second []byte) bool {
	if len(first)+len(second) > maxLater {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if fl.asserts.finished {
		return false
	}
	fl.asserts.deferred = true
	r.later = append(append(r.later[:0], first...), second...)
	r.launched, r.laterFirst = fl, len(first)
	return true
}

// settle takes the outcome of the launch that was left to it, if there is one.
func (r *relay) settle(ctx context.Context) error {
	if r.launched.asserts == nil {
		return nil
	}
	fl := r.launched
	r.launched = launch{}
	return r.land(ctx, fl, r.later[:r.laterFirst], r.later[r.laterFirst:], true)
}

// land waits for the outcome of a launch, and runs the command anew if the assertion
// failed.
func (r *relay) land(ctx context.Context, fl launch, first, second []byte, synced bool) error {
	outcome := r.asserted
	if fl.asserts.proves {
		outcome = r.proven
	}
	err := outcome(ctx, fl.asserts)
	if r.check(func() bool { return fl.asserts.interrupts }) {
		r.uninterrupt()
	}
	switch {
	case err == nil:
		r.catalog.Settled(pgsql.Repeatable(fl.known.facts))
		if fl.portal != nil {
			fl.portal.plan, fl.portal.verified = fl.command.plan, true
		}
		return nil
	case errors.Is(err, errSkipped):
		return nil
	case !errors.Is(err, errAgain):
		return err
	}
	if fl.portal == nil {
		return r.query(ctx, first)
	}
	fl.portal.bind = first
	return r.executeAgain(ctx, fl.portal, fl.name, second, synced)
}

// interrupt makes the client's side stop reading, to settle.
func (r *relay) interrupt() { _ = r.conn.tls.SetReadDeadline(time.Unix(1, 0)) }

// uninterrupt lets the client's side read again, unless the session ends.
func (r *relay) uninterrupt() {
	_ = r.conn.tls.SetReadDeadline(time.Time{})
	if r.ending.Load() {
		_ = r.conn.tls.SetReadDeadline(time.Unix(1, 0))
	}
}

// interrupted reports whether reading the client failed because there is something to
// settle.
func (r *relay) interrupted(err error) bool {
	return r.launched.asserts != nil && !r.ending.Load() && errors.Is(err, os.ErrDeadlineExceeded)
}
