package postgres

import (
	"slices"
	"strconv"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// with establishes the queries of a WITH clause, in a level of their own.
func (t *tracer) with(w *pgquery.WithClause, s *scope) *scope {
	if w == nil {
		return s
	}
	s = s.inner()
	if w.Recursive {
		for _, n := range w.Ctes {
			s.ctes = append(s.ctes, &cte{name: n.GetCommonTableExpr().GetCtename(), pending: true})
		}
	}
	for i, n := range w.Ctes {
		e := n.GetCommonTableExpr()
		if e == nil || !w.Recursive && (e.SearchClause != nil || e.CycleClause != nil) {
			t.deny("a WITH query is not known, or has a SEARCH or CYCLE clause and is not recursive")
			return s
		}
		c := &cte{name: e.Ctename}
		if w.Recursive {
			c = s.ctes[i]
			t.recursive(e, c, s)
			t.searched(e, c, s)
		} else {
			c.columns = t.rename(t.statement(unwrap(e.Ctequery), s.inner()), &pgquery.Alias{Colnames: e.Aliascolnames})
			s.ctes = append(s.ctes, c)
		}
		c.pending = false
	}
	return s
}

// recursive establishes a query of WITH RECURSIVE: what its first half yields, and then
// that the other half, reading that, yields the same.
func (t *tracer) recursive(e *pgquery.CommonTableExpr, c *cte, s *scope) {
	alias := &pgquery.Alias{Colnames: e.Aliascolnames}
	q := e.Ctequery.GetSelectStmt()
	if q == nil || q.Op != pgquery.SetOperation_SETOP_UNION || q.WithClause != nil {
		c.columns = t.rename(t.statement(unwrap(e.Ctequery), s.inner()), alias)
		return
	}
	if len(q.SortClause) > 0 || q.LimitCount != nil || q.LimitOffset != nil || len(q.LockingClause) > 0 {
		t.deny("a recursive query is sorted or limited")
		return
	}
	first := t.query(q.Larg, s.inner())
	c.columns, c.pending = t.rename(first, alias), false
	whole := t.combine(q, first, t.query(q.Rarg, s.inner()))
	if !slices.EqualFunc(first, whole, func(a, b column) bool { return a.mask == b.mask && a.secret == b.secret }) {
		t.deny("a recursive query yields a masked column in one half alone")
	}
}

// searched adds the columns of SEARCH and CYCLE, which are made of those that they name.
func (t *tracer) searched(e *pgquery.CommonTableExpr, c *cte, s *scope) {
	named := func(list []*pgquery.Node, construct string) {
		for _, name := range names(list) {
			found := columnsNamed(c.columns, name)
			if len(found) != 1 {
				t.deny("a column of " + construct + " is not established")
			}
			t.unmasked(found, construct)
		}
		t.operatorName("=")
		t.operatorName("<>")
	}
	var more []column
	if m := e.SearchClause; m != nil {
		named(m.SearchColList, "SEARCH")
		more = append(more, column{name: m.SearchSeqColumn})
	}
	if m := e.CycleClause; m != nil {
		named(m.CycleColList, "CYCLE")
		t.use(m.CycleMarkValue, s, "CYCLE")
		t.use(m.CycleMarkDefault, s, "CYCLE")
		more = append(more, column{name: m.CycleMarkColumn}, column{name: m.CyclePathColumn})
	}
	c.columns = append(slices.Clone(c.columns), more...)
}

// query establishes the columns of a SELECT, VALUES or set operation.
func (t *tracer) query(q *pgquery.SelectStmt, s *scope) []column {
	if q == nil {
		t.deny("a query is missing")
		return nil
	}
	if t.depth++; t.depth > maxDepth {
		t.deny("the statement nests too deeply")
	}
	defer func() { t.depth-- }()
	if t.violated() {
		return nil
	}
	if q.IntoClause != nil {
		t.denyWith("SELECT INTO makes a table", "write CREATE TEMPORARY TABLE … AS SELECT …, of columns that are not masked")
	}
	s = t.with(q.WithClause, s)
	var out []column
	level := s.inner()
	switch {
	case q.Op != pgquery.SetOperation_SETOP_NONE:
		out = t.combine(q, t.query(q.Larg, s.inner()), t.query(q.Rarg, s.inner()))
	case len(q.ValuesLists) > 0:
		out = t.valuesLists(q, level)
	default:
		out = t.plainSelect(q, level)
	}
	t.order(q.SortClause, out, level, "ORDER BY")
	t.use(q.LimitOffset, level, "OFFSET")
	t.use(q.LimitCount, level, "LIMIT")
	for _, n := range q.LockingClause {
		if n.GetLockingClause() == nil {
			t.deny("a locking clause is not known")
		}
	}
	return out
}

func (t *tracer) plainSelect(q *pgquery.SelectStmt, level *scope) []column {
	from := t.from(q.FromClause, level)
	out := t.targets(q.TargetList, level, from)
	t.use(q.WhereClause, level, "WHERE")
	t.order(q.GroupClause, out, level, "GROUP BY")
	t.use(q.HavingClause, level, "HAVING")
	for _, w := range q.WindowClause {
		t.window(w.GetWindowDef(), level)
	}
	switch {
	case len(q.DistinctClause) == 0:
	case unwrap(q.DistinctClause[0]) == nil: // plain DISTINCT is a list of one NULL
		t.unmasked(out, "DISTINCT")
	default:
		t.order(q.DistinctClause, out, level, "DISTINCT ON")
	}
	return out
}

// combine establishes the columns of a set operation from those of its halves.
func (t *tracer) combine(q *pgquery.SelectStmt, left, right []column) []column {
	if len(left) != len(right) {
		t.deny("the halves of a set operation have different columns")
		return nil
	}
	if q.Op != pgquery.SetOperation_SETOP_UNION || !q.All {
		t.unmasked(left, "UNION, INTERSECT or EXCEPT")
		t.unmasked(right, "UNION, INTERSECT or EXCEPT")
	}
	out := slices.Clone(left)
	for i, c := range right {
		switch {
		case out[i].mask == 0:
			out[i].mask, out[i].origin = c.mask, c.origin
		case c.mask != 0 && c.mask != out[i].mask:
			t.denyColumn(c, "meets a column with another mask in UNION ALL")
		}
		if len(t.names.casts) > 0 && out[i].mask != 0 && (out[i].typ != c.typ || c.typ == "") {
			// A user's function could be what makes the types one, and fail for some values.
			t.denyColumn(out[i], "meets a column of another type in UNION ALL, in a database that has casts by functions of users")
		}
		out[i].secret = out[i].secret || c.secret
		if out[i].typ != c.typ {
			out[i].typ = ""
		}
		if out[i].as != c.as {
			out[i].as = ""
		}
	}
	return out
}

func (t *tracer) valuesLists(q *pgquery.SelectStmt, level *scope) []column {
	var out []column
	for i, n := range q.ValuesLists {
		items := n.GetList().GetItems()
		if i > 0 && len(items) != len(out) {
			t.deny("the lists of VALUES have different lengths")
		}
		for j, v := range items {
			t.use(v, level, "VALUES")
			if i == 0 {
				out = append(out, column{name: "column" + strconv.Itoa(j+1)})
			}
		}
	}
	return out
}

// maxColumns is the server's own bound on the columns of a result.
const maxColumns = 1664

// targets establishes the columns of a target list.
func (t *tracer) targets(list []*pgquery.Node, level *scope, from []column) []column {
	var out []column
	for _, n := range list {
		r := n.GetResTarget()
		if len(out) > maxColumns {
			t.deny("there are more output columns than the server allows")
			return nil
		}
		if r == nil || len(r.Indirection) > 0 {
			t.deny("an output column is not known")
			return nil
		}
		ref := r.Val.GetColumnRef()
		if ref == nil {
			out = append(out, t.expression(r, level))
			continue
		}
		fields := names(ref.Fields)
		if star := ref.Fields[len(ref.Fields)-1].GetAStar(); star != nil {
			out = append(out, t.star(fields, level, from)...)
			continue
		}
		c := t.reference(ref, level)
		if r.Name != "" {
			c.name = r.Name
		}
		out = append(out, c)
	}
	return out
}

// expression establishes an output that is not a column by its name.
func (t *tracer) expression(r *pgquery.ResTarget, level *scope) column {
	c := t.value(r.Val, level)
	c.name = t.outputName(r)
	return c
}

// value establishes an expression as an output.
func (t *tracer) value(n *pgquery.Node, level *scope) column {
	if sub := n.GetSubLink(); sub != nil && sub.SubLinkType == pgquery.SubLinkType_EXPR_SUBLINK {
		if out := t.subSelect(sub, level); len(out) == 1 {
			return out[0]
		}
		t.deny("a sub-select as an expression has not one column")
		return column{}
	}
	if c, found := t.hidden(n.GetFuncCall(), level); found {
		return c
	}
	if c, found := t.derived(n, level); found {
		return c
	}
	t.use(n, level, "an expression")
	return column{}
}

// hidden establishes an output of a function that counts what was read, of the parts of long
// values too: clients that describe indexes ask for it, and get NULL.
func (t *tracer) hidden(f *pgquery.FuncCall, level *scope) (column, bool) {
	const counter = "pg_stat_get_numscans"
	name := names(f.GetFuncname())
	own := len(name) == 2 && name[0] == "pg_catalog" || len(name) == 1 && !t.names.functions[counter]
	if !own || name[len(name)-1] != counter || len(f.Args) != 1 || f.AggFilter != nil || f.Over != nil || len(f.AggOrder) > 0 {
		return column{}, false
	}
	t.use(f.Args[0], level, "a call of "+quoteIdent(counter))
	return column{name: counter, mask: sql.Hidden, origin: "pg_catalog." + counter}, true
}

// subSelect establishes the query of a sub-select in an expression, and keeps what it yields.
func (t *tracer) subSelect(e *pgquery.SubLink, s *scope) []column {
	out := t.query(e.Subselect.GetSelectStmt(), s.inner())
	t.selects[e] = out
	return out
}

// star expands "*" or "a.*".
func (t *tracer) star(qualifier []string, level *scope, from []column) []column {
	if len(qualifier) == 0 {
		return t.visible(from)
	}
	found := level.sourcesNamed(qualifier)
	if len(found) != 1 {
		t.deny("what a star stands for is not established")
		return nil
	}
	return t.visible(found[0].columns)
}

func (t *tracer) visible(columns []column) []column {
	for _, c := range columns {
		if c.secret {
			t.denyColumn(c, "shows values that are not to be seen")
		}
		t.reads = t.reads || c.mask != 0
	}
	return slices.Clone(columns)
}

// order checks ORDER BY, GROUP BY and DISTINCT ON, whose items may be numbers or names of
// output columns.
func (t *tracer) order(list []*pgquery.Node, out []column, level *scope, construct string) {
	for _, n := range list {
		if sort := n.GetSortBy(); sort != nil {
			t.operator(sort.UseOp)
			n = sort.Node
		}
		if set := n.GetGroupingSet(); set != nil {
			t.order(set.Content, out, level, construct)
			continue
		}
		if k := n.GetAConst(); k != nil && k.GetIval() != nil {
			at := int(k.GetIval().Ival)
			if at < 1 || at > len(out) {
				t.deny(construct + " names a column that does not exist")
				return
			}
			t.unmasked(out[at-1:at], construct)
			continue
		}
		if ref := n.GetColumnRef(); ref != nil && len(ref.Fields) == 1 {
			named := columnsNamed(out, last(ref.Fields))
			t.unmasked(named, construct)
			if _, found := t.column(level, last(ref.Fields)); !found && len(named) > 0 {
				continue
			}
		}
		if row := n.GetRowExpr(); row != nil {
			t.order(row.Args, out, level, construct)
			continue
		}
		t.use(n, level, construct)
	}
}

// unmasked denies columns that are masked.
func (t *tracer) unmasked(columns []column, construct string) {
	for _, c := range columns {
		if c.mask != 0 || c.secret {
			t.denyColumn(c, "is used in "+construct)
		}
	}
}

func (t *tracer) window(w *pgquery.WindowDef, level *scope) {
	if w == nil {
		return
	}
	for _, n := range w.PartitionClause {
		t.use(n, level, "PARTITION BY")
	}
	for _, n := range w.OrderClause {
		t.operator(n.GetSortBy().GetUseOp())
		t.use(n.GetSortBy().GetNode(), level, "a window's ORDER BY")
	}
	t.use(w.StartOffset, level, "a window's frame")
	t.use(w.EndOffset, level, "a window's frame")
}
