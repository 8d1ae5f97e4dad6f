package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// predicates are the places where a masked column may be compared with constants, if its
// rule says so. What is compared elsewhere, in a function's argument or as an output, can
// be combined into more than the answer to one comparison.
var predicates = map[string]bool{"WHERE": true, "JOIN": true}

// equality reports whether e compares a masked column with constants alone, by = or IN,
// where the rule admits that. Everything else is for others to judge.
func (t *tracer) equality(e *pgquery.A_Expr, s *scope, construct string) bool {
	if !predicates[construct] || last(e.Name) != "=" {
		return false
	}
	ref, against := e.Lexpr.GetColumnRef(), e.Rexpr
	switch e.Kind {
	case pgquery.A_Expr_Kind_AEXPR_OP:
		if ref == nil {
			ref, against = e.Rexpr.GetColumnRef(), e.Lexpr
		}
		if ref == nil || !constant(against) {
			return false
		}
	case pgquery.A_Expr_Kind_AEXPR_OP_ANY:
		if ref == nil || !constant(against) && !constants(against.GetAArrayExpr().GetElements()) {
			return false
		}
	case pgquery.A_Expr_Kind_AEXPR_IN:
		if ref == nil || !constants(against.GetList().GetItems()) {
			return false
		}
	default:
		return false
	}
	c := t.reference(ref, s)
	if c.mask == 0 || c.secret || !c.uses.Equality {
		return false
	}
	t.operator(e.Name)
	t.use(against, s, construct) // the types that constants are cast to
	t.sensitive = true
	return true
}

// constant reports whether n is a constant or parameter, cast or not.
func constant(n *pgquery.Node) bool {
	if c := n.GetTypeCast(); c != nil {
		n = c.Arg
	}
	return n.GetAConst() != nil || n.GetParamRef() != nil
}

// constants reports whether all of a list, which is not empty, are.
func constants(list []*pgquery.Node) bool {
	for _, n := range list {
		if !constant(n) {
			return false
		}
	}
	return len(list) > 0
}
