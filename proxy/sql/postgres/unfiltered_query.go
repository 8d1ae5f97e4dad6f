package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// supply is what an item of FROM may be.
type supply struct {
	relation string   // its name; empty if it is none
	loose    bool     // reads the relation whose rows are changed, maybe all of them
	opaque   bool     // is not understood
	columns  []string // of a query; nil if they are not known
}

// frame is where names of a condition are looked up. Own are the items whose rows the
// condition chooses: the target, or inside of a sub-select its FROM.
type frame struct {
	self  string // the relation whose rows are changed
	own   map[string]*supply
	other map[string]*supply
	bare  bool // a name alone is a column of own
	lone  bool // no names of a statement around can be used
	// outer is what the statement calls the target, inside of its sub-selects.
	outer string
	ctes  []*pgquery.CommonTableExpr
	// known are the WITH queries that were looked at, or are being.
	known map[*pgquery.CommonTableExpr]*supply
	depth int
}

// chosen is a column that a condition names. Without a source it is one of any relation.
type chosen struct {
	name string
	of   *supply
	own  bool
}

func newFrame(r *pgquery.RangeVar, with *pgquery.WithClause, around []*pgquery.CommonTableExpr, from []*pgquery.Node) *frame {
	name := called(r)
	f := &frame{self: r.GetRelname(), outer: name, ctes: slices.Clone(around), other: map[string]*supply{}, bare: len(from) == 0, lone: true,
		own: map[string]*supply{name: {relation: r.GetRelname()}}, known: map[*pgquery.CommonTableExpr]*supply{}}
	f.ctes = append(f.ctes, queries(with)...)
	for _, c := range f.ctes {
		f.query(c) // here, where no names of a statement around can be used
	}
	f.sources(from, f.other, nil, 0)
	if f.other[name] != nil {
		f.own = nil
	}
	return f
}

// called is what a statement calls a relation.
func called(r *pgquery.RangeVar) string {
	if a := r.GetAlias(); a != nil {
		return a.Aliasname
	}
	return r.GetRelname()
}

func queries(w *pgquery.WithClause) []*pgquery.CommonTableExpr {
	var out []*pgquery.CommonTableExpr
	for _, n := range w.GetCtes() {
		if c := n.GetCommonTableExpr(); c != nil {
			out = append(out, c)
		}
	}
	return out
}

// column looks up a column; a whole row is none.
func (f *frame) column(n *pgquery.Node) (chosen, bool) {
	fields := n.GetColumnRef().GetFields()
	name := names(fields)
	if len(name) == 0 || len(name) != len(fields) || len(name) > 3 {
		return chosen{}, false
	}
	c := chosen{name: name[len(name)-1]}
	if len(name) == 1 {
		if f.own[c.name] != nil || f.other[c.name] != nil {
			return chosen{}, false
		}
		if c.own = f.bare; f.bare && len(f.own) == 1 {
			for _, s := range f.own {
				c.of = s
			}
		}
		return c, true
	}
	qualifier := name[len(name)-2]
	if s := f.own[qualifier]; s != nil {
		c.of, c.own = s, true
		return c, true
	}
	c.of = f.other[qualifier]
	return c, c.of != nil
}

// relates reports whether comparing a column with another one chooses rows: with another of
// the same relation, or one of another relation. A row equals itself.
func (f *frame) relates(c chosen, plain bool, n *pgquery.Node, op string) bool {
	o, ok := f.column(n)
	if !ok || !plain || hidden[o.name] || hidden[c.name] {
		return false
	}
	if o.of == nil {
		return o.name != c.name && !f.renames()
	}
	switch {
	case o.of.opaque:
		return false
	case o.of.relation == "":
		return !o.of.loose
	case o.name != c.name:
		return true
	case c.of == nil || o.of == c.of:
		return false
	case o.of.relation == c.of.relation:
		return op == "<" || op == ">"
	}
	return true
}

// again reports whether n is the same column of the same relation, looked at once more.
func (f *frame) again(c chosen, plain bool, n *pgquery.Node) bool {
	o, ok := f.column(n)
	return ok && plain && o.name == c.name && !hidden[c.name] && o.of != nil && c.of != nil && o.of != c.of && o.of.relation != "" &&
		o.of.relation == c.of.relation
}

