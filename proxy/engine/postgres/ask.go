package postgres

import (
	"context"
	"encoding/binary"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// questions are the gate's own prepared statements on the target. Their names are random,
// but a client can read them in pg_prepared_statements: whatever might have put another
// statement in the place of one makes the gate prepare them anew under other names.
type questions struct {
	names   map[string]string // by text
	old     []string          // to be closed
	version string            // of the policy under which they were prepared
}

// forget gives the statements up.
func (q *questions) forget() {
	for _, name := range q.names {
		q.old = append(q.old, name)
	}
	clear(q.names)
}

// owns reports whether a name of the protocol's is one of the gate's.
func (r *relay) owns(name []byte) bool {
	if strings.HasPrefix(string(name), r.secret) {
		return true
	}
	for _, own := range r.questions.names {
		if string(name) == own {
			return true
		}
	}
	return false
}

var errReserved = &failure{state: stateNoStatement, message: "the name belongs to the gate"}

// Ask implements the analyser's Querier. All questions go in one flight, in the open
// pipeline if there is one.
func (r *relay) Ask(ctx context.Context, list ...pgsql.Question) ([][][]*string, error) {
	if err := r.mayAsk(ctx); err != nil {
		return nil, err
	}
	m, kinds, err := r.flight(list)
	if err != nil {
		return nil, err
	}
	q, err := r.inquireBy(ctx, m, kinds)
	if err == nil && len(q.ends) != len(list) {
		err = errMessage
	}
	if err != nil {
		r.questions.forget()
		return nil, err
	}
	answers, from := make([][][]*string, 0, len(list)), 0
	for _, end := range q.ends {
		answers = append(answers, q.rows[from:end])
		from = end
	}
	return answers, nil
}

// flight is the messages that ask questions, and the answers to be awaited.
func (r *relay) flight(list []pgsql.Question) ([]byte, []awaitKind, error) {
	m, kinds, err := r.prepare(list)
	if err != nil {
		return nil, nil, err
	}
	for _, q := range list {
		m = r.appendQuestion(m, r.secret, &q)
		m = appendClose(m, 'P', r.secret)
		kinds = append(kinds, awaitBind, awaitExecute, awaitClose)
	}
	r.kinds = kinds
	return m, kinds, nil
}

// ForgetQuestion implements the analyser's Forgetter.
func (r *relay) ForgetQuestion(text string) {
	if name := r.questions.names[text]; name != "" {
		r.questions.old = append(r.questions.old, name)
		delete(r.questions.names, text)
	}
}

// assertion is the messages that ask an assertion. Its portals, of other names, are left to
// the end of the transaction.
func (r *relay) assertion(a pgsql.Assertion) ([]byte, []awaitKind, error) {
	list := []pgsql.Question{a}
	if a.Before != nil {
		list = []pgsql.Question{*a.Before, a}
	}
	m, kinds, err := r.prepare(list)
	if err != nil {
		return nil, nil, err
	}
	if a.Before != nil {
		m = r.appendQuestion(m, r.assertingFirst, a.Before)
		kinds = append(kinds, awaitBind, awaitExecute)
	}
	kinds = append(kinds, awaitBind, awaitExecute)
	r.kinds = kinds
	return r.appendQuestion(m, r.asserting, &a), kinds, nil
}

// prepare is the messages that prepare those questions which are not yet.
func (r *relay) prepare(list []pgsql.Question) ([]byte, []awaitKind, error) {
	own := &r.questions
	if version := r.s.Admission().Version; own.names == nil || own.version != version {
		own.forget()
		own.names, own.version = map[string]string{}, version
	}
	m, kinds := r.asking[:0], r.kinds[:0]
	for _, name := range own.old {
		m, kinds = appendClose(m, 'S', name), append(kinds, awaitClose)
	}
	own.old = own.old[:0]
	for _, q := range list {
		if own.names[q.SQL] != "" {
			continue
		}
		name, err := r.engine.name()
		if err != nil {
			return nil, nil, err
		}
		own.names[q.SQL] = name
		at := len(m)
		m = appendString(appendString(beginMessage(m, msgParse), name), q.SQL)
		m, kinds = endMessage(append(m, 0, 0), at), append(kinds, awaitParse)
	}
	return m, kinds, nil
}

// appendQuestion appends the messages that run a prepared question. The portal's name is
// the gate's own: the unnamed one is the client's.
func (r *relay) appendQuestion(m []byte, portal string, q *pgsql.Question) []byte {
	at := len(m)
	m = appendString(appendString(beginMessage(m, msgBind), portal), r.questions.names[q.SQL])
	m = append(m, 0, 0)
	m = binary.BigEndian.AppendUint16(m, uint16(len(q.Arguments))) //nolint:gosec // a handful
	for _, a := range q.Arguments {
		m = append(binary.BigEndian.AppendUint32(m, uint32(len(a))), a...) //nolint:gosec // bounded by the statement
	}
	return appendExecute(endMessage(append(m, 0, 0), at), portal)
}

func appendClose(m []byte, kind byte, name string) []byte {
	at := len(m)
	m = append(beginMessage(m, msgClose), kind)
	return endMessage(appendString(m, name), at)
}

// forwarded notes what a command that went to the target may have changed for the gate.
func (r *relay) forwarded(f *sql.Facts) {
	if !pgsql.Repeatable(f) {
		r.catalog.Settled(false)
	}
	r.wrote = r.wrote || pgsql.Writes(f)
	r.noteTuned(f)
	switch {
	case f.SetsPath:
		r.catalog.PathChanged()
		r.paths++
	case r.catalog.OwnPath() && hasKind(f, "Reset", "Discard", "Commit", "Rollback"):
		r.paths++ // it may be what it was before
	}
	if mayUnpin(f) {
		r.mu.Lock()
		r.pinned = pinNone
		r.mu.Unlock()
	}
	if hasKind(f, "Prepare", "Execute", "Deallocate", "Discard") {
		r.questions.forget()
	}
	for _, n := range f.Nodes {
		switch n.Group {
		case sql.GroupRead, sql.GroupWrite:
			r.redefined = r.redefined || strings.HasPrefix(string(n.Kind), "Create")
		case sql.GroupSession:
			// A setting changes no definition; what the path does the catalog was told.
			r.redefined = r.redefined || n.Kind != "Set" && n.Kind != "Reset" && n.Kind != "Select"
		case sql.GroupTransaction:
			// The end of a transaction, or a return to a savepoint, may undo definitions.
		default:
			r.redefined = true
		}
		if r.redefined {
			r.catalog.Forget()
		}
	}
}
