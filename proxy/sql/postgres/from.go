package postgres

import (
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// maxSourceColumns bounds the columns of one FROM clause.
const maxSourceColumns = 50_000

// from establishes the sources of a FROM clause and returns the columns that "*" stands
// for, in order.
func (t *tracer) from(list []*pgquery.Node, level *scope) []column {
	var all []column
	level.partial = true
	defer func() { level.partial = false }()
	for _, n := range list {
		all = append(all, t.item(n, level)...)
		if len(all) > maxSourceColumns {
			t.deny("FROM has too many columns")
			return nil
		}
	}
	return all
}

func (t *tracer) item(n *pgquery.Node, level *scope) []column {
	if t.depth++; t.depth > maxDepth {
		t.deny("the statement nests too deeply")
	}
	defer func() { t.depth-- }()
	if t.violated() {
		return nil
	}
	switch m := unwrap(n).(type) {
	case *pgquery.RangeVar:
		return t.table(m, level)
	case *pgquery.RangeSubselect:
		columns := t.query(m.Subquery.GetSelectStmt(), level.inner())
		return t.add(level, &source{name: m.Alias.GetAliasname(), columns: t.rename(columns, m.Alias)})
	case *pgquery.RangeFunction:
		return t.rowFunction(m, level)
	case *pgquery.RangeTableSample:
		if names := names(m.Method); len(names) != 1 || names[0] != "bernoulli" && names[0] != "system" {
			t.deny("a sampling method is not known")
		}
		for _, a := range append(slices.Clone(m.Args), m.Repeatable) {
			t.use(a, level, "TABLESAMPLE")
		}
		return t.item(m.Relation, level)
	case *pgquery.JoinExpr:
		return t.join(m, level)
	case *pgquery.JsonTable:
		return t.jsonTable(m, level)
	case *pgquery.RangeTableFunc:
		return t.xmlTable(m, level)
	}
	t.deny("FROM holds a construct whose lineage is not established")
	return nil
}

func (t *tracer) add(level *scope, src *source) []column {
	level.sources = append(level.sources, src)
	return src.columns
}

// table establishes a relation or WITH query in FROM.
func (t *tracer) table(m *pgquery.RangeVar, level *scope) []column {
	src := &source{name: m.Relname}
	if a := m.Alias; a != nil {
		src.name = a.Aliasname
	}
	if m.Schemaname == "" && m.Catalogname == "" {
		if c := level.cte(m.Relname); c != nil {
			if c.pending {
				t.deny("a WITH query reads itself, or one after it, in a way whose lineage is not established")
			}
			src.columns = t.rename(c.columns, m.Alias)
			return t.add(level, src)
		}
	}
	r := t.readable(m)
	if r == nil || t.violated() {
		return nil
	}
	src.view = r.kind == 'v'
	if m.Alias == nil {
		src.schema = r.schema
	}
	src.table = r.name
	src.columns = t.rename(r.columns, m.Alias)
	return t.add(level, src)
}

// relation resolves a table that the statement uses.
func (t *tracer) relation(m *pgquery.RangeVar) *relation {
	r := t.find(m)
	if r != nil && (r.expandable() || r.kind == 'S') {
		t.deny(quoteIdent(r.name) + " is a view or sequence; on this target these can only be read")
		return nil
	}
	return r
}

// readable resolves a relation in FROM.
func (t *tracer) readable(m *pgquery.RangeVar) *relation {
	r := t.find(m)
	if r != nil && r.expandable() {
		t.expand(r)
	}
	return r
}

// find resolves the name of a relation.
func (t *tracer) find(m *pgquery.RangeVar) *relation {
	if m.Catalogname != "" {
		t.deny("a relation is qualified by a database")
		return nil
	}
	r := t.names.find(m.Schemaname, m.Relname)
	switch {
	case r == nil:
		t.denyName(sql.FaultNoRelation, m.Location, "the relation "+quoteIdent(m.Relname)+" does not exist, or cannot be seen",
			"check its spelling, and name its schema if that is not in search_path")
		return nil
	case r.system && visibleCatalogs[r.name]:
	case r.system:
		t.denyWith("the catalog relation "+quoteIdent(r.name)+" may show values that are masked elsewhere",
			"do without it: it shows statements, statistics or settings in which values may stand; information_schema and most of pg_catalog can be read")
		return nil
	case !strings.ContainsRune("rpvmS", rune(r.kind)):
		t.denyWith(quoteIdent(r.name)+" is a "+kindName(r.kind)+"; on this target only tables and views can be used",
			"what a foreign table shows may be masked where it comes from, under other names: make a Target of that server and query it there")
		return nil
	case r.drifted != "":
		t.denyWith("a rule masks the column "+r.drifted+", which does not exist; it may have another name now, so the table is shut until the rule is corrected",
			"have an administrator correct the name in the MaskingRule")
		return nil
	case r.temporary && r.schema != t.names.temp:
		t.deny("a temporary table of another session is named")
		return nil
	case r.filtered:
		t.denyWith("row security shows the rows of "+quoteIdent(r.name)+" by masked values, and which there are would tell of them",
			"have an administrator mask other columns, or base the table's policies on others")
		return nil
	case r.parted != "":
		t.denyColumn(column{name: r.parted, origin: r.schema + "." + r.name + "." + r.parted}, "says in which partition a row is, which would tell of it")
		return nil
	}
	t.used[r] = true
	if t.view != nil {
		t.view.seen[r.oid] = true
	}
	return r
}

func kindName(kind byte) string {
	if kind == 'f' {
		return "foreign table"
	}
	return "relation of another kind"
}

// rowFunction establishes a function in FROM.
func (t *tracer) rowFunction(m *pgquery.RangeFunction, level *scope) []column {
	items := m.Functions
	if !m.IsRowsfrom && len(items) != 1 || len(items) == 0 {
		t.deny("a function stands in FROM in a way that is not known")
		return nil
	}
	if len(m.Coldeflist) > 0 {
		return t.recordFunction(m, items[0].GetList().GetItems(), level)
	}
	src := &source{}
	if m.Alias != nil {
		src.name = m.Alias.Aliasname
	}
	for _, item := range items {
		name, columns := t.rowItem(item.GetList().GetItems(), level)
		if src.name == "" {
			src.name = name
		}
		for _, k := range columns {
			switch {
			case k != "":
			case len(items) > 1:
				k = name
			default:
				k = src.name
			}
			src.columns = append(src.columns, column{name: k})
		}
	}
	if m.Ordinality {
		src.columns = append(src.columns, column{name: "ordinality"})
	}
	src.columns = t.rename(src.columns, m.Alias)
	return t.add(level, src)
}

// rowItem establishes one function in FROM: its name and those of its columns.
func (t *tracer) rowItem(parts []*pgquery.Node, level *scope) (name string, columns []string) {
	if len(parts) == 0 || len(parts) > 1 && unwrap(parts[1]) != nil {
		t.deny("a function in FROM has a column definition list")
		return "", nil
	}
	switch f := unwrap(parts[0]).(type) {
	case *pgquery.FuncCall:
		name = last(f.Funcname)
		columns = rowColumns(name, t.names.major())
		own := len(t.names.candidates(names(f.Funcname))) > 0
		if own {
			columns = t.pinnedRow(f)
		}
		if name == "unnest" && len(f.Args) != 1 && !own {
			// Each argument makes a column of the function's name.
			columns = slices.Repeat([]string{name}, len(f.Args))
		}
	case *pgquery.SQLValueFunction:
		name, columns = valueFunctionName(f), []string{""}
	}
	if len(columns) == 0 {
		t.deny("a function stands in FROM whose columns are not known")
		return "", nil
	}
	t.use(parts[0], level, "a function in FROM")
	if f := parts[0].GetFuncCall(); name == "unnest" && slices.ContainsFunc(f.GetArgs(), func(a *pgquery.Node) bool { return !t.oneColumn(a, level, 0) }) {
		t.deny("unnest stands in FROM over something that is not known to be an array of a built-in type; cast it, as in unnest(x::int[])")
		return "", nil
	}
	return name, columns
}

// recordFunction establishes a function in FROM whose columns are the statement's.
func (t *tracer) recordFunction(m *pgquery.RangeFunction, parts []*pgquery.Node, level *scope) []column {
	var f *pgquery.FuncCall
	if len(parts) > 0 {
		f = parts[0].GetFuncCall()
	}
	if f == nil || m.IsRowsfrom || len(parts) > 1 && unwrap(parts[1]) != nil || !recordFunctions[last(f.Funcname)] || m.Ordinality || m.Alias == nil || len(m.Alias.Colnames) > 0 {
		t.deny("a function stands in FROM whose columns are not known")
		return nil
	}
	t.use(parts[0], level, "a function in FROM")
	src := &source{name: m.Alias.Aliasname}
	for _, n := range m.Coldeflist {
		d := n.GetColumnDef()
		if d == nil {
			t.deny("a column definition is not known")
			return nil
		}
		t.typeName(d.TypeName)
		src.columns = append(src.columns, column{name: d.Colname})
	}
	return t.add(level, src)
}

// join establishes a join and the order of its columns under "*".
func (t *tracer) join(m *pgquery.JoinExpr, level *scope) []column {
	before := len(level.sources)
	left := t.item(m.Larg, level)
	right := t.item(m.Rarg, level)
	using := names(m.UsingClause)
	if m.IsNatural {
		for _, c := range left {
			if len(columnsNamed(right, c.name)) > 0 {
				using = append(using, c.name)
			}
		}
	}
	all := t.mergeColumns(left, right, using)
	t.use(m.Quals, level, "JOIN")
	if m.JoinUsingAlias != nil && !t.violated() {
		t.add(level, &source{name: m.JoinUsingAlias.Aliasname, columns: all[:len(using)]})
	}
	if m.Alias != nil {
		level.sources = level.sources[:before]
		return t.add(level, &source{name: m.Alias.Aliasname, columns: t.rename(all, m.Alias)})
	}
	return all
}

// mergeColumns is the server's order: the columns of USING, then the rest of both sides.
func (t *tracer) mergeColumns(left, right []column, using []string) []column {
	var all []column
	if len(using) > 0 {
		t.operatorName("=")
	}
	for _, name := range using {
		l, r := columnsNamed(left, name), columnsNamed(right, name)
		if len(l) != 1 || len(r) != 1 {
			t.deny("a column of USING is not established")
			return nil
		}
		t.unmasked(append(l, r...), "JOIN")
		all = append(all, l[0])
	}
	for _, side := range [][]column{left, right} {
		for _, c := range side {
			if !slices.Contains(using, c.name) {
				all = append(all, c)
			}
		}
	}
	return all
}
