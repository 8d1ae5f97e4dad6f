package postgres

import (
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// predicates are the places where a masked column may be compared with constants, if its
// rule says so. What is compared elsewhere, in a function's argument or as an output, can
// be combined into more than the answer to one comparison.
var predicates = map[string]bool{"WHERE": true, "JOIN": true}

// exact are the types whose equality with constants of certain types says that the value is
// that one, and no more. Equality of others holds for many values: two boxes are equal if
// their areas are, and a bigint is compared with a real after it became one, so that a few
// comparisons would find its range.
type exact struct {
	names      string   // of types that the constant may be cast to
	parameters []uint32 // types that a parameter may be declared with, and arrays of them
	numbers    bool     // constants may be numbers
}

// Types of parameters, by their OIDs: 0 and 705 leave it to the server, which takes the
// column's own.
var (
	wholeNumbers = exact{"int2 int4 int8 smallint integer bigint numeric decimal", []uint32{21, 23, 20, 1700, 1005, 1007, 1016, 1231}, true}
	allNumbers   = exact{wholeNumbers.names + " float4 float8 real", append(slices.Clone(wholeNumbers.parameters), 700, 701, 1021, 1022), true}
	texts        = exact{"text varchar", []uint32{25, 1043, 1009, 1015}, false}
	exactTypes   = map[string]exact{
		"20": wholeNumbers, "21": wholeNumbers, "23": wholeNumbers, "1700": wholeNumbers, "700": allNumbers, "701": allNumbers,
		"25": texts, "1043": texts, "1042": {"text varchar bpchar char", append(slices.Clone(texts.parameters), 1042, 1014), false}, "19": texts, "citext": texts,
		"enum": {}, "16": {"bool boolean", []uint32{16, 1000}, false}, "17": {"bytea", []uint32{17, 1001}, false}, "26": {"oid", []uint32{26, 1028}, false},
		"1082": {"date", []uint32{1082, 1182}, false}, "1083": {"time", []uint32{1083, 1183}, false}, "1114": {"timestamp", []uint32{1114, 1115}, false},
		"1184": {"timestamptz", []uint32{1184, 1185}, false}, "2950": {"uuid", []uint32{2950, 2951}, false}, "869": {"inet", []uint32{869, 1041}, false},
		"829": {"macaddr", []uint32{829, 1040}, false}, "790": {"money", []uint32{790, 791}, false},
	}
)

// equality reports whether e compares a masked column with constants alone, by = or IN,
// where the rule admits that. Everything else is for others to judge.
func (t *tracer) equality(e *pgquery.A_Expr, s *scope, construct string) bool {
	if !predicates[construct] || last(e.Name) != "=" {
		return false
	}
	ref, against := compared(e)
	if ref == nil || len(against) == 0 {
		return false
	}
	c := t.reference(ref, s)
	types, known := exactTypes[c.as]
	if c.mask == 0 || c.secret || !c.uses.Equality || !known {
		return false
	}
	for _, n := range against {
		if !t.comparable(n, types) {
			return false
		}
	}
	t.operator(e.Name)
	for _, n := range against {
		t.use(n, s, construct) // the types that constants are cast to
	}
	t.sensitive, t.compares = true, true
	return true
}

// compared returns the column that an expression compares by equality and what it is
// compared with; nothing if it is another expression.
func compared(e *pgquery.A_Expr) (*pgquery.ColumnRef, []*pgquery.Node) {
	ref := e.Lexpr.GetColumnRef()
	switch e.Kind {
	case pgquery.A_Expr_Kind_AEXPR_OP:
		if ref == nil {
			return e.Rexpr.GetColumnRef(), []*pgquery.Node{e.Lexpr}
		}
		return ref, []*pgquery.Node{e.Rexpr}
	case pgquery.A_Expr_Kind_AEXPR_OP_ANY:
		if list := e.Rexpr.GetAArrayExpr(); list != nil {
			return ref, list.Elements
		}
		return ref, []*pgquery.Node{e.Rexpr}
	case pgquery.A_Expr_Kind_AEXPR_IN:
		return ref, e.Rexpr.GetList().GetItems()
	default: // the others say more than whether it is equal
	}
	return nil, nil
}

// comparable reports whether n is a constant or parameter, cast or not, of the types with
// which equality is exact.
func (t *tracer) comparable(n *pgquery.Node, types exact) bool {
	cast := n.GetTypeCast()
	if cast != nil {
		if !types.casts(cast.TypeName) {
			return false
		}
		n = cast.Arg
	}
	switch {
	case n.GetParamRef() != nil:
		return cast != nil || t.parameter(int(n.GetParamRef().Number), types)
	case n.GetAConst() == nil:
		return false
	case cast != nil:
		return true
	}
	k := n.GetAConst()
	return k.Isnull || k.GetSval() != nil || types.numbers && (k.GetIval() != nil || k.GetFval() != nil)
}

// casts reports whether constants may be cast to a type.
func (x exact) casts(n *pgquery.TypeName) bool {
	return slices.Contains(strings.Fields(x.names), last(n.GetNames()))
}

// parameter notes that a parameter is compared. Those of PREPARE have their types in the
// text, the protocol's are for the engine to look at.
func (t *tracer) parameter(number int, types exact) bool {
	if number >= 1 && number <= len(t.declared) {
		return types.casts(t.declared[number-1].GetTypeName())
	}
	t.compared = append(t.compared, sql.ComparedParameter{Number: number, Types: types.parameters})
	return true
}

// settleCompared makes sure that what is compared gives parameters of the statement m their
// types: elsewhere in it one could be made a real, and then stay one.
func (t *tracer) settleCompared(m any) {
	if len(t.compared) == 0 {
		return
	}
	occurs := map[int]int{}
	countParameters(m, occurs, 0)
	first := map[int][]uint32{}
	for _, c := range t.compared {
		occurs[c.Number]--
		if first[c.Number] == nil {
			first[c.Number] = c.Types
		}
		if !slices.Equal(first[c.Number], c.Types) {
			occurs[c.Number]++
		}
	}
	for _, c := range t.compared {
		if occurs[c.Number] != 0 {
			t.deny("a parameter that is compared with a masked column is used elsewhere too; cast it where it is compared, or send it twice")
		}
	}
}

func countParameters(m any, occurs map[int]int, depth int) {
	if depth > maxDepth {
		return
	}
	if p, ok := m.(*pgquery.ParamRef); ok {
		occurs[int(p.Number)]++
	}
	children(m, func(child any) { countParameters(child, occurs, depth+1) })
}

// unknownType is what a client declares to leave a parameter's type to the server, as it
// does with 0.
const unknownType = 705

// Fits reports whether parameters that are declared with these types are compared with
// masked columns as exactly as the analysis takes them to be.
func Fits(f *sql.Facts, declared []uint32) bool {
	for _, c := range f.Compared {
		if c.Number < 1 || c.Number > len(declared) {
			continue
		}
		if d := declared[c.Number-1]; d != 0 && d != unknownType && !slices.Contains(c.Types, d) {
			return false
		}
	}
	return true
}
