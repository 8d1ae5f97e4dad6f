package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// planned is the plan of a statement's rows as it was made last: it holds as long as the
// state of the target proves that the target makes the same of the same text.
type planned struct {
	proof   string
	results []byte   // format codes
	types   []uint32 // of parameters, as the client declared them: those of the result may follow
	plan    *rowPlan // nil: it returns no rows
	small   bool     // the last result was; guarded by relay.mu
}

// holds reports whether nothing was committed since the plan was made, by what f was
// verified under last.
func (p *planned) holds(f *sql.Facts) bool { return p.proof != "" && p.proof == pgsql.Proof(f) }

// fits reports whether the plan is for the rows of p, as long as it holds.
func (p *planned) fits(of *portal) bool {
	return p != nil && bytes.Equal(p.results, of.results) && slices.Equal(p.types, of.statement.types)
}

// maxPlans bounds the plans that a session remembers.
const maxPlans = 64

// plans are those of the session's statements. Texts that differ in constants alone share
// their definitions, and so a plan.
type plans map[any]*planned

func (p plans) of(f *sql.Facts) *planned {
	if f.Definitions == nil {
		return nil
	}
	return p[f.Definitions]
}

// note remembers a plan that was made under the state that f was verified under last.
func (p plans) note(f *sql.Facts, made *planned) {
	made.proof = pgsql.Proof(f)
	if f.Definitions == nil || made.proof == "" {
		return
	}
	if len(p) >= maxPlans {
		clear(p)
	}
	p[f.Definitions] = made
}

// assertable returns the plan and the assertion with which a statement can go to the
// target in one flight; nil if it cannot. That needs that nothing runs before it whose
// failure would undo more than itself: an assertion that fails fails its transaction.
func (r *relay) assertable(f *sql.Facts) (*planned, pgsql.Assertion) {
	planned := r.plans.of(f)
	if planned == nil || !planned.holds(f) || r.executes > 0 || !plain(f) {
		return nil, pgsql.Assertion{}
	}
	assertion, ok := r.catalog.Assert(f)
	if !ok || !r.check(func() bool { return r.status == idle && !r.skipping && !r.queue.pending() }) {
		return nil, pgsql.Assertion{}
	}
	return planned, assertion
}

// plain reports whether a command is made of statements that only read or write rows.
func plain(f *sql.Facts) bool {
	for _, n := range f.Nodes {
		switch n.Kind {
		case "Select", "Insert", "Update", "Delete":
		default:
			return false
		}
	}
	return f.Statements == 1
}

// assert adds an assertion to the open pipeline.
func (r *relay) assert(a pgsql.Assertion) (*inquiry, error) {
	m, kinds, err := r.assertion(a)
	if err != nil {
		return nil, err
	}
	// The outcome of the one before was taken before anything else was sent.
	q := r.assertedBy
	r.mu.Lock()
	q.again()
	q.asserts = true
	for _, kind := range kinds {
		r.queue.push(await{kind: kind, own: q})
	}
	r.queue.items[len(r.queue.items)-1].last = true
	r.overtaken()
	r.mu.Unlock()
	r.asking = m[:0]
	return q, r.toTarget.write(m)
}

// allRows is how an Execute of a portal as a whole ends.
var allRows = []byte{0, 0, 0, 0, 0}

// assertFirst sends a command, which execute writes, behind an assertion; ended says that
// the pipeline ends with it.
func (r *relay) assertFirst(k *known, a pgsql.Assertion, ended bool, execute func() error) (*inquiry, error) {
	if pgsql.Repeatable(k.facts) {
		if err := r.pin(); err != nil {
			return nil, err
		}
	}
	q, err := r.assert(a)
	if err == nil {
		err = execute()
	}
	if err == nil && ended {
		err = r.sync([]byte{msgSync, 0, 0, 0, 4})
	}
	return q, err
}

// asserted waits for the outcome of an assertion behind which the statement was sent. It
// returns errAgain if it failed: then nothing was executed, and the pipeline is over.
// errSkipped says that another message failed, of which the client was told.
func (r *relay) asserted(ctx context.Context, q *inquiry) error {
	err := r.inquire(ctx, q)
	if err == nil || errors.Is(err, errEnded) {
		return err
	}
	var f *failure
	if !errors.As(err, &f) || f.state != pgsql.DivisionByZero {
		r.questions.forget()
	}
	if f == nil {
		return err
	}
	r.catalog.Disturbed()
	if r.pipeline > 0 {
		if err := r.ownSync(ctx); err != nil {
			return err
		}
	}
	return errAgain
}

