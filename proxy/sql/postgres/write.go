package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// target establishes the table that a statement changes.
func (t *tracer) target(m *pgquery.RangeVar) (*relation, *source) {
	r := t.relation(m)
	if r == nil {
		return nil, nil
	}
	if r.system {
		t.deny("a system catalog is changed")
		return nil, nil
	}
	if r.rules {
		t.deny("the table " + quoteIdent(r.name) + " has rules, which rewrite what is sent")
		return nil, nil
	}
	r.written = true
	src := &source{name: m.Relname, schema: r.schema, table: r.name, columns: r.columns}
	if m.Alias != nil {
		src.name, src.schema = m.Alias.Aliasname, ""
	}
	return r, src
}

const outcomeTells = "whether it succeeds would tell of masked values"

// denyTelling refuses a write by which masked values would be told.
func (t *tracer) denyTelling(r *relation, name, why string) {
	if !t.violated() {
		t.fault.Advice = "leave the column out; or have an administrator set predicates: Equality in the rule that masks, by which conflicts of unique columns may be seen"
	}
	t.denyColumn(column{mask: 1, origin: r.schema + "." + r.name + "." + name}, why)
}

// assign checks a value that is written to a column. To a masked one only a constant or a
// parameter may be written: it came from the client.
func (t *tracer) assign(r *relation, name string, value *pgquery.Node, s *scope) {
	cs := columnsNamed(r.columns, name)
	if len(cs) != 1 {
		t.noColumn(name, -1)
		return
	}
	if unwrapped := value.GetSetToDefault(); unwrapped == nil && r.telling[name] {
		t.denyTelling(r, name, "cannot be written: "+outcomeTells)
		return
	}
	if cs[0].mask == 0 && !cs[0].secret {
		t.use(value, s, "an assigned value")
		return
	}
	t.sensitive = true
	if t.proposed(cs[0], value, s) {
		return
	}
	if !isConstant(value) {
		t.denyColumn(cs[0], "is assigned an expression; only a constant or a parameter can be")
	}
	t.use(value, s, "an assigned value")
}

// excluded is the name of the row that INSERT proposed and that conflicts.
const excluded = "excluded"

// proposed reports whether value is what the INSERT around proposed for the same column:
// that came from the client, and stays behind the same mask.
func (t *tracer) proposed(to column, value *pgquery.Node, s *scope) bool {
	ref := value.GetColumnRef()
	name := names(ref.GetFields())
	if len(name) != 2 || len(ref.Fields) != 2 || name[0] != excluded || name[1] != to.name || len(s.sources) != 1 || s.sources[0].name != excluded {
		return false
	}
	for _, src := range s.outer.sourcesNamed(name[:1]) {
		t.deny("the name EXCLUDED stands for " + quoteIdent(src.table) + " too")
	}
	return true
}

// isConstant reports whether an expression is a constant, a parameter or a cast of one.
func isConstant(n *pgquery.Node) bool {
	for range 4 {
		cast := n.GetTypeCast()
		if cast == nil {
			break
		}
		n = cast.Arg
	}
	return n.GetAConst() != nil || n.GetParamRef() != nil || n.GetSetToDefault() != nil
}

func (t *tracer) insert(m *pgquery.InsertStmt, outer *scope) []column {
	s := t.with(m.WithClause, outer)
	r, src := t.target(m.Relation)
	if r == nil {
		return nil
	}
	columns, ok := t.insertedColumns(m.Cols, r)
	if !ok {
		return nil
	}
	t.insertSource(m.SelectStmt.GetSelectStmt(), r, columns, s)
	level := s.inner()
	t.add(level, src)
	t.conflict(m.OnConflictClause, r, level)
	return t.returning(m.ReturningList, level, src, src.columns)
}

// insertedColumns returns the names of the columns that INSERT lists, of all if it lists none.
func (t *tracer) insertedColumns(list []*pgquery.Node, r *relation) ([]string, bool) {
	columns := make([]string, 0, len(r.columns))
	for _, n := range list {
		c := n.GetResTarget()
		if c == nil || len(c.Indirection) > 0 {
			t.deny("a part of a column is assigned")
			return nil, false
		}
		columns = append(columns, c.Name)
	}
	if len(list) == 0 {
		for _, c := range r.columns {
			columns = append(columns, c.name)
		}
	}
	return columns, true
}

// insertSource checks what is inserted.
func (t *tracer) insertSource(q *pgquery.SelectStmt, r *relation, columns []string, s *scope) {
	switch {
	case q == nil: // DEFAULT VALUES
	case len(q.ValuesLists) > 0 && q.WithClause == nil && len(q.SortClause) == 0:
		for _, n := range q.ValuesLists {
			items := n.GetList().GetItems()
			if len(items) > len(columns) {
				t.deny("more values are inserted than there are columns")
				return
			}
			for i, v := range items {
				t.assign(r, columns[i], v, s.inner())
			}
		}
		t.use(q.LimitCount, s, "LIMIT")
		t.use(q.LimitOffset, s, "OFFSET")
	default:
		out := t.query(q, s.inner())
		t.unmasked(out, "INSERT")
		for i := range out {
			if i >= len(columns) {
				t.deny("more values are inserted than there are columns")
				return
			}
			// What a query yields is no constant: it can be inserted into unmasked columns alone.
			t.assign(r, columns[i], computed, s.inner())
		}
	}
}

