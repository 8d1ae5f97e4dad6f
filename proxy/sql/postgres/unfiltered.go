package postgres

import (
	"regexp"
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unfiltered reports whether a statement is an UPDATE or DELETE that nothing keeps from
// all rows. It rather says so once too often: it is asked whether to ask a human.
func unfiltered(m any) bool {
	switch m := m.(type) {
	case *pgquery.UpdateStmt:
		return target{m.Relation, m.WithClause, m.FromClause}.always(m.WhereClause, 0)
	case *pgquery.DeleteStmt:
		return target{m.Relation, m.WithClause, m.UsingClause}.always(m.WhereClause, 0)
	case *pgquery.MergeStmt:
		return mergeUnfiltered(m)
	}
	return false
}

// mergeUnfiltered reports whether a MERGE updates or deletes rows on a join that is always
// true, or rows that the source does not name, without a condition.
func mergeUnfiltered(m *pgquery.MergeStmt) bool {
	t := target{m.Relation, m.WithClause, []*pgquery.Node{m.SourceRelation}}
	join := t.always(m.JoinCondition, 0)
	return slices.ContainsFunc(m.MergeWhenClauses, func(n *pgquery.Node) bool {
		w := n.GetMergeWhenClause()
		if w == nil || w.CommandType != pgquery.CmdType_CMD_UPDATE && w.CommandType != pgquery.CmdType_CMD_DELETE {
			return false
		}
		return (join || w.MatchKind == pgquery.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE) && t.always(w.Condition, 0)
	})
}

// target is the relation whose rows are changed, with what else the statement reads.
type target struct {
	r    *pgquery.RangeVar
	with *pgquery.WithClause
	from []*pgquery.Node
}

// always reports whether a condition is, or may well be, true of every row: it looks at no
// column of the target, or says the same of all its values.
func (t target) always(n *pgquery.Node, depth int) bool {
	if n == nil || !t.refers(unwrap(n), false, 0) {
		return n.GetCurrentOfExpr() == nil
	}
	if depth > 64 {
		return true
	}
	switch e := unwrap(n).(type) {
	case *pgquery.BoolExpr:
		return t.boolAlways(e, depth)
	case *pgquery.A_Expr:
		return t.operatorAlways(e)
	case *pgquery.NullTest:
		return e.Nulltesttype == pgquery.NullTestType_IS_NOT_NULL
	case *pgquery.BooleanTest:
		switch e.Booltesttype {
		case pgquery.BoolTestType_IS_NOT_UNKNOWN:
			return true
		case pgquery.BoolTestType_IS_TRUE, pgquery.BoolTestType_IS_NOT_FALSE:
			return t.always(e.Arg, depth+1)
		case pgquery.BoolTestType_IS_FALSE, pgquery.BoolTestType_IS_NOT_TRUE:
			return t.never(e.Arg, depth+1)
		case pgquery.BoolTestType_IS_UNKNOWN:
			return false
		default:
			return true
		}
	case *pgquery.CaseExpr:
		for _, w := range e.Args {
			if !t.always(w.GetCaseWhen().GetResult(), depth+1) {
				return false
			}
		}
		return e.Defresult != nil && t.always(e.Defresult, depth+1)
	case *pgquery.TypeCast:
		return t.always(e.Arg, depth+1)
	case *pgquery.CoalesceExpr:
		return len(e.Args) > 0 && t.always(e.Args[0], depth+1)
	case *pgquery.SubLink:
		return t.selfMember(e)
	}
	return false
}

// never reports whether a condition may well be false of every row.
func (t target) never(n *pgquery.Node, depth int) bool {
	if depth > 64 || !t.refers(unwrap(n), false, 0) {
		return true
	}
	switch e := unwrap(n).(type) {
	case *pgquery.BoolExpr:
		switch e.Boolop {
		case pgquery.BoolExprType_NOT_EXPR:
			return t.always(e.Args[0], depth+1)
		case pgquery.BoolExprType_AND_EXPR:
			return slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return t.never(a, depth+1) }) || complements(e.Args)
		case pgquery.BoolExprType_OR_EXPR:
			return !slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return !t.never(a, depth+1) })
		default:
			return true
		}
	case *pgquery.NullTest:
		return e.Nulltesttype == pgquery.NullTestType_IS_NULL
	case *pgquery.BooleanTest:
		return e.Booltesttype == pgquery.BoolTestType_IS_UNKNOWN
	case *pgquery.A_Expr:
		switch operator(e) {
		case "<>", "<", ">", "!~~", "!~~*":
			return same(e.Lexpr, e.Rexpr) || everyPattern(e.Rexpr)
		}
	}
	return false
}

func (t target) boolAlways(e *pgquery.BoolExpr, depth int) bool {
	switch e.Boolop {
	case pgquery.BoolExprType_NOT_EXPR:
		return len(e.Args) != 1 || t.never(e.Args[0], depth+1)
	case pgquery.BoolExprType_AND_EXPR:
		return !slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return !t.always(a, depth+1) })
	case pgquery.BoolExprType_OR_EXPR:
		return slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return t.always(a, depth+1) }) || complements(e.Args)
	default:
		return true
	}
}

