package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// The target plans a statement when it binds it, and holds from then on what the statement
// reads: what is verified then holds for its rows. DECLARE, EXECUTE, CREATE TABLE AS and COPY
// it plans when it executes them, after they were verified. A table may become the child of
// another one in between, which no reader's lock prevents, and a name may come to mean
// something else. So what these say is held back until it is certain that they read what
// was verified, and nothing more: the target keeps its locks, and with them what it read
// stays as it is, to the end of the transaction.

// deferral is what is known of a command of that kind, and what is held back of its answer.
type deferral struct {
	facts    *sql.Facts
	pid      string          // of the backend
	key      string          // of an advisory lock, by which the backend of a COPY is known
	reach    map[string]bool // relations, by OID, that it may read
	before   []string        // relations that were locked before
	row      []byte          // a DataRow, as it goes to the client; nil if there is none
	followed bool            // by other statements of the same command
	end      []byte          // CommandComplete, PortalSuspended or CopyOutResponse
	// unproven says why it is not certain what a COPY reads, whose data are dropped.
	unproven error
}

// deferred reports whether the target plans a command only when it executes it.
func deferred(f *sql.Facts) bool {
	if f.Definitions == nil || len(f.Relations) == 0 || hasKind(f, "Explain") {
		return false
	}
	return hasKind(f, "Declare", "Execute") || len(f.Nodes) > 1 && hasKind(f, "Create") || copiesOut(f)
}

// copiesOut reports whether a command is COPY TO.
func copiesOut(f *sql.Facts) bool {
	return slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return n.Kind == "Copy" && n.Group == sql.GroupRead })
}

// deferralOf takes what was noted of a command that was verified just now; nil if the target
// does not plan it later.
func (r *relay) deferralOf(f *sql.Facts) *deferral {
	d := r.deferral
	r.deferral = nil
	if d == nil || d.facts != f {
		return nil
	}
	return d
}

// Relations that the backend has locked, in its database; temporary ones are its own. Of one
// that was made after the transaction's snapshot nothing more is known.
const (
	lockedRelations = `pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation` +
		` WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d` +
		` WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AND l.relation OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid` +
		` AND (c.oid IS NULL OR c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}'::pg_catalog."char"[]) AND c.relpersistence OPERATOR(pg_catalog.<>) 't')` +
		` AND l.granted AND l.pid OPERATOR(pg_catalog.=) `
	// reachQuery asks for the relations of a list and all their children, for those of the list in
	// schemas that may be used, and for what is locked.
	reachQuery = `WITH RECURSIVE kin(oid) AS (SELECT r.o FROM pg_catalog.unnest($1::pg_catalog.oid[]) r(o)` +
		` UNION SELECT i.inhrelid FROM kin k JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) k.oid)` +
		` SELECT 'pid', pg_catalog.pg_backend_pid()::pg_catalog.text UNION ALL SELECT 'reach', k.oid::pg_catalog.text FROM kin k` +
		` UNION ALL SELECT 'usable', c.oid::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])` +
		` AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')` +
		` UNION ALL SELECT 'locked', l.relation::pg_catalog.text FROM ` + lockedRelations + `pg_catalog.pg_backend_pid()`
	// keyQuery takes a lock that nobody else knows, to the end of the transaction.
	keyQuery = `SELECT pg_catalog.pg_try_advisory_xact_lock_shared($1::pg_catalog.int8)`
	// lockedQuery asks for what is locked now.
	lockedQuery = `SELECT l.relation::pg_catalog.text FROM ` + lockedRelations + `pg_catalog.pg_backend_pid()`
)

