package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/cardea-dev/cardea/proxy/policy"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// errSeveral is the target's own answer to a Parse of several statements.
var errSeveral = &failure{state: "42601", message: "cannot insert multiple commands into a prepared statement"}

// parse handles a Parse. The target gets it if the policy does not deny the statement.
func (r *relay) parse(ctx context.Context, m []byte) error {
	var p parseMessage
	if err := p.decode(m[headSize:]); err != nil {
		return err
	}
	if r.owns(p.name) {
		return r.refuse(errReserved, false)
	}
	name := string(p.name)
	if _, again := r.statements[name]; !again && len(r.statements) >= r.engine.c.Limits.Statements {
		return r.refuse(&failure{state: stateLimit, message: string(policy.CodeLimit) + ": too many prepared statements"}, false)
	}
	// Whatever becomes of it, the target drops its unnamed statement first.
	if name == "" {
		delete(r.statements, name)
	}
	k, err := r.analyze(ctx, p.text)
	if err == nil {
		err = r.admitParse(name, k)
	}
	if err == nil && k.masked && k.facts.Statements > 1 {
		err = errSeveral
	}
	if err != nil {
		return r.refuse(r.refused(p.text, nil, err), false)
	}
	st := &statement{name: name, text: bytes.Clone(p.text), known: k, epoch: r.epoch, tunings: r.tunings}
	for i := 0; i < len(p.types); i += 4 {
		st.types = append(st.types, binary.BigEndian.Uint32(p.types[i:]))
	}
	if err := r.screen(ctx, st, nil); err != nil {
		return r.refuse(err, false)
	}
	r.sqlNames.note(st.text, k.facts)
	r.statements[name] = st
	r.unrecorded = append(r.unrecorded, st)
	r.pipeline++
	r.push(await{kind: awaitParse, statement: st})
	return r.toTarget.write(m)
}

func (r *relay) admitParse(name string, k *known) error {
	if name != "" && r.sqlNames.prepared {
		return &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "a named statement is refused in a session that has used PREPARE",
			Hint: "use one of the two in a session"}
	}
	if err := r.sqlNames.admit(r, k.facts); err != nil {
		return err
	}
	if name != "" && hasKind(k.facts, "Prepare") {
		return &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "PREPARE is refused as a named statement", Hint: "send it as a query"}
	}
	return nil
}

// screen refuses a statement that the policy denies, before the target sees it. One that
// needs approval may be prepared; what gives it its meaning is asked for while no lock of
// it is held, as are the rows that it is about. b holds its parameters, if they are known.
func (r *relay) screen(ctx context.Context, st *statement, b *bindMessage) error {
	if err := r.comparable(st, st.known); err != nil {
		return err
	}
	cmd := &policy.Command{Engine: Name, Text: st.text, SQL: st.known.facts, Context: r.base, InTransaction: r.inTransaction()}
	d := st.known.admission.Rules.Decide(cmd)
	switch d.Action {
	case policy.Allow:
		st.meaning = nil
		return nil
	case policy.RequireApproval:
		if r.pipeline > 0 {
			return nil
		}
		var err error
		if st.meaning, err = r.ask(ctx); err != nil {
			return r.refused(st.text, st.known, err)
		}
		st.estimated = r.estimate(ctx, st.text, st.known.facts, r.types(st), b)
		st.meaningEpoch = r.epoch
		return nil
	default:
		return r.s.Deny(cmd, d)
	}
}

// comparable refuses parameters that are declared with a type by which a masked column would
// be compared with less than its value.
func (r *relay) comparable(st *statement, k *known) error {
	if pgsql.Fits(k.facts, st.types) {
		return nil
	}
	return r.refused(st.text, k, inexact())
}

func inexact() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeMaskedColumn,
		Message: "the command is denied to keep masked columns masked: a parameter that is compared with a masked column has a type other than the column's",
		Hint:    "declare the parameter with the column's type, or leave its type to the server"}
}

// bind handles a Bind.
func (r *relay) bind(ctx context.Context, m []byte) error {
	var b bindMessage
	if err := b.decode(m[headSize:]); err != nil {
		return err
	}
	name := string(b.portal)
	st, err := r.statement(ctx, string(b.statement))
	if err != nil {
		return r.refuse(err, false)
	}
	if err := r.renew(ctx, st, &b); err != nil {
		return r.refuse(err, false)
	}
	if name != "" && r.sqlNames.cursors {
		return r.refuse(r.s.Refuse(&policy.Command{Engine: Name, Text: st.text, SQL: st.known.facts, Context: r.base}, &policy.Refusal{
			Code: policy.CodeUnknownCommand, Message: "a named portal is refused in a transaction that has used DECLARE", Hint: "use one of the two"}), false)
	}
	if _, again := r.portals[name]; !again && len(r.portals) >= r.engine.c.Limits.Statements {
		return r.refuse(&failure{state: stateLimit, message: string(policy.CodeLimit) + ": too many portals"}, false)
	}
	p := &portal{statement: st, parameters: b.parameters(r.types(st)), results: bytes.Clone(b.results), known: st.known, epoch: r.epoch, paths: r.paths, tunings: r.tunings,
		bind: m, bindAt: r.in.reads, estimated: st.estimated}
	st.estimated = nil // it is of these parameters
	r.portals[name], r.bound = p, p
	r.pipeline++
	r.binds++
	r.push(await{kind: awaitBind, portal: p})
	return r.toTarget.write(m)
}

