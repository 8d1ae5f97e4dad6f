package postgres

import (
	"math"
	"regexp"
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

var (
	day    = regexp.MustCompile(`^\s*(\d{4})-\d{1,2}-\d{1,2}([ T][0-9:.+\-Zz ]*)?\s*$`)
	length = regexp.MustCompile(`^\s*-?(\d{1,5} ?(s|sec|secs|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)|\d{1,3} ?(mons?|months?)|\d{1,2} ?(y|years?))( ago)?\s*$|^P?\d{1,5}D$`)
)

// clock are the functions that tell the time, and what SQL has for them.
var (
	clock      = words("now statement_timestamp transaction_timestamp clock_timestamp")
	clockWords = []pgquery.SQLValueFunctionOp{pgquery.SQLValueFunctionOp_SVFOP_CURRENT_DATE, pgquery.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP,
		pgquery.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N, pgquery.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP, pgquery.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N}
)

// bound reports whether a value lies within what columns hold, so that it bounds them from
// above or below: parameters, the time and near it, dates of our days, and numbers that are
// neither about nothing nor the end of a type.
func bound(above bool, n *pgquery.Node) bool {
	if v, ok := number(n); ok {
		return !beyond(v) && (above && v < math.MaxInt32 || !above && v > 1)
	}
	switch e := unwrap(uncast(n)).(type) {
	case *pgquery.ParamRef:
		return true
	case *pgquery.A_Const:
		return ourDay(above, e.GetSval().GetSval())
	case *pgquery.SQLValueFunction:
		return slices.Contains(clockWords, e.Op)
	case *pgquery.FuncCall:
		name := builtin(e)
		return clock[name] && len(e.Args) == 0 || name == "date_trunc" && len(e.Args) == 2 && e.Args[0].GetAConst() != nil && bound(above, e.Args[1])
	case *pgquery.A_Expr:
		return isOperation(e, "+", "-") && uncast(e.Lexpr).GetAConst().GetIval() == nil && bound(above, e.Lexpr) && span(e.Rexpr)
	}
	return false
}

// ourDay reports whether a text is a date that rows have on either side.
func ourDay(above bool, text string) bool {
	m := day.FindStringSubmatch(text)
	return m != nil && (above && m[1] < "2100" || !above && m[1] >= "2000")
}

// span reports whether a value is a stretch of time, or a number of days, that is no age.
func span(n *pgquery.Node) bool {
	if v, ok := number(n); ok {
		return v < 10000
	}
	switch e := unwrap(uncast(n)).(type) {
	case *pgquery.ParamRef:
		return true
	case *pgquery.A_Const:
		return length.MatchString(strings.ToLower(e.GetSval().GetSval()))
	case *pgquery.A_Expr:
		return isOperation(e, "*") && span(e.Lexpr) && span(e.Rexpr) && (uncast(e.Lexpr).GetParamRef() != nil || uncast(e.Rexpr).GetParamRef() != nil)
	}
	return false
}