// deferFor notes what a command may read, and has the target hold what its names mean, before
// its definitions are verified.
func (r *relay) deferFor(ctx context.Context, f *sql.Facts) error {
	r.deferral = nil
	later := deferred(f)
	if !later && !hasKind(f, "Prepare", "Execute", "Copy", "Create", "Alter", "Refresh") || len(f.Relations) == 0 {
		return nil
	}
	oids := make([]string, 0, len(f.Relations))
	for _, rel := range f.Relations {
		oids = append(oids, decimalOID(rel.OID))
	}
	questions := []pgsql.Question{{SQL: reachQuery, Arguments: []string{"{" + strings.Join(oids, ",") + "}"}}}
	d, usable := &deferral{facts: f, reach: map[string]bool{}}, map[string]bool{}
	if later && copiesOut(f) {
		var random [8]byte
		if _, err := io.ReadFull(r.engine.c.Random, random[:]); err != nil {
			return fmt.Errorf("read randomness: %w", err)
		}
		d.key = strconv.FormatUint(binary.BigEndian.Uint64(random[:])>>1, 10)
		questions = append(questions, pgsql.Question{SQL: keyQuery, Arguments: []string{d.key}})
	}
	answers, err := r.Ask(ctx, questions...)
	if err != nil {
		return err
	}
	for _, row := range answers[0] {
		if len(row) != 2 || row[0] == nil || row[1] == nil {
			return errMessage
		}
		switch what, oid := *row[0], *row[1]; what {
		case "pid":
			d.pid = oid
		case "usable":
			usable[oid] = true
		case "locked":
			d.before = append(d.before, oid)
			d.reach[oid] = true
		default:
			d.reach[oid] = true
		}
	}
	if later {
		r.deferral = d
	}
	return r.holdRelations(f, usable)
}

// executeDeferred executes a command that the target plans now, and lets its answer go when
// it is certain what it read. p is nil for a Query. The answer to a command that fails with a
// failure stays held back; errSkipped says that the target failed it, and that the client
// was told.
func (r *relay) executeDeferred(ctx context.Context, d *deferral, c *command, k *known, p *portal, e *executeMessage) error {
	name, rows := string(e.portal), e.rows
	c.deferral = d
	first := rows
	if k.facts.Outputs != nil && !copiesOut(k.facts) {
		first = 1 // the target has made all of them by then
	}
	if p != nil {
		r.sqlNames.note(p.statement.text, k.facts)
	}
	r.mayCopy = c.copies
	r.pipeline++
	r.executes++
	r.push(await{kind: awaitExecute, command: c, portal: p, more: d.followed})
	err := r.forward(c.permit, appendExecuteRows(nil, name, first))
	r.forwarded(k.facts)
	if err != nil {
		return err
	}
	if copiesOut(k.facts) {
		return r.releaseCopy(ctx, c, d)
	}
	if err := r.proveRead(ctx, k, d); err != nil {
		if err = r.unestablished(ctx, err); errors.Is(err, errEnded) || errors.Is(err, errSkipped) {
			return err
		}
		// It was executed, and is not to be tried again: its transaction is undone.
		return failureOf(err, duringSession)
	}
	more := d.end != nil && d.end[0] == msgPortalSuspended && first != rows
	if err := r.release(c, d, more); err != nil || !more {
		return err
	}
	r.push(await{kind: awaitExecute, command: c, portal: p})
	return r.forward(c.permit, appendExecuteRows(nil, name, max(rows-first, 0)))
}

// shown ends a deferred command of which the answer is not shown. An error ends the session.
func (r *relay) shown(c *command, err error) error {
	if f := new(failure); errors.As(err, &f) {
		return r.abandon(c, f, false)
	}
	if errors.Is(err, errSkipped) {
		return nil
	}
	return err
}

// proveRead makes sure that a command which was executed read what was verified.
func (r *relay) proveRead(ctx context.Context, k *known, d *deferral) error {
	if hasKind(k.facts, "Execute") {
		// What a statement that writes has locked may be its triggers' business.
		return r.engine.c.Analyzer.Verify(ctx, k.facts, r.catalog)
	}
	answers, err := r.Ask(ctx, pgsql.Question{SQL: lockedQuery})
	if err != nil {
		return err
	}
	var locked []string
	for _, row := range answers[0] {
		if len(row) != 1 || row[0] == nil {
			return errMessage
		}
		locked = append(locked, *row[0])
	}
	err = d.covers(locked)
	if err != nil && hasKind(k.facts, "Declare") {
		// A function that a rule pins may have read something when the query was planned.
		return r.engine.c.Analyzer.Verify(ctx, k.facts, r.catalog)
	}
	return err
}

// covers fails if a relation is locked that the command was not to read, or if one that was
// locked before is not: then the answer is of something else.
func (d *deferral) covers(locked []string) error {
	now := map[string]bool{}
	for _, oid := range locked {
		now[oid] = true
		if !d.reach[oid] {
			return pgsql.ErrDefinitionChanged
		}
	}
	for _, oid := range d.before {
		if !now[oid] {
			return pgsql.ErrDefinitionChanged
		}
	}
	return nil
}