// renames reports whether a name alone may be a column of the target under another name.
func (f *frame) renames() bool {
	for _, s := range f.other {
		if s.opaque || s.loose && s.relation == "" {
			return true
		}
	}
	return false
}

// differs reports whether n is another column of the same row.
func (f *frame) differs(c chosen, plain bool, n *pgquery.Node) bool {
	o, ok := f.column(n)
	return ok && plain && o.own && o.of != nil && o.of == c.of && o.name != c.name && !hidden[o.name]
}

// feeding are functions that return what their arguments hold.
var feeding = words(`unnest json_to_recordset jsonb_to_recordset json_populate_recordset jsonb_populate_recordset json_array_elements
	jsonb_array_elements json_array_elements_text jsonb_array_elements_text string_to_table regexp_split_to_table`)

// sources adds the items of FROM to a map, and returns the conditions that join them.
func (f *frame) sources(from []*pgquery.Node, to map[string]*supply, on []*pgquery.Node, depth int) []*pgquery.Node {
	for _, n := range from {
		switch m := unwrap(n).(type) {
		case *pgquery.RangeVar:
			s := f.named(m)
			if len(m.Alias.GetColnames()) > 0 {
				s = &supply{opaque: true, loose: s.loose}
			}
			to[called(m)] = s
		case *pgquery.RangeSubselect:
			s := f.derived(m.Subquery.GetSelectStmt())
			if columns := names(m.Alias.GetColnames()); len(columns) > 0 {
				s.columns = columns
			}
			s.opaque = s.opaque || m.Lateral
			to[m.Alias.GetAliasname()] = s
		case *pgquery.RangeFunction:
			to[m.Alias.GetAliasname()] = &supply{opaque: !feeds(m), columns: names(m.Alias.GetColnames())}
		case *pgquery.JoinExpr:
			if depth > maxCondition || m.Alias != nil || m.JoinUsingAlias != nil {
				to[m.Alias.GetAliasname()] = &supply{opaque: true, loose: true}
				continue
			}
			if m.Jointype == pgquery.JoinType_JOIN_INNER && m.Quals != nil {
				on = append(on, m.Quals)
			}
			on = f.sources([]*pgquery.Node{m.Larg, m.Rarg}, to, on, depth+1)
		default:
			to[""] = &supply{opaque: true, loose: true}
		}
	}
	return on
}

// feeds reports whether all that a function returns is from values.
func feeds(m *pgquery.RangeFunction) bool {
	if m.Lateral || m.IsRowsfrom || len(m.Functions) != 1 || len(m.Functions[0].GetList().GetItems()) == 0 {
		return false
	}
	e := m.Functions[0].GetList().Items[0].GetFuncCall()
	return e != nil && feeding[builtin(e)] && !slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return !element(a) })
}

// element reports whether n is a value or an array of them.
func element(n *pgquery.Node) bool {
	if a := uncast(n).GetAArrayExpr(); a != nil {
		return !slices.ContainsFunc(a.Elements, func(n *pgquery.Node) bool { return !value(n, 0) })
	}
	return value(n, 0)
}

// named is what a relation's name stands for. A WITH query of that name may be out of
// scope, so that the name of the target is always the target too.
func (f *frame) named(r *pgquery.RangeVar) *supply {
	if r.Relname == f.self {
		return &supply{relation: r.Relname, loose: true}
	}
	if r.Schemaname == "" {
		var found *supply
		for _, c := range f.ctes {
			if c.Ctename != r.Relname {
				continue
			}
			s := *f.query(c)
			if found != nil {
				s.loose, s.opaque = s.loose || found.loose, s.opaque || found.opaque
			}
			found = &s
		}
		if found != nil {
			return found
		}
	}
	return &supply{relation: r.Relname}
}

// query is what a WITH query reads.
func (f *frame) query(c *pgquery.CommonTableExpr) *supply {
	if s := f.known[c]; s != nil {
		return s
	}
	s := &supply{}
	f.known[c] = s
	switch m := unwrap(c.Ctequery).(type) {
	case *pgquery.SelectStmt:
		*s = *f.derived(m)
	default: // what another write returns
		s.loose = f.reads(m)
	}
	if list := names(c.Aliascolnames); len(list) > 0 {
		s.columns = list
	}
	return s
}