// operatorAlways recognises comparisons that hold for all values.
func (t target) operatorAlways(e *pgquery.A_Expr) bool {
	switch e.Kind {
	case pgquery.A_Expr_Kind_AEXPR_IN, pgquery.A_Expr_Kind_AEXPR_BETWEEN, pgquery.A_Expr_Kind_AEXPR_BETWEEN_SYM:
		list := e.Rexpr.GetList().GetItems()
		if e.Kind == pgquery.A_Expr_Kind_AEXPR_IN && operator(e) == "<>" {
			return false
		}
		return slices.ContainsFunc(list, func(n *pgquery.Node) bool { return same(e.Lexpr, n) })
	case pgquery.A_Expr_Kind_AEXPR_OP_ANY:
		return slices.ContainsFunc(e.Rexpr.GetAArrayExpr().GetElements(), func(n *pgquery.Node) bool { return same(e.Lexpr, n) })
	case pgquery.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		return same(e.Lexpr, e.Rexpr)
	case pgquery.A_Expr_Kind_AEXPR_DISTINCT:
		return e.Rexpr.GetAConst().GetIsnull() || e.Lexpr.GetAConst().GetIsnull()
	default: // the operator alone says what the others mean
	}
	switch operator(e) {
	case "=", "<=", ">=":
		return same(e.Lexpr, e.Rexpr) || t.oneColumn(e.Lexpr) != "" && t.oneColumn(e.Lexpr) == t.oneColumn(e.Rexpr) || t.selfJoin(e)
	case "~~", "~~*", "~", "~*":
		return everyPattern(e.Rexpr) || same(e.Lexpr, e.Rexpr)
	}
	return false
}

func operator(e *pgquery.A_Expr) string {
	name := names(e.Name)
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1]
}

// everything are patterns that match any text, of LIKE, SIMILAR TO and of regular
// expressions alike.
var everything = regexp.MustCompile(`^(%*|[\^]?(\.[*+])?[$]?|_?%+)$`)

func everyPattern(n *pgquery.Node) bool {
	if cast := n.GetTypeCast(); cast != nil {
		n = cast.Arg
	}
	if f := n.GetFuncCall(); f != nil && len(f.Args) > 0 {
		n = f.Args[0]
	}
	s := n.GetAConst().GetSval()
	return s != nil && everything.MatchString(s.Sval)
}

// opposite are operators of which one holds whenever the other does not, for all values
// but NULL.
var opposite = map[string][]string{"=": {"<>"}, "<>": {"="}, "<": {">="}, ">=": {"<"}, ">": {"<="}, "<=": {">"}, "~~": {"!~~"}, "!~~": {"~~"},
	"~": {"!~"}, "!~": {"~"}, "~~*": {"!~~*"}, "!~~*": {"~~*"}}

// complements reports whether two of the conditions are each other's opposite.
func complements(args []*pgquery.Node) bool {
	for i, a := range args {
		for _, b := range args[i+1:] {
			if complement(a, b) || complement(b, a) {
				return true
			}
		}
	}
	return false
}

func complement(a, b *pgquery.Node) bool {
	if x, y := a.GetNullTest(), b.GetNullTest(); x != nil && y != nil {
		return x.Nulltesttype != y.Nulltesttype && same(x.Arg, y.Arg)
	}
	if x := b.GetBoolExpr(); x != nil && x.Boolop == pgquery.BoolExprType_NOT_EXPR && len(x.Args) == 1 {
		return same(a, x.Args[0])
	}
	if x, y := a.GetAExpr(), b.GetAExpr(); x != nil && y != nil {
		return slices.Contains(opposite[operator(x)], operator(y)) && (x.Kind == y.Kind || x.Kind == pgquery.A_Expr_Kind_AEXPR_OP) &&
			same(x.Lexpr, y.Lexpr) && same(x.Rexpr, y.Rexpr)
	}
	return false
}

// same reports whether two expressions read the same but for their place in the text.
func same(a, b *pgquery.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if x, y := a.GetColumnRef(), b.GetColumnRef(); x != nil && y != nil {
		m, n := names(x.Fields), names(y.Fields)
		return len(m) > 0 && len(n) > 0 && m[len(m)-1] == n[len(n)-1] && (len(m) != len(n) || slices.Equal(m, n))
	}
	return proto.Equal(placeless(a), placeless(b))
}

// placeless returns a copy of an expression without the places in the text.
func placeless(n *pgquery.Node) proto.Message {
	c := proto.CloneOf(n)
	clearPlaces(c.ProtoReflect())
	return c
}

func clearPlaces(m protoreflect.Message) {
	if fd := m.Descriptor().Fields().ByName("location"); fd != nil {
		m.Clear(fd)
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i := range v.List().Len() {
				clearPlaces(v.List().Get(i).Message())
			}
		default:
			clearPlaces(v.Message())
		}
		return true
	})
}

