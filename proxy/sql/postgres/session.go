package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

func (t *tracer) parameterTypes(list []*pgquery.Node) {
	for _, n := range list {
		t.typeName(n.GetTypeName())
	}
}

// prepares establishes the statement of PREPARE. Its parameters are its own, not those of
// the protocol.
func (t *tracer) prepares(m *pgquery.PrepareStmt, s *scope) []column {
	inner := unwrap(m.Query)
	t.declared = m.Argtypes
	out := t.statement(inner, s)
	t.settleCompared(inner)
	t.declared, t.compared = nil, nil
	return out
}

// execute establishes EXECUTE by the text that the backend has of the prepared statement.
// The server executes what it resolved the names to before, or resolves them now, so that
// both have to be masked alike.
func (t *tracer) execute(m *pgquery.ExecuteStmt, s *scope) ([]column, bool) {
	for _, n := range m.Params {
		t.use(n, s, "EXECUTE")
	}
	p, ok := t.sub[m].(*pgquery.PrepareStmt)
	if !ok || p.Name != m.Name {
		t.deny("EXECUTE names a statement that PREPARE did not make")
		return nil, false
	}
	inner := unwrap(p.Query)
	out := t.prepares(p, s)
	if now := outputs(out); !slices.Equal(now, t.prepared.outputs) {
		t.deny("the names in the prepared statement mean something else now; prepare it again")
	}
	return out, returnsRows(inner)
}

func returnsRows(m any) bool {
	switch m := m.(type) {
	case *pgquery.SelectStmt:
		return true
	case interface{ GetReturningList() []*pgquery.Node }:
		return len(m.GetReturningList()) > 0
	}
	return false
}

// fetch establishes FETCH by what was verified when the cursor was declared. One that the
// protocol made is not fetched from by SQL, where its plan of masks is not known.
func (t *tracer) fetch(m *pgquery.FetchStmt) ([]column, bool) {
	if t.made == nil {
		t.deny("FETCH names a cursor that DECLARE did not make")
	}
	return nil, !m.Ismove
}
