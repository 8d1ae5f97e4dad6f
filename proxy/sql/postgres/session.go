package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// explainOptions are the options of EXPLAIN that show nothing of rows.
var explainOptions = words("verbose costs settings format summary generic_plan buffers analyze timing wal memory")

func (t *tracer) explain(m *pgquery.ExplainStmt) {
	analyze := false
	for _, n := range m.Options {
		d := n.GetDefElem()
		if d == nil || !explainOptions[d.Defname] {
			t.deny("an option of EXPLAIN is not known")
			return
		}
		analyze = analyze || d.Defname == "analyze"
	}
	switch inner := unwrap(m.Query).(type) {
	case *pgquery.ExecuteStmt:
		t.execute(inner, &scope{})
	default:
		t.statement(inner, &scope{})
	}
	if analyze {
		t.noMaskedRelation("EXPLAIN ANALYZE")
	}
}

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

// createTable allows a temporary table of plain columns: it holds what the client puts in.
func (t *tracer) createTable(m *pgquery.CreateStmt, s *scope) {
	if !t.temporaryName(m.Relation) {
		return
	}
	if len(m.InhRelations) > 0 || m.OfTypename != nil || m.Partbound != nil || m.Partspec != nil || m.AccessMethod != "" || len(m.Constraints) > 0 {
		t.deny("a table is made from another table or type")
		return
	}
	for _, n := range m.TableElts {
		switch e := unwrap(n).(type) {
		case *pgquery.ColumnDef:
			t.columnDefinition(e, s)
		case *pgquery.Constraint:
			t.constraint(e, s)
		default:
			t.deny("a table is made from another table")
		}
	}
}

func (t *tracer) columnDefinition(c *pgquery.ColumnDef, s *scope) {
	t.serialOrType(c.TypeName)
	if c.RawDefault != nil || len(c.Fdwoptions) > 0 {
		t.deny("a column is defined in a way that is not known")
	}
	for _, n := range c.Constraints {
		t.constraint(n.GetConstraint(), s)
	}
}

func (t *tracer) serialOrType(n *pgquery.TypeName) {
	if name := names(n.GetNames()); len(name) == 1 && (name[0] == "serial" || name[0] == "bigserial" || name[0] == "smallserial") {
		return
	}
	t.typeName(n)
}

func (t *tracer) constraint(c *pgquery.Constraint, s *scope) {
	switch c.GetContype() {
	case pgquery.ConstrType_CONSTR_NULL, pgquery.ConstrType_CONSTR_NOTNULL, pgquery.ConstrType_CONSTR_PRIMARY, pgquery.ConstrType_CONSTR_UNIQUE:
	case pgquery.ConstrType_CONSTR_DEFAULT:
		t.use(c.RawExpr, s, "DEFAULT")
	default:
		t.deny("a table has a constraint other than NOT NULL, PRIMARY KEY, UNIQUE and DEFAULT")
	}
}

// temporaryName allows to create temporary relations alone: the name means this session's
// own from then on, and is resolved anew for each statement.
func (t *tracer) temporaryName(r *pgquery.RangeVar) bool {
	if r == nil || r.Relpersistence != "t" || r.Schemaname != "" && r.Schemaname != "pg_temp" {
		t.deny("a relation is created; on a target with masks only temporary tables can be")
		return false
	}
	return true
}

func (t *tracer) createTableAs(m *pgquery.CreateTableAsStmt, s *scope) {
	if m.Objtype != pgquery.ObjectType_OBJECT_TABLE || m.Into == nil {
		t.deny("a materialized view is created")
		return
	}
	if !t.temporaryName(m.Into.Rel) {
		return
	}
	if m.Into.AccessMethod != "" {
		t.deny("a table is made with an access method")
	}
	t.unmasked(t.statement(unwrap(m.Query), s), "CREATE TABLE AS")
}

// drop allows to drop the session's own temporary tables.
func (t *tracer) drop(m *pgquery.DropStmt) {
	for _, o := range m.Objects {
		name := names(o.GetList().GetItems())
		var r *relation
		switch len(name) {
		case 1:
			r = t.names.find("", name[0])
		case 2:
			r = t.names.find(name[0], name[1])
		}
		if m.RemoveType != pgquery.ObjectType_OBJECT_TABLE || r == nil || !r.temporary || r.schema != t.names.temp || m.Behavior == pgquery.DropBehavior_DROP_CASCADE {
			t.deny("a definition is dropped; on a target with masks only temporary tables can be")
			return
		}
		r.written = true
		t.used[r] = true
	}
}