// renew renews what is known of a statement if the policy is another one by now, or if
// what the target made of it is not what is known. The target resolves the names of a
// text when it parses it and not again with every change of what they mean, so that a
// later analysis holds only for a later Parse, unless it was told the same.
func (r *relay) renew(ctx context.Context, st *statement, b *bindMessage) error {
	stale := st.known.stale(r.s.Admission())
	if !stale && r.parsedForAnother(st, b) {
		st.outdated = true
	}
	if !st.outdated && !stale && (st.meaning == nil || st.meaningEpoch == r.epoch) {
		return nil
	}
	before := st.known
	if st.outdated || stale {
		k, err := r.analyze(ctx, st.text)
		if err != nil {
			return r.refused(st.text, nil, err)
		}
		st.outdated = st.outdated || k.masked && !pgsql.SameDefinitions(before.facts, k.facts)
		st.known = k
	}
	if err := r.screen(ctx, st, b); err != nil {
		return err
	}
	if !st.outdated {
		return nil
	}
	return r.reparse(st)
}

// reparse makes the target parse a statement again, unseen by the client, whose parameters
// are of the types that it was told.
func (r *relay) reparse(st *statement) error {
	st.types = r.types(st)
	m := beginMessage(nil, msgClose)
	m = endMessage(appendString(append(m, 'S'), st.name), 0)
	at := len(m)
	m = appendString(appendString(beginMessage(m, msgParse), st.name), string(st.text))
	m = binary.BigEndian.AppendUint16(m, uint16(len(st.types))) //nolint:gosec // as many as the client's Parse had
	for _, t := range st.types {
		m = binary.BigEndian.AppendUint32(m, t)
	}
	m = endMessage(m, at)
	r.mu.Lock()
	r.queue.push(await{kind: awaitClose, quiet: true})
	r.queue.push(await{kind: awaitParse, quiet: true, statement: st})
	st.outcome = unanswered
	r.mu.Unlock()
	st.epoch, st.tunings, st.meaning, st.outdated = r.epoch, r.tunings, nil, false
	r.pipeline++
	return r.toTarget.write(m)
}

// types returns the parameter types that are known of a statement.
func (r *relay) types(st *statement) []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.parameters != nil {
		return st.parameters
	}
	return st.types
}

// parameters returns the bound values.
func (m *bindMessage) parameters(types []uint32) []policy.Parameter {
	if m.values == 0 {
		return nil
	}
	list := make([]policy.Parameter, m.values)
	rest := body{b: m.rest}
	for i := range list {
		p := &list[i]
		if i < len(types) {
			p.Type = types[i]
		}
		size := rest.int32()
		if size < 0 {
			p.Null = true
			continue
		}
		value := rest.take(int(size))
		if p.Binary = format(m.formats, i); p.Binary {
			p.Text = hex.EncodeToString(value)
		} else {
			p.Text = string(value)
		}
	}
	return list
}

// statement returns a prepared statement that the target has, or will have by the time it
// reads what comes next.
func (r *relay) statement(ctx context.Context, name string) (*statement, error) {
	st := r.statements[name]
	if st == nil {
		return nil, &failure{state: stateNoStatement, message: fmt.Sprintf("prepared statement %q does not exist", name)}
	}
	// Within a pipeline a failure drops what follows; beyond its end it does not.
	if st.epoch != r.epoch {
		if err := r.until(ctx, func() bool { return st.outcome != unanswered }); err != nil {
			return nil, err
		}
	}
	if r.check(func() bool { return st.outcome == notMade }) {
		delete(r.statements, name)
		return r.statement(ctx, name)
	}
	return st, nil
}

// portal is the same for portals.
func (r *relay) portal(ctx context.Context, name string) (*portal, error) {
	p := r.portals[name]
	if p == nil {
		return nil, &failure{state: stateNoPortal, message: fmt.Sprintf("portal %q does not exist", name)}
	}
	if p.epoch != r.epoch {
		if err := r.until(ctx, func() bool { return p.outcome != unanswered }); err != nil {
			return nil, err
		}
	}
	if r.check(func() bool { return p.outcome == notMade || p.epoch < r.over }) {
		delete(r.portals, name)
		return r.portal(ctx, name)
	}
	return p, nil
}

// describe handles a Describe.
func (r *relay) describe(ctx context.Context, m []byte) error {
	var d nameMessage
	if err := d.decode(m[headSize:]); err != nil {
		return err
	}
	a := await{kind: awaitDescribe}
	var err error
	if d.kind == 'S' {
		a.statement, err = r.statement(ctx, string(d.name))
	} else if _, own := r.portals[string(d.name)]; !own && r.sqlNames.cursors && !r.owns(d.name) {
		// A cursor of DECLARE is a portal to the protocol; its columns are no secret.
		a.portal = new(portal)
	} else {
		a.portal, err = r.portal(ctx, string(d.name))
	}
	if err != nil {
		return r.refuse(err, false)
	}
	r.pipeline++
	r.push(a)
	return r.toTarget.write(m)
}

// close handles a Close. To close what is not there is no error.
func (r *relay) close(m []byte) error {
	var c nameMessage
	if err := c.decode(m[headSize:]); err != nil {
		return err
	}
	if r.owns(c.name) {
		return r.refuse(errReserved, false)
	}
	if c.kind == 'S' {
		delete(r.statements, string(c.name))
	} else {
		delete(r.portals, string(c.name))
	}
	r.pipeline++
	r.push(await{kind: awaitClose})
	return r.toTarget.write(m)
}
