package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// The names that the server gives to outputs without one have to be known exactly: what a
// name means in the query around, and what a NATURAL JOIN joins by, depends on them.

// outputName is the name that the server gives to an output column. The sub-selects in it
// are established already.
func (t *tracer) outputName(r *pgquery.ResTarget) string {
	if r.Name != "" {
		return r.Name
	}
	if name, given := t.expressionName(r.Val, 0); given != unnamed {
		return name
	}
	return "?column?"
}

// How an expression has its name: a type's or that of CASE gives way to that of a type
// around it.
const (
	unnamed = iota
	named
	namedWell
)

// expressionName follows FigureColnameInternal of the server's parse_target.c.
func (t *tracer) expressionName(n *pgquery.Node, depth int) (string, int) {
	if depth > maxDepth {
		t.deny("the statement nests too deeply")
		return "", unnamed
	}
	switch e := unwrap(n).(type) {
	case *pgquery.ColumnRef:
		return well(last(e.Fields))
	case *pgquery.A_Indirection:
		if name := last(e.Indirection); name != "" {
			return name, namedWell
		}
		return t.expressionName(e.Arg, depth+1)
	case *pgquery.TypeCast:
		name, given := t.expressionName(e.Arg, depth+1)
		if given != namedWell {
			return last(e.TypeName.GetNames()), named
		}
		return name, given
	case *pgquery.CollateClause:
		return t.expressionName(e.Arg, depth+1)
	case *pgquery.CaseExpr:
		name, given := t.expressionName(e.Defresult, depth+1)
		if given != namedWell {
			return "case", named
		}
		return name, given
	case *pgquery.SubLink:
		return well(t.subLinkName(e))
	}
	return well(constructName(unwrap(n)))
}

func well(name string) (string, int) {
	if name == "" {
		return "", unnamed
	}
	return name, namedWell
}

// constructName is the name that an expression has from its kind; empty if it has none.
func constructName(m any) string {
	switch e := m.(type) {
	case *pgquery.FuncCall:
		return last(e.Funcname)
	case *pgquery.CoalesceExpr:
		return "coalesce"
	case *pgquery.MinMaxExpr:
		if e.Op == pgquery.MinMaxOp_IS_LEAST {
			return "least"
		}
		return "greatest"
	case *pgquery.A_ArrayExpr:
		return "array"
	case *pgquery.RowExpr:
		return "row"
	case *pgquery.GroupingFunc:
		return "grouping"
	case *pgquery.SQLValueFunction:
		return valueFunctionName(e)
	case *pgquery.A_Expr:
		if e.Kind == pgquery.A_Expr_Kind_AEXPR_NULLIF {
			return "nullif"
		}
	}
	return constructor(m)
}

func (t *tracer) subLinkName(e *pgquery.SubLink) string {
	switch e.SubLinkType {
	case pgquery.SubLinkType_EXISTS_SUBLINK:
		return "exists"
	case pgquery.SubLinkType_ARRAY_SUBLINK:
		return "array"
	case pgquery.SubLinkType_EXPR_SUBLINK:
		if out := t.selects[e]; len(out) > 0 {
			return out[0].name
		}
		t.deny("a sub-select's column is not established")
	default: // the others have no name of their own
	}
	return ""
}

// valueFunctionName is the name of CURRENT_DATE and its kin.
func valueFunctionName(e *pgquery.SQLValueFunction) string {
	switch e.Op {
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_DATE:
		return "current_date"
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_TIME, pgquery.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N:
		return "current_time"
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP, pgquery.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N:
		return "current_timestamp"
	case pgquery.SQLValueFunctionOp_SVFOP_LOCALTIME, pgquery.SQLValueFunctionOp_SVFOP_LOCALTIME_N:
		return "localtime"
	case pgquery.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP, pgquery.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N:
		return "localtimestamp"
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_ROLE:
		return "current_role"
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_USER:
		return "current_user"
	case pgquery.SQLValueFunctionOp_SVFOP_USER:
		return "user"
	case pgquery.SQLValueFunctionOp_SVFOP_SESSION_USER:
		return "session_user"
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:
		return "current_catalog"
	case pgquery.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA:
		return "current_schema"
	default:
		return ""
	}
}