// refers reports whether an expression looks at a column of the target. Inside of a
// sub-select only a qualified name counts: another may be the sub-select's own.
func (t target) refers(m any, inside bool, depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch m := m.(type) {
	case *pgquery.CurrentOfExpr:
		return true
	case *pgquery.ColumnRef:
		fields := names(m.Fields)
		return !inside && len(fields) <= 1 || len(fields) > 1 && slices.Contains(fields[:len(fields)-1], t.name()) ||
			len(fields) == 1 && fields[0] == t.name()
	case *pgquery.SelectStmt:
		inside = true
	}
	found := false
	children(m, func(child any) { found = found || t.refers(child, inside, depth+1) })
	return found
}

// name is what the statement calls the target.
func (t target) name() string {
	if a := t.r.GetAlias(); a != nil {
		return a.Aliasname
	}
	return t.r.GetRelname()
}

// oneColumn returns the one column of the target that an expression is made of; empty if
// it looks at more, at nothing of the target, or beyond it. What compares a column with
// something made of itself is as good as no condition.
func (t target) oneColumn(n *pgquery.Node) string {
	found, other := "", false
	var look func(m any, depth int)
	look = func(m any, depth int) {
		switch m := m.(type) {
		case *pgquery.SubLink, *pgquery.ParamRef:
			other = true
		case *pgquery.ColumnRef:
			name := names(m.Fields)
			if len(name) == 0 || len(name) > 1 && name[len(name)-2] != t.name() || found != "" && found != name[len(name)-1] {
				other = true
				return
			}
			found = name[len(name)-1]
		}
		if depth > maxDepth || other {
			other = true
			return
		}
		children(m, func(child any) { look(child, depth+1) })
	}
	if look(unwrap(n), 0); other {
		return ""
	}
	return found
}

// selfJoin recognises the comparison of a column of the target with the same column of
// another look at the whole target: it holds for each row.
func (t target) selfJoin(e *pgquery.A_Expr) bool {
	a, b := names(e.Lexpr.GetColumnRef().GetFields()), names(e.Rexpr.GetColumnRef().GetFields())
	if operator(e) != "=" || len(a) < 2 || len(b) < 2 || a[len(a)-1] != b[len(b)-1] {
		return false
	}
	if b[len(b)-2] == t.name() {
		a, b = b, a
	}
	return a[len(a)-2] == t.name() && slices.ContainsFunc(t.from, func(n *pgquery.Node) bool { return t.isSelf(n, b[len(b)-2], 0) })
}

// isSelf reports whether an item of FROM that is called name, or called anything if that is
// empty, is all of the target.
func (t target) isSelf(n *pgquery.Node, name string, depth int) bool {
	if depth > 16 {
		return true
	}
	if s := n.GetRangeSubselect(); s != nil {
		return (name == "" || s.Alias.GetAliasname() == name) && t.readsAll(s.Subquery.GetSelectStmt(), depth+1)
	}
	r := n.GetRangeVar()
	if r == nil || name != "" && (target{r: r}).name() != name {
		return false
	}
	for _, c := range t.with.GetCtes() {
		if cte := c.GetCommonTableExpr(); cte.GetCtename() == r.Relname && r.Schemaname == "" {
			return t.readsAll(cte.Ctequery.GetSelectStmt(), depth+1)
		}
	}
	return strings.EqualFold(r.Relname, t.r.GetRelname())
}

// readsAll reports whether a query reads all rows of the target and nothing else.
func (t target) readsAll(s *pgquery.SelectStmt, depth int) bool {
	return s != nil && len(s.FromClause) == 1 && s.LimitCount == nil && s.LimitOffset == nil && s.HavingClause == nil && len(s.GroupClause) == 0 &&
		s.WhereClause == nil && t.isSelf(s.FromClause[0], "", depth)
}

// selfMember recognises a membership test in the target itself, which holds for each row.
func (t target) selfMember(e *pgquery.SubLink) bool {
	s := e.Subselect.GetSelectStmt()
	if s == nil || e.SubLinkType != pgquery.SubLinkType_ANY_SUBLINK && e.SubLinkType != pgquery.SubLinkType_EXISTS_SUBLINK {
		return false
	}
	if e.SubLinkType == pgquery.SubLinkType_ANY_SUBLINK && t.readsAll(s, 0) {
		return true
	}
	self := slices.ContainsFunc(s.FromClause, func(n *pgquery.Node) bool {
		r := n.GetRangeVar()
		return r != nil && strings.EqualFold(r.Relname, t.r.GetRelname())
	})
	return self && len(s.FromClause) == 1 && s.LimitCount == nil && s.HavingClause == nil && len(s.GroupClause) == 0 &&
		(s.WhereClause == nil || e.SubLinkType == pgquery.SubLinkType_EXISTS_SUBLINK || target{r: s.FromClause[0].GetRangeVar()}.always(s.WhereClause, 1))
}