// computed stands for a value that a query yields.
var computed = &pgquery.Node{Node: &pgquery.Node_List{List: &pgquery.List{}}}

func (t *tracer) conflict(c *pgquery.OnConflictClause, r *relation, level *scope) {
	if c == nil {
		return
	}
	if r.masked() && len(r.telling) > 0 {
		// Which rows conflict, and how many are left, would tell of masked values.
		t.deny("ON CONFLICT is used on a table with a unique index over, or a reference to, a masked column")
		return
	}
	inner := level.inner()
	t.add(inner, &source{name: excluded, columns: r.columns})
	for _, n := range c.Infer.GetIndexElems() {
		e := n.GetIndexElem()
		t.use(e.GetExpr(), level, "ON CONFLICT")
		for _, k := range columnsNamed(r.columns, e.GetName()) {
			if !k.uses.Equality {
				t.unmasked([]column{k}, "ON CONFLICT")
			}
		}
	}
	t.use(c.Infer.GetWhereClause(), level, "ON CONFLICT")
	t.assignments(c.TargetList, r, inner)
	t.use(c.WhereClause, inner, "ON CONFLICT")
}

// returning establishes RETURNING. Since version 18 it names by OLD and NEW the row as it was
// and as it is, unless a source has that name; then all of them have to agree.
func (t *tracer) returning(list []*pgquery.Node, level *scope, src *source, all []column) []column {
	if len(list) > 0 && t.names.major() >= 18 {
		for _, name := range []string{"old", "new"} {
			t.add(level, &source{name: name, table: src.table, columns: src.columns})
		}
	}
	return t.targets(list, level, all)
}

// assignments checks the SET clause of an UPDATE.
func (t *tracer) assignments(list []*pgquery.Node, r *relation, s *scope) {
	for _, n := range list {
		c := n.GetResTarget()
		if c == nil || len(c.Indirection) > 0 {
			t.deny("a part of a column is assigned")
			return
		}
		if r.checked[c.Name] {
			t.denyColumn(column{mask: 1, origin: r.schema + "." + r.name + "." + c.Name}, "cannot be updated: a constraint, policy, index, partition or generated column combines it with masked values, and what becomes of that would tell of them")
			return
		}
		if r.held && r.keys[c.Name] {
			t.denyColumn(column{mask: 1, origin: r.schema + "." + r.name + "." + c.Name}, "cannot be updated: masked values reference it, and what becomes of them would tell of them")
			return
		}
		if r.telling[c.Name] && c.Val.GetSetToDefault() != nil {
			t.denyTelling(r, c.Name, "cannot be updated: "+outcomeTells)
			return
		}
		multi := c.Val.GetMultiAssignRef()
		if multi == nil {
			t.assign(r, c.Name, c.Val, s)
			continue
		}
		if row := multi.Source.GetRowExpr(); row != nil && len(row.Args) == int(multi.Ncolumns) {
			t.assign(r, c.Name, row.Args[multi.Colno-1], s)
			continue
		}
		t.assign(r, c.Name, computed, s)
		if multi.Colno == 1 {
			t.use(multi.Source, s, "an assigned value")
		}
	}
}

func (t *tracer) update(m *pgquery.UpdateStmt, outer *scope) []column {
	s := t.with(m.WithClause, outer)
	r, src := t.target(m.Relation)
	if r == nil {
		return nil
	}
	level := s.inner()
	all := append([]column(nil), t.add(level, src)...)
	all = append(all, t.from(m.FromClause, level)...)
	t.assignments(m.TargetList, r, level)
	t.use(m.WhereClause, level, "WHERE")
	return t.returning(m.ReturningList, level, src, all)
}

func (t *tracer) delete(m *pgquery.DeleteStmt, outer *scope) []column {
	s := t.with(m.WithClause, outer)
	r, src := t.target(m.Relation)
	if r == nil {
		return nil
	}
	t.deletable(r)
	level := s.inner()
	all := append([]column(nil), t.add(level, src)...)
	all = append(all, t.from(m.UsingClause, level)...)
	t.use(m.WhereClause, level, "WHERE")
	return t.returning(m.ReturningList, level, src, all)
}

// deletable denies to delete rows that masked values reference: whether that succeeds, and
// which rows go with them, would tell of these.
func (t *tracer) deletable(r *relation) {
	if r.held {
		t.deny("rows of " + quoteIdent(r.name) + " are deleted, and masked values reference them: what becomes of those would tell of them")
	}
}