// derived is what a query of FROM or WITH reads.
func (f *frame) derived(s *pgquery.SelectStmt) *supply {
	in, on := f.inside(s, f.lone)
	if in == nil {
		return &supply{loose: true, opaque: true}
	}
	if s.Op != pgquery.SetOperation_SETOP_NONE {
		a, b := in.derived(s.Larg), in.derived(s.Rarg)
		return &supply{loose: a.loose || b.loose, opaque: a.opaque || b.opaque, columns: a.columns}
	}
	out := &supply{loose: in.loose(s, on)}
	out.opaque = in.opaque() || in.correlated(s) || !in.outputsOwn(s)
	out.columns = outputNames(s)
	return out
}

// inside is the frame of a sub-select's own condition, with the conditions of its joins;
// nil if it nests too deeply.
func (f *frame) inside(s *pgquery.SelectStmt, lone bool) (*frame, []*pgquery.Node) {
	if s == nil || f.depth >= maxSubSelects {
		return nil, nil
	}
	in := &frame{self: f.self, outer: f.outer, own: map[string]*supply{}, bare: true, lone: lone, known: f.known, depth: f.depth + 1}
	in.ctes = append(slices.Clone(f.ctes), queries(s.WithClause)...)
	on := in.sources(s.FromClause, in.own, nil, 0)
	return in, on
}

func (f *frame) opaque() bool {
	for _, s := range f.own {
		if s.opaque {
			return true
		}
	}
	return false
}

// reads reports whether a statement names the target as a relation, or a query that may
// return all of it.
func (f *frame) reads(m any) bool {
	found := false
	walk(m, 0, func(m any) {
		if r, ok := m.(*pgquery.RangeVar); ok {
			found = found || f.named(r).loose
		}
	})
	return found
}

func walk(m any, depth int, f func(m any)) {
	if depth > maxDepth {
		return
	}
	f(m)
	children(m, func(child any) { walk(child, depth+1, f) })
}

// correlated reports whether a query names the target of the statement around it.
func (f *frame) correlated(s *pgquery.SelectStmt) bool {
	if f.own[f.outer] != nil {
		return false
	}
	found := false
	walk(s, 0, func(m any) {
		if r, ok := m.(*pgquery.ColumnRef); ok {
			name := names(r.Fields)
			found = found || len(name) > 0 && slices.Contains(name[:len(name)-1], f.outer) || len(name) == 1 && name[0] == f.outer
		}
	})
	return found
}

// loose reports whether a query may return all rows of the target: it reads them and is not
// known to be kept from some.
func (f *frame) loose(s *pgquery.SelectStmt, on []*pgquery.Node) bool {
	of := &frame{self: f.self, outer: f.outer, own: map[string]*supply{}, other: map[string]*supply{}, bare: len(f.own) == 1,
		ctes: f.ctes, known: f.known, depth: f.depth}
	for name, s := range f.own {
		if s.loose {
			of.own[name] = s
		} else {
			of.other[name] = s
		}
	}
	if len(of.own) == 0 {
		return s.FromClause == nil && f.reads(s)
	}
	var list []effect
	for _, n := range append(on, s.WhereClause) {
		list = append(list, of.effect(n, false, 0))
	}
	if len(of.own) == 1 && every(list).strength != ineffective {
		return false
	}
	if f.correlated(s) {
		return true
	}
	if v, ok := number(s.LimitCount); s.LimitOption == pgquery.LimitOption_LIMIT_OPTION_COUNT && (ok && v < 100000 || s.LimitCount.GetParamRef() != nil) {
		return false
	}
	return len(s.GroupClause) > 0 || len(s.TargetList) != 1 || extreme(s.TargetList[0].GetResTarget().GetVal()) == nil
}

// extreme returns the argument of min or max.
func extreme(n *pgquery.Node) *pgquery.Node {
	if e := n.GetFuncCall(); e != nil && len(e.Args) == 1 && (builtin(e) == "min" || builtin(e) == "max") {
		return e.Args[0]
	}
	return nil
}

// outputNames are the names of a query's columns; nil if they are not known.
func outputNames(s *pgquery.SelectStmt) []string {
	var out []string
	for _, n := range s.TargetList {
		t := n.GetResTarget()
		name := t.GetName()
		if name == "" {
			list := t.GetVal().GetColumnRef().GetFields()
			if name = last(list); name == "" || len(names(list)) != len(list) {
				return nil
			}
		}
		out = append(out, name)
	}
	return out
}
