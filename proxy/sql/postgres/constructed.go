package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// The constructs of SQL/JSON, and MERGE_ACTION, look like calls. Versions before those that
// brought them take them for calls indeed, or for errors.
const (
	jsonConstructorsSince = 16
	jsonQueriesSince      = 17
)

// constructed returns the operands of such a construct; false for any other expression, and
// where the server is too old for it.
func (t *tracer) constructed(m any, s *scope, construct string) (operands []*pgquery.Node, ok bool) {
	switch e := m.(type) {
	case *pgquery.JsonValueExpr:
		return jsonValue(e), true
	case *pgquery.JsonKeyValue:
		return append(jsonValue(e.Value), e.Key), true
	case *pgquery.JsonArgument:
		return jsonValue(e.Val), true
	case *pgquery.JsonObjectConstructor:
		return e.Exprs, t.since(jsonConstructorsSince, e.Output)
	case *pgquery.JsonArrayConstructor:
		return e.Exprs, t.since(jsonConstructorsSince, e.Output)
	case *pgquery.JsonArrayQueryConstructor:
		if !t.since(jsonConstructorsSince, e.Output) {
			return nil, false
		}
		t.unmasked(t.query(e.Query.GetSelectStmt(), s.inner()), "a sub-select in "+construct)
		return nil, true
	case *pgquery.JsonObjectAgg:
		return append(jsonValue(e.Arg.GetValue()), e.Arg.GetKey()), t.aggregated(e.Constructor, s)
	case *pgquery.JsonArrayAgg:
		return jsonValue(e.Arg), t.aggregated(e.Constructor, s)
	case *pgquery.JsonIsPredicate:
		return []*pgquery.Node{e.Expr}, t.since(jsonConstructorsSince, nil)
	case *pgquery.JsonParseExpr:
		return jsonValue(e.Expr), t.since(jsonQueriesSince, e.Output)
	case *pgquery.JsonScalarExpr:
		return []*pgquery.Node{e.Expr}, t.since(jsonQueriesSince, e.Output)
	case *pgquery.JsonSerializeExpr:
		return jsonValue(e.Expr), t.since(jsonQueriesSince, e.Output)
	case *pgquery.JsonFuncExpr:
		operands = append(jsonValue(e.ContextItem), e.Pathspec, e.OnEmpty.GetExpr(), e.OnError.GetExpr())
		return append(operands, e.Passing...), t.since(jsonQueriesSince, e.Output)
	case *pgquery.MergeSupportFunc:
		return nil, t.since(jsonQueriesSince, nil)
	}
	return nil, false
}

func jsonValue(v *pgquery.JsonValueExpr) []*pgquery.Node {
	return []*pgquery.Node{v.GetRawExpr(), v.GetFormattedExpr()}
}

// since reports whether the server has a construct, and checks the type that it returns.
func (t *tracer) since(major int, o *pgquery.JsonOutput) bool {
	if o.GetTypeName() != nil {
		t.typeName(o.TypeName)
	}
	return t.names.major() >= major
}

// aggregated checks what belongs to an aggregate.
func (t *tracer) aggregated(c *pgquery.JsonAggConstructor, s *scope) bool {
	if !t.since(jsonConstructorsSince, c.GetOutput()) {
		return false
	}
	for _, a := range c.GetAggOrder() {
		t.operator(a.GetSortBy().GetUseOp())
		t.use(a.GetSortBy().GetNode(), s, "a call of an aggregate")
	}
	t.use(c.GetAggFilter(), s, "FILTER")
	t.window(c.GetOver(), s)
	return true
}

// jsonTable establishes JSON_TABLE in FROM.
func (t *tracer) jsonTable(m *pgquery.JsonTable, level *scope) []column {
	if t.names.major() < jsonQueriesSince {
		t.deny("JSON_TABLE is used, which this version of the server does not have")
		return nil
	}
	const construct = "JSON_TABLE"
	for _, n := range append(jsonValue(m.ContextItem), m.Pathspec.GetString_(), m.OnError.GetExpr()) {
		t.use(n, level, construct)
	}
	for _, n := range m.Passing {
		t.use(n, level, construct)
	}
	src := &source{name: "json_table"}
	if m.Alias != nil {
		src.name = m.Alias.Aliasname
	}
	t.jsonColumns(m.Columns, src, level, 0)
	src.columns = t.rename(src.columns, m.Alias)
	return t.add(level, src)
}

// jsonColumns adds the columns of JSON_TABLE: those of nested paths come after the others.
func (t *tracer) jsonColumns(list []*pgquery.Node, src *source, level *scope, depth int) {
	var nested []*pgquery.JsonTableColumn
	for _, n := range list {
		c := n.GetJsonTableColumn()
		if c == nil || depth > maxDepth {
			t.deny("a column of JSON_TABLE is not known")
			return
		}
		for _, e := range []*pgquery.Node{c.Pathspec.GetString_(), c.OnEmpty.GetExpr(), c.OnError.GetExpr()} {
			t.use(e, level, "JSON_TABLE")
		}
		if c.Coltype == pgquery.JsonTableColumnType_JTC_NESTED {
			nested = append(nested, c)
			continue
		}
		if c.TypeName != nil {
			t.typeName(c.TypeName)
		}
		src.columns = append(src.columns, column{name: c.Name})
	}
	for _, c := range nested {
		t.jsonColumns(c.Columns, src, level, depth+1)
	}
}
