package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// use checks an expression in which no masked column may appear, and which may hold
// nothing whose lineage is not established. construct names the place for the client.
func (t *tracer) use(n *pgquery.Node, s *scope, construct string) {
	if n == nil || t.violated() {
		return
	}
	if t.depth++; t.depth > maxDepth {
		t.deny("the statement nests too deeply")
	}
	defer func() { t.depth-- }()
	each := func(list ...*pgquery.Node) {
		for _, e := range list {
			t.use(e, s, construct)
		}
	}
	switch e := unwrap(n).(type) {
	case *pgquery.ColumnRef:
		t.unmasked([]column{t.reference(e, s)}, construct)
	case *pgquery.NullTest:
		if !t.asksNull(e.Arg, s, "IS NULL") {
			each(e.Arg)
		}
	case *pgquery.TypeCast:
		t.typeName(e.TypeName)
		each(e.Arg)
	case *pgquery.A_Expr:
		if t.equality(e, s, construct) {
			return
		}
		t.operator(e.Name)
		if e.Kind >= pgquery.A_Expr_Kind_AEXPR_BETWEEN {
			for _, name := range []string{"<", ">", "<=", ">="} {
				t.operatorName(name)
			}
		}
		each(e.Lexpr, e.Rexpr)
	case *pgquery.CaseExpr:
		t.operatorName("=")
		each(e.Arg, e.Defresult)
		each(e.Args...)
	case *pgquery.A_Indirection:
		each(e.Arg)
		t.subscripts(e.Indirection, s, construct)
	case *pgquery.SubLink:
		t.subLink(e, s, construct)
	case *pgquery.XmlSerialize:
		t.typeName(e.TypeName)
		each(e.Expr)
	case *pgquery.FuncCall:
		t.call(e, s)
	default:
		operands, ok := plainOperands(e)
		if !ok {
			operands, ok = t.constructed(e, s, construct)
		}
		if !ok {
			t.deny(construct + " holds an expression whose lineage is not established")
		}
		each(operands...)
	}
}

// plainOperands returns the operands of an expression that calls nothing a user can
// define, so that it holds no more than they do; false for any other.
func plainOperands(m any) ([]*pgquery.Node, bool) {
	switch e := m.(type) {
	case *pgquery.A_Const, *pgquery.ParamRef, *pgquery.SQLValueFunction, *pgquery.SetToDefault, *pgquery.CurrentOfExpr:
		return nil, true
	case *pgquery.BoolExpr:
		return e.Args, true
	case *pgquery.NullTest:
		return []*pgquery.Node{e.Arg}, true
	case *pgquery.BooleanTest:
		return []*pgquery.Node{e.Arg}, true
	case *pgquery.List:
		return e.Items, true
	case *pgquery.CaseWhen:
		return []*pgquery.Node{e.Expr, e.Result}, true
	case *pgquery.CoalesceExpr:
		return e.Args, true
	case *pgquery.MinMaxExpr:
		return e.Args, true
	case *pgquery.A_ArrayExpr:
		return e.Elements, true
	case *pgquery.RowExpr:
		return e.Args, true
	case *pgquery.CollateClause:
		return []*pgquery.Node{e.Arg}, true
	case *pgquery.NamedArgExpr:
		return []*pgquery.Node{e.Arg}, true
	case *pgquery.GroupingFunc:
		return e.Args, true
	case *pgquery.XmlExpr:
		return xmlOperands(e), true
	}
	return nil, false
}

// subscripts allows those of arrays. A field of a composite value could as well be a
// function's name.
func (t *tracer) subscripts(list []*pgquery.Node, s *scope, construct string) {
	for _, n := range list {
		i := n.GetAIndices()
		if f := n.GetString_(); f != nil && expandedFields[f.Sval] && !t.names.functions[f.Sval] {
			continue
		}
		if i == nil {
			t.deny(construct + " takes a field of a row")
			return
		}
		t.use(i.Lidx, s, construct)
		t.use(i.Uidx, s, construct)
	}
}

func (t *tracer) subLink(e *pgquery.SubLink, s *scope, construct string) {
	t.use(e.Testexpr, s, construct)
	t.operator(e.OperName)
	t.operatorName("=")
	out := t.subSelect(e, s)
	if e.SubLinkType != pgquery.SubLinkType_EXISTS_SUBLINK {
		t.unmasked(out, "a sub-select in "+construct)
	}
}

