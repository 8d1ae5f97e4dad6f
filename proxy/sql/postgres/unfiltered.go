package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// A WHERE clause counts if it is known to keep an UPDATE or DELETE from some rows. The code
// knows the forms that ordinary conditions have, and takes every other one for no condition
// at all: it is asked whether to ask a human, which costs little where nothing is wrong.
// What the data is like it cannot know: id > 17 may hold for each row, and counts.

// strength is how a condition chooses among the rows of the target. The zero value says
// that it does not, or that nobody knows.
type strength uint8

const (
	ineffective strength = iota
	// weak conditions hold for all rows but some: <>, NOT IN, a column that is true. Two of
	// them joined by OR may hold for all.
	weak
	// ranged conditions bound columns from one side.
	ranged
	// selective conditions name the values that they hold for.
	selective
)

// effect is the strength of a condition, with the columns that it bounds if it is ranged.
type effect struct {
	strength     strength
	lower, upper []string
	// paired and ordered tell of conditions that join the target with another relation, or
	// itself, and leave rows out only together: one equals a column, one compares columns.
	paired, ordered bool
}

// unfiltered reports whether a statement is an UPDATE, DELETE or MERGE that nothing is known
// to keep from all rows. The queries are those of the WITH clauses around it.
func unfiltered(m any, around []*pgquery.CommonTableExpr) bool {
	switch m := m.(type) {
	case *pgquery.UpdateStmt:
		f := newFrame(m.Relation, m.WithClause, around, m.FromClause)
		return f.effect(m.WhereClause, false, 0).strength == ineffective
	case *pgquery.DeleteStmt:
		f := newFrame(m.Relation, m.WithClause, around, m.UsingClause)
		return f.effect(m.WhereClause, false, 0).strength == ineffective
	case *pgquery.MergeStmt:
		return mergeUnfiltered(m, around)
	}
	return false
}

// mergeUnfiltered reports whether a MERGE updates or deletes rows on a join that chooses
// none, or rows that the source does not name, without a condition.
func mergeUnfiltered(m *pgquery.MergeStmt, around []*pgquery.CommonTableExpr) bool {
	f := newFrame(m.Relation, m.WithClause, around, []*pgquery.Node{m.SourceRelation})
	joined := f.effect(m.JoinCondition, false, 0).strength != ineffective
	return slices.ContainsFunc(m.MergeWhenClauses, func(n *pgquery.Node) bool {
		w := n.GetMergeWhenClause()
		if w == nil || w.CommandType != pgquery.CmdType_CMD_UPDATE && w.CommandType != pgquery.CmdType_CMD_DELETE {
			return false
		}
		if joined && w.MatchKind == pgquery.MergeMatchKind_MERGE_WHEN_MATCHED {
			return false
		}
		return f.effect(w.Condition, false, 0).strength == ineffective
	})
}

// maxCondition bounds the nesting of conditions, maxSubSelects that of sub-selects in them.
const (
	maxCondition  = 64
	maxSubSelects = 6
)

// effect returns what a condition, or with not its negation, does to the rows.
func (f *frame) effect(n *pgquery.Node, not bool, depth int) effect {
	if n == nil || depth > maxCondition {
		return effect{}
	}
	switch e := unwrap(n).(type) {
	case *pgquery.BoolExpr:
		return f.boolEffect(e, not, depth)
	case *pgquery.A_Expr:
		return f.operatorEffect(e, not)
	case *pgquery.NullTest:
		return f.nullEffect(e, not)
	case *pgquery.BooleanTest:
		return f.testEffect(e, not, depth)
	case *pgquery.ColumnRef:
		if c, ok := f.column(n); ok && c.own {
			return effect{strength: weak}
		}
	case *pgquery.SubLink:
		return f.subLinkEffect(e, not)
	case *pgquery.CurrentOfExpr:
		if !not {
			return effect{strength: selective}
		}
	}
	return effect{}
}

func (f *frame) boolEffect(e *pgquery.BoolExpr, not bool, depth int) effect {
	var list []effect
	for _, a := range e.Args {
		inner := not
		if e.Boolop == pgquery.BoolExprType_NOT_EXPR {
			inner = !not
		}
		list = append(list, f.effect(a, inner, depth+1))
	}
	switch {
	case e.Boolop == pgquery.BoolExprType_NOT_EXPR && len(list) == 1:
		return list[0]
	case e.Boolop == pgquery.BoolExprType_AND_EXPR && !not, e.Boolop == pgquery.BoolExprType_OR_EXPR && not:
		return every(list)
	case e.Boolop == pgquery.BoolExprType_AND_EXPR, e.Boolop == pgquery.BoolExprType_OR_EXPR:
		return either(list)
	}
	return effect{}
}

// every is the effect of conditions that must all hold: that of the strongest.
func every(list []effect) effect {
	var out effect
	for _, e := range list {
		out.strength = max(out.strength, e.strength)
		out.lower, out.upper = append(out.lower, e.lower...), append(out.upper, e.upper...)
		out.paired, out.ordered = out.paired || e.paired, out.ordered || e.ordered
	}
	if out.paired && out.ordered {
		out.strength = max(out.strength, weak)
	}
	if out.strength != ranged {
		out.lower, out.upper = nil, nil
	}
	return out
}