// executeAsserted sends an Execute behind an assertion, in one flight with everything that
// the client has sent of the pipeline. done says that the command was dealt with.
func (r *relay) executeAsserted(ctx context.Context, p *portal, c *command, name string, m []byte) (done bool, err error) {
	f := p.known.facts
	planned, assertion := r.assertable(f)
	// The Bind may have to be sent again: it has to be in the buffer still.
	if !planned.fits(p) || r.binds != 1 || p.epoch != r.epoch || p.bindAt != r.in.reads {
		return false, nil
	}
	c.planned, c.plan, c.columns = planned, planned.plan, planned.plan.columnsDescribed()
	synced, err := r.syncThere()
	if err != nil {
		return true, err
	}
	fl := launch{known: p.known, portal: p, command: c, name: name}
	execute := func() error { return r.executeVerified(p, c, m) }
	if snapshot, ok := r.provable(p.known, planned); ok && synced && bytes.HasSuffix(m, allRows) {
		fl.asserts, err = r.prove(snapshot, c, execute)
	} else {
		fl.asserts, err = r.assertFirst(p.known, assertion, synced, execute)
	}
	if err != nil {
		return true, err
	}
	if synced && r.settleLater(fl, p.bind, m) {
		return true, nil
	}
	return true, r.land(ctx, fl, p.bind, m, synced)
}

// executeAgain binds a portal anew, verifies and executes it, after the assertion failed
// with which it was sent. synced says that the client's Sync was sent too.
func (r *relay) executeAgain(ctx context.Context, p *portal, name string, m []byte, synced bool) error {
	// Its Bind lies where nobody writes before this is over.
	p.bindAt = boundKept
	defer func() { p.bind, p.bindAt = nil, 0 }()
	delete(r.portals, name)
	permit, err := r.authorizePortal(ctx, p)
	if err != nil {
		return r.refuse(err, synced)
	}
	p.epoch = r.epoch
	r.mu.Lock()
	p.outcome = unanswered
	r.told = false // of this pipeline
	r.queue.push(await{kind: awaitBind, portal: p, quiet: true})
	r.mu.Unlock()
	r.portals[name] = p
	r.pipeline++
	r.binds++
	c := newCommand(r.s, permit)
	c.masked = p.known.masked
	if err = r.forward(permit, p.bind); err == nil {
		err = r.establishPortal(ctx, name, p, c)
	}
	if err != nil {
		if c, err = r.establishAgain(ctx, name, p, c, err, synced); c == nil {
			return err
		}
	}
	if err := r.executeVerified(p, c, m); err != nil || !synced {
		return err
	}
	return r.sync([]byte{msgSync, 0, 0, 0, 4})
}

// queryAsserted is executeAsserted for a Query. Its result is described behind the
// assertion, and has to be what it was when the plan was made.
func (r *relay) queryAsserted(ctx context.Context, text, message []byte, k *known, c *command) (done bool, err error) {
	planned, assertion := r.assertable(k.facts)
	if planned == nil || len(planned.results) > 0 || len(planned.types) > 0 {
		return false, nil
	}
	c.planned, c.plan, c.columns = planned, planned.plan, planned.plan.columnsDescribed()
	r.mu.Lock()
	r.told = false // of this pipeline
	r.queue.push(await{kind: awaitParse, quiet: true})
	r.queue.push(await{kind: awaitBind, quiet: true})
	r.mu.Unlock()
	r.pipeline++
	if err := r.forward(c.permit, appendUnnamed(r.asking[:0], text)); err != nil {
		return true, err
	}
	execute := func() error {
		m := r.asking[:0]
		r.mu.Lock()
		if c.plan != nil {
			r.queue.push(await{kind: awaitDescribe, command: c})
			m = append(m, msgDescribe, 0, 0, 0, 6, 'P', 0)
		}
		r.queue.push(await{kind: awaitExecute, command: c})
		r.overtaken()
		r.mu.Unlock()
		return r.forward(c.permit, appendExecute(m, ""))
	}
	fl := launch{known: k}
	if snapshot, ok := r.provable(k, planned); ok {
		fl.asserts, err = r.prove(snapshot, c, execute)
	} else {
		fl.asserts, err = r.assertFirst(k, assertion, true, execute)
	}
	if err != nil {
		return true, err
	}
	if r.settleLater(fl, message, nil) {
		return true, nil
	}
	return true, r.land(ctx, fl, message, nil, true)
}

// appendUnnamed appends a Parse and a Bind of the unnamed statement and portal.
func appendUnnamed(m []byte, text []byte) []byte {
	at := len(m)
	m = append(append(append(beginMessage(m, msgParse), 0), text...), 0)
	m = endMessage(append(m, 0, 0), at)
	at = len(m)
	return endMessage(append(beginMessage(m, msgBind), 0, 0, 0, 0, 0, 0, 0, 0), at)
}

// syncThere takes the client's Sync if it is there, and reports that.
func (r *relay) syncThere() (bool, error) {
	if !r.in.ready() {
		return false, nil
	}
	kind, size, err := r.in.head()
	if err != nil || kind != msgSync || size != 0 {
		return false, nil //nolint:nilerr // it is looked at again in its turn
	}
	if _, err := r.in.whole(size); err != nil {
		return false, gone(err)
	}
	return true, nil
}
