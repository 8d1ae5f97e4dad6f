package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// outputsOwn reports whether all columns in the output of a query are known to be its own.
func (f *frame) outputsOwn(s *pgquery.SelectStmt) bool {
	if f.lone {
		return true
	}
	for _, n := range append(slices.Clone(s.TargetList), s.ValuesLists...) {
		ok := true
		walk(unwrap(n), 0, func(m any) {
			if r, is := m.(*pgquery.ColumnRef); is {
				ok = ok && f.surely(r.Fields, "")
			}
		})
		if !ok {
			return false
		}
	}
	return true
}

// surely reports whether a column is one of the query's own: a name alone that none of its
// relations has means a column of the statement around. That the query's relations have a
// column is known if they are the target, or a query. Or it is none of the target with that
// name, other than the one it is compared with.
func (f *frame) surely(fields []*pgquery.Node, compared string) bool {
	name := names(fields)
	if len(name) == 0 {
		return true // all columns
	}
	if len(name) > 1 {
		return f.own[name[len(name)-2]] != nil
	}
	if len(fields) > len(name) {
		return false
	}
	if compared != "" && name[0] != compared {
		return true
	}
	for _, s := range f.own {
		if s.relation != "" && s.relation == f.self || slices.Contains(s.columns, name[0]) {
			return true
		}
	}
	return false
}

// drawsScalar reports whether n is a sub-select that is fit to be compared with a column.
func (f *frame) drawsScalar(c chosen, n *pgquery.Node) bool {
	e := n.GetSubLink()
	return e != nil && e.SubLinkType == pgquery.SubLinkType_EXPR_SUBLINK && f.draws(c, e.Subselect.GetSelectStmt())
}

// draws reports whether a sub-select returns values that leave rows out when a column is
// compared with them: not the column itself, nor all that the target holds.
func (f *frame) draws(c chosen, s *pgquery.SelectStmt) bool {
	in, on := f.inside(s, false)
	if in == nil {
		return false
	}
	if s.Op != pgquery.SetOperation_SETOP_NONE {
		return in.draws(c, s.Larg) && in.draws(c, s.Rarg)
	}
	if len(s.ValuesLists) > 0 {
		return !slices.ContainsFunc(s.ValuesLists, func(row *pgquery.Node) bool {
			items := row.GetList().GetItems()
			return len(items) != 1 || !f.value(items[0])
		})
	}
	if len(s.TargetList) != 1 || in.opaque() {
		return false
	}
	output := s.TargetList[0].GetResTarget().GetVal()
	if e := output.GetFuncCall(); e != nil && len(s.FromClause) == 0 && builtin(e) == "unnest" && len(e.Args) == 1 {
		return element(e.Args[0])
	}
	if of := extreme(output); of != nil {
		output = of
	}
	ref := output.GetColumnRef()
	if ref == nil || len(in.own) == 0 || !in.surely(ref.Fields, c.name) {
		return false
	}
	return !in.loose(s, on)
}

// subLinkEffect is the effect of IN (SELECT …) and EXISTS. Negated they are weak, if the
// sub-select has no condition that might make it empty.
func (f *frame) subLinkEffect(e *pgquery.SubLink, not bool) effect {
	s := e.Subselect.GetSelectStmt()
	if s == nil {
		return effect{}
	}
	fits := false
	switch e.SubLinkType {
	case pgquery.SubLinkType_ANY_SUBLINK:
		if op := names(e.OperName); len(op) > 0 && !slices.Equal(op, []string{"="}) {
			return effect{}
		}
		c, _, ok := f.subject(e.Testexpr, 0)
		fits = ok && (f.draws(c, s) || not && f.keepsOne(c, s)) && (!not || f.solid(s))
	case pgquery.SubLinkType_EXISTS_SUBLINK:
		fits = f.exists(s, not)
	default: // none of the others
	}
	switch {
	case !fits:
		return effect{}
	case not:
		return effect{strength: weak}
	}
	return effect{strength: selective}
}

// keepsOne recognises NOT IN (SELECT min(id) … GROUP BY …) of the target, which leaves one
// row of each group.
func (f *frame) keepsOne(c chosen, s *pgquery.SelectStmt) bool {
	in, _ := f.inside(s, false)
	if in == nil || len(s.TargetList) != 1 || len(s.GroupClause) == 0 || len(s.FromClause) != 1 || in.opaque() {
		return false
	}
	ref := extreme(s.TargetList[0].GetResTarget().GetVal()).GetColumnRef()
	return ref != nil && in.surely(ref.Fields, c.name)
}

// solid reports whether nothing but known conditions keeps a sub-select from rows.
func (f *frame) solid(s *pgquery.SelectStmt) bool {
	if s.HavingClause != nil || s.LimitCount != nil || s.LimitOffset != nil || s.Op != pgquery.SetOperation_SETOP_NONE {
		return false
	}
	in, _ := f.inside(s, false)
	return in != nil && (s.WhereClause == nil || in.allKnown(s.WhereClause))
}

// allKnown reports whether each conjunct of a condition has an effect.
func (f *frame) allKnown(n *pgquery.Node) bool {
	if e := n.GetBoolExpr(); e != nil && e.Boolop == pgquery.BoolExprType_AND_EXPR {
		return !slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return !f.allKnown(a) })
	}
	return f.effect(n, false, 0).strength != ineffective
}

// exists reports whether EXISTS of a sub-select depends on the row: it is joined with the
// target, and returns no row where the join finds none.
func (f *frame) exists(s *pgquery.SelectStmt, not bool) bool {
	in, on := f.inside(s, false)
	if in == nil || s.Op != pgquery.SetOperation_SETOP_NONE || len(s.GroupClause) > 0 || s.HavingClause != nil || s.LimitOffset != nil ||
		in.opaque() || s.WhereClause == nil || not && s.LimitCount != nil {
		return false
	}
	calls := false
	for _, n := range s.TargetList {
		walk(unwrap(n), 0, func(m any) {
			_, is := m.(*pgquery.FuncCall)
			calls = calls || is
		})
	}
	if calls {
		return false
	}
	join := &frame{self: f.self, own: map[string]*supply{}, other: in.own, outer: f.outer, ctes: in.ctes, known: f.known, depth: in.depth}
	for name, o := range f.own {
		if in.own[name] == nil {
			join.own[name] = o
		}
	}
	if join.effect(s.WhereClause, false, 0).strength == ineffective {
		return false
	}
	if not {
		return len(on) == 0 && join.joins(in, s.WhereClause)
	}
	return true
}

// joins reports whether each conjunct of a condition has an effect, on the target or on
// what the sub-select reads.
func (f *frame) joins(in *frame, n *pgquery.Node) bool {
	if e := n.GetBoolExpr(); e != nil && e.Boolop == pgquery.BoolExprType_AND_EXPR {
		return !slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return !f.joins(in, a) })
	}
	return f.effect(n, false, 0).strength != ineffective || in.effect(n, false, 0).strength != ineffective
}