// either is the effect of conditions of which one must hold. There is none if one of them
// has none or is weak, or if one bounds a column from below and another from above.
func either(list []effect) effect {
	out := effect{strength: selective}
	for _, e := range list {
		if e.strength <= weak || overlap(e.lower, out.upper) || overlap(e.upper, out.lower) {
			return effect{}
		}
		out.strength = min(out.strength, e.strength)
		out.lower, out.upper = append(out.lower, e.lower...), append(out.upper, e.upper...)
	}
	return out
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// nullEffect: IS NULL names a value. IS NOT NULL holds for all rows of most columns.
func (f *frame) nullEffect(e *pgquery.NullTest, not bool) effect {
	c, ok := f.column(e.Arg)
	if !ok || !c.own || (e.Nulltesttype == pgquery.NullTestType_IS_NULL) == not {
		return effect{}
	}
	return effect{strength: selective}
}

// testEffect is that of IS TRUE and its like. Of expressions only IS TRUE is as good as the
// expression, since the others let NULL through, or might once they are negated.
func (f *frame) testEffect(e *pgquery.BooleanTest, not bool, depth int) effect {
	known := e.Booltesttype != pgquery.BoolTestType_IS_NOT_UNKNOWN && e.Booltesttype != pgquery.BoolTestType_BOOL_TEST_TYPE_UNDEFINED
	if c, ok := f.column(e.Arg); ok && c.own && known && (e.Booltesttype != pgquery.BoolTestType_IS_UNKNOWN || !not) {
		return effect{strength: weak}
	}
	switch {
	case not:
		return effect{}
	case e.Booltesttype == pgquery.BoolTestType_IS_TRUE:
		return f.effect(e.Arg, false, depth+1)
	case e.Booltesttype == pgquery.BoolTestType_IS_FALSE:
		return f.effect(e.Arg, true, depth+1)
	}
	return effect{}
}

// negated are the operators that hold when others do not, but for NULL.
var negated = map[string]string{"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "~~": "!~~", "!~~": "~~",
	"~": "!~", "!~": "~", "~~*": "!~~*", "!~~*": "~~*", "~*": "!~*", "!~*": "~*"}

// operatorEffect is that of comparisons, by operators of pg_catalog or by bare names.
func (f *frame) operatorEffect(e *pgquery.A_Expr, not bool) effect {
	name := names(e.Name)
	if len(name) == 0 || len(name) > 2 || len(name) == 2 && name[0] != "pg_catalog" {
		return effect{}
	}
	op := name[len(name)-1]
	if not {
		op = negated[op]
	}
	switch e.Kind {
	case pgquery.A_Expr_Kind_AEXPR_OP, pgquery.A_Expr_Kind_AEXPR_LIKE, pgquery.A_Expr_Kind_AEXPR_ILIKE, pgquery.A_Expr_Kind_AEXPR_SIMILAR:
		return f.comparison(op, e.Lexpr, e.Rexpr)
	case pgquery.A_Expr_Kind_AEXPR_IN:
		return f.membership(op, e.Lexpr, e.Rexpr.GetList().GetItems())
	case pgquery.A_Expr_Kind_AEXPR_OP_ANY:
		if op == "=" {
			return f.anyElement(e.Lexpr, e.Rexpr)
		}
		if not && name[len(name)-1] == "=" {
			return f.allElements(e.Lexpr, e.Rexpr)
		}
	case pgquery.A_Expr_Kind_AEXPR_OP_ALL:
		if op == "<>" && !not {
			return f.allElements(e.Lexpr, e.Rexpr)
		}
	case pgquery.A_Expr_Kind_AEXPR_BETWEEN:
		if bounds := e.Rexpr.GetList().GetItems(); !not && len(bounds) == 2 {
			return between(f.comparison(">=", e.Lexpr, bounds[0]), f.comparison("<=", e.Lexpr, bounds[1]))
		}
	case pgquery.A_Expr_Kind_AEXPR_NOT_DISTINCT, pgquery.A_Expr_Kind_AEXPR_DISTINCT:
		return f.distinctEffect(e, not)
	default: // none of the others
	}
	return effect{}
}

func between(low, high effect) effect {
	out := every([]effect{low, high})
	out.lower, out.upper = append(out.lower, out.upper...), append(out.upper, out.lower...)
	return out
}

// distinctEffect is that of IS DISTINCT FROM: of = and <>, and of IS NULL.
func (f *frame) distinctEffect(e *pgquery.A_Expr, not bool) effect {
	same := (e.Kind == pgquery.A_Expr_Kind_AEXPR_NOT_DISTINCT) != not
	if !e.Rexpr.GetAConst().GetIsnull() {
		if !f.value(e.Rexpr) {
			return effect{}
		}
		if !same {
			return f.comparison("<>", e.Lexpr, e.Rexpr)
		}
		return f.comparison("=", e.Lexpr, e.Rexpr)
	}
	if c, ok := f.column(e.Lexpr); ok && c.own && same {
		return effect{strength: selective}
	}
	return effect{}
}