// release lets what was held back go to the client. more says that further rows are asked
// for, so that the end of these is none.
func (r *relay) release(c *command, d *deferral, more bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.deferral, r.current = nil, c
	if d.row != nil {
		if more {
			c.shown = 1
		}
		if err := r.show(c, d.row); err != nil {
			return err
		}
	}
	if more {
		return nil
	}
	if d.end == nil {
		return r.targetError("an answer out of its turn")
	}
	if err := r.completed(c, true, !d.followed, d.end); err != nil {
		return err
	}
	return r.out.flush()
}

// releaseCopy waits for the beginning of COPY TO STDOUT, by which the target has planned it,
// and asks by another connection what it reads: this one is busy until the data are read.
func (r *relay) releaseCopy(ctx context.Context, c *command, d *deferral) error {
	if err := r.until(ctx, func() bool { return d.end != nil || c.done }); err != nil {
		return err
	}
	if r.check(func() bool { return c.done }) {
		return errSkipped
	}
	err := r.lookAt(ctx, d)
	if ctx.Err() != nil {
		return errEnded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.unproven = err; err == nil {
		c.deferral = nil
		err = r.out.write(d.end)
	} else {
		err = nil // the target may have failed it by now, and so have let go of what it read
	}
	close(r.paused)
	r.paused = nil
	return err
}

// unprovenEnd ends a session in which it was not certain what a command has read.
func unprovenEnd(why error) error {
	return fmt.Errorf("%w: %w", &sessionEnd{&policy.Refusal{Code: policy.CodeDefinitionChange,
		Message: "it could not be made certain what the command reads, so that nothing of it was shown and the session ended",
		Hint:    "connect again and send the command again"}}, why)
}

// lookAt asks for the locks of the session's backend by a connection of the gate's own.
func (r *relay) lookAt(ctx context.Context, d *deferral) error {
	ctx, cancel := context.WithTimeout(ctx, r.engine.c.Limits.SignIn)
	defer cancel()
	login, err := r.s.Login(ctx)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(d.pid)
	if err != nil {
		return errMessage
	}
	return r.engine.roles.do(ctx, r.s, login, r.s.Admission().Request.Database, func(q *admins) error {
		rows, err := q.query(ctx, "SELECT 'key' FROM pg_catalog.pg_locks l WHERE l.pid = "+strconv.Itoa(pid)+
			" AND l.locktype = 'advisory' AND (l.classid::int8 << 32 | l.objid::int8) = "+d.key+
			" UNION ALL SELECT coalesce(string_agg(l.relation::text, ' '), '') FROM "+lockedRelations+strconv.Itoa(pid))
		if err != nil {
			return err
		}
		known, locked := false, []string(nil)
		for _, row := range rows {
			if len(row) != 1 {
				return errMessage
			}
			if row[0] == "key" {
				known = true
				continue
			}
			locked = strings.Fields(row[0])
		}
		if !known {
			return errors.New("the backend is not found among those that hold locks")
		}
		return d.covers(locked)
	})
}

// pause waits, on the target's side, until what is held back may go on. mu is held, and
// released while it waits.
func (r *relay) pause(ctx context.Context) error {
	paused := r.paused
	if paused == nil {
		return nil
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	r.progressed()
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return errEnded
	}
}

// countedTo is a CommandComplete whose count has n more.
func countedTo(m []byte, n int) []byte {
	tag := m[headSize : len(m)-1]
	at := bytes.LastIndexByte(tag, ' ') + 1
	count, err := strconv.Atoi(string(tag[at:]))
	if err != nil {
		return m
	}
	out := append(beginMessage(nil, msgCommandComplete), tag[:at]...)
	return endMessage(append(strconv.AppendInt(out, int64(count+n), 10), 0), 0)
}

func appendExecuteRows(m []byte, portal string, rows int32) []byte {
	at := len(m)
	m = appendString(beginMessage(m, msgExecute), portal)
	return endMessage(binary.BigEndian.AppendUint32(m, uint32(rows)), at) //nolint:gosec // the wire's own conversion
}
