package postgres

import (
	"github.com/cardea-dev/cardea/proxy/recording"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// failedCommand handles an ErrorResponse: it is for the answer that is due, and in the
// extended protocol everything up to the next Sync falls with it.
func (r *relay) failedCommand(m []byte) error {
	m, err := r.maskedWords(m)
	if err != nil {
		return err
	}
	f := r.failureFrom(m)
	h := r.queue.head()
	if h == nil {
		// The target ends the session on its own account.
		r.farewell = true
		return r.tell(f, m, "FATAL")
	}
	r.copyIn = false
	if r.pinned == pinAsked {
		r.pinned = pinNone
	}
	if taken, err := r.failedOwn(h, f, m); taken {
		return err
	}
	r.told = true
	if h.command != nil && !h.command.done {
		h.command.state, h.command.fault = f.state, f.message
		if h.command.held {
			h.command.drop()
		}
		if err := r.s.Respond(h.command.permit, h.command.final()); err != nil {
			return err
		}
		r.current = nil
	}
	switch {
	case h.statement != nil && h.kind == awaitParse:
		h.statement.outcome = notMade
	case h.portal != nil && h.kind == awaitBind:
		h.portal.outcome = notMade
	}
	if err := r.tell(f, m, "ERROR"); err != nil {
		return err
	}
	if h.kind == awaitQuery || h.kind == awaitSync {
		return nil
	}
	return r.fall(nil)
}

// failedOwn handles the failure of what the gate itself has the target do. It does not take
// others.
func (r *relay) failedOwn(h *await, f *failure, m []byte) (taken bool, err error) {
	switch {
	case h.kind == awaitProof: // its ReadyForQuery follows
		h.own.err, h.command.planned.small = errUnproven, false
		return true, nil
	case failsUnproven(h, f, m):
		h.command.planned.small = false
		return true, r.fall(r.proof.by)
	case h.kind == awaitFailure:
		return true, r.fall(nil)
	case h.own != nil && h.own.asserts && h.kind == awaitExecute && f.state != pgsql.DivisionByZero:
		// Something else ended it, such as the client's cancel request: that is the answer.
		r.told = true
		if err := r.tell(f, m, "ERROR"); err != nil {
			return true, err
		}
		return true, r.fall(nil)
	case h.own != nil:
		h.own.err = f
		return true, r.fall(h.own)
	}
	return false, nil
}

// fall drops the answers up to the next Sync, which the target will not give. The inquiry
// whose answer failed has its error already.
func (r *relay) fall(failed *inquiry) error {
	why := "not executed: an earlier message of the pipeline failed"
	if failed != nil && failed.asserts {
		why = "not executed: something was committed since the definitions were read, which are verified now"
	}
	if failed != nil && failed.proves {
		why = unshown
	}
	for h := r.queue.head(); h != nil && h.kind != awaitSync; h = r.queue.head() {
		switch {
		case h.command != nil && h.kind == awaitExecute && !h.command.done:
			h.command.done = true
			err := r.s.Respond(h.command.permit, &recording.Response{Final: true, Error: why})
			if err != nil {
				return err
			}
		case h.kind == awaitParse && h.statement != nil:
			h.statement.outcome = notMade
		case h.kind == awaitBind && h.portal != nil:
			h.portal.outcome = notMade
		case h.kind == awaitProof && h.own != failed:
			r.end(h.own, errSkipped)
		case h.own != nil && h.own != failed:
			h.own.finish(errSkipped)
		}
		r.queue.pop()
	}
	// Beyond a Sync that the target will read nothing is dropped.
	r.skipping = r.queue.len() == 0
	if failed != nil {
		r.fallen(failed)
	}
	return nil
}

// fallen ends the inquiry with whose answer a pipeline failed, or begins the pipeline anew.
func (r *relay) fallen(failed *inquiry) {
	if failed.proves {
		r.end(failed, errUnproven)
		return
	}
	if failed.deferred {
		failed.interrupts = true
		r.interrupt()
	}
	if h := r.queue.head(); h != nil && failed.asserts {
		// The pipeline begins anew: its Sync is for the gate.
		h.own = failed
	}
	// An inquiry with a Sync of its own ends with that.
	if h := r.queue.head(); h == nil || h.own != failed {
		failed.finish(nil)
	}
}