// call checks a function call and everything that belongs to it.
func (t *tracer) call(f *pgquery.FuncCall, s *scope) {
	name := names(f.Funcname)
	if len(name) == 2 && name[0] == "information_schema" && name[1] == expandArray {
		for _, a := range f.Args {
			t.use(a, s, "a call of "+quoteIdent(name[1]))
		}
		return
	}
	if t.view == nil && t.configures(f, name) {
		t.configured = true
		return
	}
	if len(name) == 0 || !t.mayCall(name) {
		t.deny("a function is called that is not known")
		return
	}
	fn := name[len(name)-1]
	construct := "a call of " + quoteIdent(fn)
	counts := fn == "count" && len(f.Args) == 1 && !f.AggDistinct && len(f.AggOrder) == 0 && !f.AggWithinGroup && !f.FuncVariadic
	for _, a := range f.Args {
		if !t.rowArgument(a, s) && !(counts && t.asksNull(a, s, "count()")) {
			t.use(a, s, construct)
		}
	}
	for _, a := range f.AggOrder {
		t.operator(a.GetSortBy().GetUseOp())
		t.use(a.GetSortBy().GetNode(), s, construct)
	}
	t.use(f.AggFilter, s, "FILTER")
	t.window(f.Over, s)
}

// reference resolves a column. A name that is no column may be a whole row, which is as
// masked as any of its columns.
func (t *tracer) reference(ref *pgquery.ColumnRef, s *scope) column {
	fields := names(ref.Fields)
	if len(fields) != len(ref.Fields) || len(fields) == 0 {
		t.deny("a column is named in a way whose lineage is not established")
		return column{}
	}
	name := fields[len(fields)-1]
	var c column
	var found bool
	if len(fields) == 1 {
		if c, found = t.column(s, name); !found {
			c, found = t.wholeRow(s, name)
		} else if !s.certain(name) {
			t.hiddenRow(s, name)
		}
	} else {
		c, found = t.qualified(s, fields[:len(fields)-1], name, ref.Location)
	}
	if !found {
		t.noColumn(name, ref.Location)
		return column{secret: true}
	}
	return c
}

// noColumn refuses a name that is no column's. The server might take it for a function's.
func (t *tracer) noColumn(name string, at int32) {
	t.denyName(sql.FaultNoColumn, at, "the column "+quoteIdent(name)+" does not exist", "check its spelling")
}

// wholeRow resolves the name of a source used as a value.
func (t *tracer) wholeRow(s *scope, name string) (column, bool) {
	sources := s.sourcesNamed([]string{name})
	if len(sources) == 0 {
		return column{name: name}, systemColumns[name] && t.onlySource(s)
	}
	t.rows(sources)
	return column{name: name}, true
}

// hiddenRow establishes the whole row that a name means if the column of that name is not
// visible from there. One of the source itself is as visible as the row.
func (t *tracer) hiddenRow(s *scope, name string) {
	t.rows(slices.DeleteFunc(s.sourcesNamed([]string{name}), func(src *source) bool { return len(columnsNamed(src.columns, name)) > 0 }))
}

// rowArgument establishes an argument r.*, which stands for the row as a whole.
func (t *tracer) rowArgument(n *pgquery.Node, s *scope) bool {
	ref := n.GetColumnRef()
	fields := names(ref.GetFields())
	if len(fields) == 0 || len(fields) != len(ref.Fields)-1 || ref.Fields[len(fields)].GetAStar() == nil {
		return false
	}
	sources := s.sourcesNamed(fields)
	if len(sources) == 0 {
		t.deny("what a star stands for is not established")
	}
	t.rows(sources)
	return true
}

// rows denies sources used as values if anything in them is masked.
func (t *tracer) rows(sources []*source) {
	for _, src := range sources {
		for _, c := range src.columns {
			if c.mask != 0 || c.secret {
				t.denyColumn(c, "is part of a row that is used as a whole")
			}
		}
	}
}

// onlySource reports whether any source at all is around, for a system column.
func (t *tracer) onlySource(s *scope) bool {
	for ; s != nil; s = s.outer {
		for _, src := range s.sources {
			if src.table != "" {
				return true
			}
		}
	}
	return false
}

// operator checks an operator by its name, which may be qualified.
func (t *tracer) operator(list []*pgquery.Node) {
	name := names(list)
	switch {
	case len(name) == 0:
	case len(name) == 1:
		t.operatorName(name[0])
	case len(name) == 2 && name[0] == "pg_catalog":
	default:
		t.deny("an operator outside of pg_catalog is used")
	}
}

func (t *tracer) operatorName(name string) {
	if t.names.operators[name] {
		t.deny("the operator " + quoteIdent(name) + " is defined by a user of this database too; qualify it as OPERATOR(pg_catalog." + quoteOperator(name) + ")")
	}
}

// quoteOperator is the name of an operator in a sentence: it has no letters.
func quoteOperator(name string) string { return name[:min(len(name), 63)] }

// typeName checks a type that a value is cast to.
func (t *tracer) typeName(n *pgquery.TypeName) {
	name := names(n.GetNames())
	switch {
	case n == nil || n.PctType || n.Setof:
	case len(name) == 2 && name[0] == "pg_catalog" && plainTypes[name[1]]:
		return
	case len(name) == 1 && plainTypes[name[0]] && !t.names.types[name[0]]:
		return
	case (len(name) == 1 && !plainTypes[name[0]] || len(name) == 2) && t.names.harmlessType(name):
		return
	}
	t.deny("a type is named that is neither built in nor an enum, a plain domain or a type of an extension that computes")
}
