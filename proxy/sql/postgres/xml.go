package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// xmlTable establishes XMLTABLE in FROM, whose columns are the statement's.
func (t *tracer) xmlTable(m *pgquery.RangeTableFunc, level *scope) []column {
	const construct = "XMLTABLE"
	t.use(m.Docexpr, level, construct)
	t.use(m.Rowexpr, level, construct)
	for _, n := range m.Namespaces {
		t.use(n.GetResTarget().GetVal(), level, construct)
	}
	src := &source{name: "xmltable"}
	if m.Alias != nil {
		src.name = m.Alias.Aliasname
	}
	for _, n := range m.Columns {
		c := n.GetRangeTableFuncCol()
		if c == nil {
			t.deny("a column of XMLTABLE is not known")
			return nil
		}
		if !c.ForOrdinality {
			t.typeName(c.TypeName)
		}
		t.use(c.Colexpr, level, construct)
		t.use(c.Coldefexpr, level, construct)
		src.columns = append(src.columns, column{name: c.Colname})
	}
	src.columns = t.rename(src.columns, m.Alias)
	return t.add(level, src)
}

// xmlOperands are the operands of a constructor of XML. A name without one of its own takes a
// column's.
func xmlOperands(e *pgquery.XmlExpr) []*pgquery.Node {
	out := append([]*pgquery.Node(nil), e.Args...)
	for _, n := range e.NamedArgs {
		if r := n.GetResTarget(); r != nil {
			n = r.Val
		}
		out = append(out, n)
	}
	return out
}
