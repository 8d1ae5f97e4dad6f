package postgres

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// flipped are the operators with their sides exchanged.
var flipped = map[string]string{"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}

// comparison is the effect of an operator between two expressions, of which one must be a
// column of the target, or nearly so.
func (f *frame) comparison(op string, l, r *pgquery.Node) effect {
	if a, b := l.GetRowExpr().GetArgs(), r.GetRowExpr().GetArgs(); op == "=" && len(a) > 0 && len(a) == len(b) {
		var list []effect
		for i := range a {
			list = append(list, f.comparison(op, a[i], b[i]))
		}
		return every(list)
	}
	if e := f.compared(op, l, r); e.strength != ineffective || e.paired || e.ordered {
		return e
	}
	return f.compared(flipped[op], r, l)
}

func (f *frame) compared(op string, l, r *pgquery.Node) effect {
	c, plain, ok := f.subject(l, 0)
	if !ok {
		return effect{}
	}
	switch op {
	case "=":
		switch {
		case truth(r, plain) && f.value(r):
			return effect{strength: weak}
		case f.value(r), f.relates(c, plain, r, op), f.drawsScalar(c, r):
			return effect{strength: selective}
		}
		return effect{paired: f.again(c, plain, r)}
	case "<>":
		if !hidden[c.name] && (f.value(r) && !sentinel(r) || normalized(c, r, f) || f.differs(c, plain, r)) {
			return effect{strength: weak}
		}
	case "<", "<=", ">", ">=":
		return f.rangeEffect(op, c, plain, r)
	case "~~", "~~*", "!~~", "!~~*", "~", "~*", "!~", "!~*":
		switch {
		case !narrowPattern(op, r):
		case op[0] == '!' || !plain:
			return effect{strength: weak}
		default:
			return effect{strength: selective}
		}
	}
	return effect{}
}

// hidden are the columns that every relation has. They say nothing of a row, but that ctid
// is its place.
var hidden = words("tableoid ctid xmin xmax cmin cmax")

// shapes are functions of one column whose results tell rows apart nearly as it does.
var shapes = words("lower upper btrim ltrim rtrim date")

// shapeTypes are the types that a column may be cast to with the same property; dates among
// them keep the order.
var (
	shapeTypes = words("text int4 int8 numeric uuid date timestamp timestamptz")
	dateTypes  = words("date timestamp timestamptz")
)

// subject returns the column of the target that an expression stands for, and whether it
// has the column's order.
func (f *frame) subject(n *pgquery.Node, depth int) (c chosen, plain, ok bool) {
	if depth > 4 {
		return chosen{}, false, false
	}
	switch e := unwrap(n).(type) {
	case *pgquery.ColumnRef:
		c, ok = f.column(n)
		return c, true, ok && c.own && (!hidden[c.name] || c.name == "ctid")
	case *pgquery.TypeCast:
		if t := shapeOf(e.TypeName); t != "" {
			c, plain, ok = f.subject(e.Arg, depth+1)
			return c, plain && dateTypes[t], ok && !hidden[c.name]
		}
	case *pgquery.CollateClause:
		c, _, ok = f.subject(e.Arg, depth+1)
		return c, false, ok
	case *pgquery.FuncCall:
		if name := builtin(e); shapes[name] && len(e.Args) == 1 {
			c, _, ok = f.subject(e.Args[0], depth+1)
			return c, false, ok && !hidden[c.name]
		}
	case *pgquery.A_Expr:
		// A member of JSON.
		if isOperation(e, "->", "->>", "#>>", "#>") && e.Rexpr.GetAConst() != nil {
			c, _, ok = f.subject(e.Lexpr, depth+1)
			return c, false, ok && !hidden[c.name]
		}
	}
	return chosen{}, false, false
}

// shapeOf returns the name of one of shapeTypes, without modifiers; else nothing.
func shapeOf(t *pgquery.TypeName) string {
	name := last(t.GetNames())
	if !shapeTypes[name] || len(t.Typmods) > 0 || len(t.ArrayBounds) > 0 {
		return ""
	}
	return name
}

// builtin is the name of a plain call of a function of pg_catalog, as it is or by a bare
// name; else empty.
func builtin(e *pgquery.FuncCall) string {
	name := names(e.Funcname)
	if len(name) == 0 || len(name) > 2 || len(name) == 2 && name[0] != "pg_catalog" ||
		e.AggStar || e.AggDistinct || e.AggFilter != nil || e.Over != nil || len(e.AggOrder) > 0 || e.FuncVariadic {
		return ""
	}
	return name[len(name)-1]
}

// stable are functions that say the same for all rows if their arguments do.
var stable = words(`now statement_timestamp transaction_timestamp clock_timestamp current_setting lower upper btrim date date_trunc
	make_date make_timestamp make_timestamptz to_timestamp to_date timezone md5 decode to_regclass`)

// value reports whether an expression is the same for all rows.
func (f *frame) value(n *pgquery.Node) bool { return value(n, 0) }

func value(n *pgquery.Node, depth int) bool {
	if depth > maxCondition {
		return false
	}
	switch e := unwrap(n).(type) {
	case *pgquery.A_Const, *pgquery.ParamRef, *pgquery.SQLValueFunction:
		return true
	case *pgquery.TypeCast:
		return value(e.Arg, depth+1)
	case *pgquery.FuncCall:
		return stable[builtin(e)] && !slices.ContainsFunc(e.Args, func(a *pgquery.Node) bool { return !value(a, depth+1) })
	case *pgquery.A_Expr:
		return isOperation(e, "+", "-", "*", "/", "||") && value(e.Lexpr, depth+1) && value(e.Rexpr, depth+1)
	}
	return false
}

// faithful are types to which a constant may be cast and mean what it says.
var faithful = words(`text varchar bpchar int2 int4 int8 numeric float4 float8 date time timetz timestamp timestamptz interval uuid json jsonb
	bool tid`)

// uncast returns what is cast to such types.
func uncast(n *pgquery.Node) *pgquery.Node {
	for range 8 {
		t := n.GetTypeCast()
		if t == nil || len(t.TypeName.GetTypmods()) > 0 && last(t.TypeName.Names) != "interval" || !faithful[last(t.TypeName.GetNames())] {
			break
		}
		n = t.Arg
	}
	return n
}

// booleans are the ways to write a boolean value; a column of that type has two of them.
var booleans = words("t f tr fa true false y n ye yes no on of off 1 0 tru fals fal")

// truth reports whether a value is, or may be, a boolean one that the text gives away.
//
// Plain says that it is compared with a column as it is.
func truth(n *pgquery.Node, plain bool) bool {
	for depth := 0; depth < 8 && n.GetTypeCast() != nil; depth++ {
		if last(n.GetTypeCast().TypeName.GetNames()) == "bool" {
			return true
		}
		n = n.GetTypeCast().Arg // of any type, such as an enumeration
	}
	c := n.GetAConst()
	switch {
	case c.GetIval() != nil:
		return !plain && (c.GetIval().Ival == 0 || c.GetIval().Ival == 1)
	case c.GetSval() != nil:
		return booleans[strings.ToLower(strings.TrimSpace(c.GetSval().Sval))]
	case c.GetBoolval() != nil:
		return true
	}
	return c == nil && n.GetParamRef() == nil && n.GetSqlvalueFunction() == nil
}

// sentinel reports whether a constant is a value that no row of most columns has.
func sentinel(n *pgquery.Node) bool {
	v, ok := number(n)
	if ok {
		return v <= 0 || beyond(v)
	}
	for depth := 0; depth < 8 && n.GetTypeCast() != nil; depth++ {
		n = n.GetTypeCast().Arg // of any type, such as an enumeration
	}
	c := n.GetAConst()
	if c == nil {
		return n.GetParamRef() == nil
	}
	s := strings.TrimSpace(c.GetSval().GetSval())
	return c.GetBoolval() == nil && (s == "" || strings.Contains(strings.ToLower(s), "inf") || strings.EqualFold(s, "nan"))
}

// number returns the value of a constant that is one.
func number(n *pgquery.Node) (v float64, ok bool) {
	c := uncast(n).GetAConst()
	text := ""
	switch {
	case c == nil || c.Isnull:
		return 0, false
	case c.GetIval() != nil:
		return float64(c.GetIval().Ival), true
	case c.GetFval() != nil:
		text = c.GetFval().Fval
	case c.GetSval() != nil:
		text = strings.TrimSpace(c.GetSval().Sval)
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// beyond reports whether a number is at the end of a type's range, or all nines.
func beyond(v float64) bool {
	a := math.Abs(v)
	digits := strconv.FormatFloat(a, 'f', 0, 64)
	return a >= math.MaxInt32 || a == math.MaxInt16 || a == math.MaxInt16+1 || len(digits) >= 5 && strings.Trim(digits, "9") == ""
}

// membership is the effect of IN and NOT IN with a list.
func (f *frame) membership(op string, l *pgquery.Node, items []*pgquery.Node) effect {
	if l.GetRowExpr() != nil && op == "=" && len(items) > 0 {
		var list []effect
		for _, n := range items {
			list = append(list, f.comparison("=", l, n))
		}
		return either(list)
	}
	c, plain, ok := f.subject(l, 0)
	if !ok || len(items) == 0 || slices.ContainsFunc(items, func(n *pgquery.Node) bool { return !f.value(n) }) {
		return effect{}
	}
	truths := 0
	for _, n := range items {
		if truth(n, plain) {
			truths++
		}
	}
	switch {
	case op == "=" && truths > 1:
		return effect{}
	case op == "=":
		return effect{strength: selective}
	case op == "<>" && !hidden[c.name] && slices.ContainsFunc(items, func(n *pgquery.Node) bool { return !sentinel(n) }):
		return effect{strength: weak}
	}
	return effect{}
}

// anyElement is the effect of = ANY of an array or of a sub-select in ARRAY().
func (f *frame) anyElement(l, r *pgquery.Node) effect {
	c, _, ok := f.subject(l, 0)
	if !ok {
		return effect{}
	}
	switch a := unwrap(uncast(r)).(type) {
	case *pgquery.A_ArrayExpr:
		return f.membership("=", l, a.Elements)
	case *pgquery.ParamRef:
		return effect{strength: selective}
	case *pgquery.A_Const:
		s := strings.Split(strings.ToLower(strings.Trim(a.GetSval().GetSval(), "{} ")), ",")
		truths := slices.DeleteFunc(s, func(s string) bool { return !booleans[strings.Trim(s, `" `)] })
		if len(truths) < 2 {
			return effect{strength: selective}
		}
	case *pgquery.SubLink:
		if a.SubLinkType == pgquery.SubLinkType_ARRAY_SUBLINK && f.draws(c, a.Subselect.GetSelectStmt()) {
			return effect{strength: selective}
		}
	}
	return effect{}
}

// allElements is the effect of <> ALL of an array that is not empty.
func (f *frame) allElements(l, r *pgquery.Node) effect {
	return f.membership("<>", l, uncast(r).GetAArrayExpr().GetElements())
}

// rangeEffect is the effect of <, <=, > and >=.
func (f *frame) rangeEffect(op string, c chosen, plain bool, r *pgquery.Node) effect {
	if !plain || hidden[c.name] {
		return effect{}
	}
	e := effect{strength: ranged, upper: []string{c.name}}
	if op[0] == '>' {
		e.lower, e.upper = e.upper, nil
	}
	if bound(op[0] == '<', r) {
		return e
	}
	if o, ok := f.column(r); ok && f.relates(c, plain, r, op) {
		if !o.own || o.of == nil || o.of != c.of {
			return effect{ordered: true}
		}
		e.lower, e.upper = append(e.lower, other(op[0] == '<', o.name)...), append(e.upper, other(op[0] == '>', o.name)...)
		return e
	}
	return effect{}
}

func other(is bool, name string) []string {
	if is {
		return []string{name}
	}
	return nil
}

var (
	narrowLike  = regexp.MustCompile(`[\pL\pN]`)
	narrowRegex = regexp.MustCompile(`^\^?[\pL\pN_@ :/-]*[\pL\pN][\pL\pN_@ :/-]*\$?$`)
	narrowSQL   = regexp.MustCompile(`^[\pL\pN_@ :/%-]*[\pL\pN][\pL\pN_@ :/%-]*$`)
)

// narrowPattern reports whether a pattern is a constant that asks for some character.
func narrowPattern(op string, n *pgquery.Node) bool {
	if e := uncast(n).GetFuncCall(); e != nil { // SIMILAR TO
		return builtin(e) == "similar_to_escape" && len(e.Args) == 1 && narrowSQL.MatchString(uncast(e.Args[0]).GetAConst().GetSval().GetSval())
	}
	s := uncast(n).GetAConst().GetSval().GetSval()
	if strings.HasSuffix(strings.TrimSuffix(op, "*"), "~~") {
		return narrowLike.MatchString(s)
	}
	return narrowRegex.MatchString(s)
}

// normalized recognises column <> f(column) with a function that leaves alone what is as it
// should be.
func normalized(c chosen, r *pgquery.Node, f *frame) bool {
	e := r.GetFuncCall()
	if e == nil || len(e.Args) == 0 || !words("round trunc floor ceil lower upper btrim rtrim ltrim initcap")[builtin(e)] {
		return false
	}
	of, ok := f.column(e.Args[0])
	return ok && of.own && of.name == c.name && !slices.ContainsFunc(e.Args[1:], func(a *pgquery.Node) bool { return !f.value(a) })
}
