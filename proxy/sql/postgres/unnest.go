package postgres

import (
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// Of an array of rows unnest in FROM makes a column for each of their fields, of a tsvector
// three. How many columns FROM has, and which names, would be another matter than it seems.
// So the type of the argument must be one whose elements are one column.

// severalColumns are types of pg_catalog that the server makes several columns of.
var severalColumns = words("tsvector record")

// Types of columns, by their OIDs in the server's catalog: all base types and ranges that
// columns usually have, and all arrays of such types.
var (
	scalarTypes = words(`16 17 18 19 20 21 23 24 25 26 27 28 29 114 142 650 700 701 718 774 790 829 869 600 601 602 603 604 628 1042 1043 1082 1083 1114 1184
	1186 1266 1560 1562 1700 2202 2203 2204 2205 2206 2950 3220 3734 3769 3802 4072 4089 4096 4191 5069 3904 3906 3908 3910 3912 3926`)
	builtinArrays = words(`22 30 143 199 271 629 651 719 775 791 1000 1001 1002 1003 1005 1006 1007 1008 1009 1010 1011 1012 1013 1014 1015 1016 1017 1018
	1019 1020 1021 1022 1027 1028 1034 1040 1041 1115 1182 1183 1185 1187 1231 1270 1561 1563 2201 2207 2208 2209 2210 2211 2949 2951 3221 3643
	3644 3645 3735 3770 3807 3905 3907 3909 3911 3913 3927 4073 4090 4097 4192 5039 6150 6151 6152 6153 6155 6157`)
)

// arrayTypes are types of many values that are no arrays by the form of their name.
var arrayTypes = words("int2vector oidvector int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange")

// scalarArrays are functions that return arrays of values of built-in types that are one
// column, whatever their arguments.
var scalarArrays = words(`string_to_array regexp_split_to_array regexp_match regexp_matches current_schemas parse_ident array_positions
	enum_range tsvector_to_array pg_blocking_pids`)

// sameArrays are functions that return an array of the type of an argument, by its number.
var sameArrays = map[string]int{"array_append": 0, "array_prepend": 1, "array_cat": 0, "array_remove": 0, "array_replace": 0}

// scalars are functions that return a value of a built-in type that is one column, whatever
// their arguments.
var scalars = words(`lower upper initcap btrim ltrim rtrim concat concat_ws format replace substring substr left right lpad rpad split_part reverse md5
	length now to_char to_date to_timestamp date_trunc date_part extract random gen_random_uuid nextval count row_number abs round floor ceil`)

// oneColumn reports whether what unnest makes of an argument is one column.
func (t *tracer) oneColumn(n *pgquery.Node, s *scope, depth int) bool {
	if depth > 16 {
		return false
	}
	switch e := unwrap(n).(type) {
	case *pgquery.TypeCast:
		name := last(e.TypeName.GetNames())
		if len(e.TypeName.GetArrayBounds()) > 0 {
			return !severalColumns[name]
		}
		return strings.HasPrefix(name, "_") && !severalColumns[name[1:]] || arrayTypes[name]
	case *pgquery.ColumnRef:
		return builtinArrays[typeOID(t.reference(e, s))]
	case *pgquery.A_ArrayExpr:
		return len(e.Elements) > 0 && !slices.ContainsFunc(e.Elements, func(n *pgquery.Node) bool {
			return !t.scalar(n, s, depth+1) && (n.GetAArrayExpr() == nil || !t.oneColumn(n, s, depth+1))
		})
	case *pgquery.SubLink:
		return t.selectsOneColumn(e)
	case *pgquery.CoalesceExpr:
		return len(e.Args) > 0 && t.oneColumn(e.Args[0], s, depth+1)
	case *pgquery.FuncCall:
		return len(t.names.candidates(names(e.Funcname))) == 0 && t.returnsOneColumn(e, s, depth)
	}
	return false
}

// selectsOneColumn is oneColumn of a sub-select.
func (t *tracer) selectsOneColumn(e *pgquery.SubLink) bool {
	out := t.selects[e]
	if len(out) != 1 {
		return false
	}
	return e.SubLinkType == pgquery.SubLinkType_ARRAY_SUBLINK && scalarTypes[typeOID(out[0])] ||
		e.SubLinkType == pgquery.SubLinkType_EXPR_SUBLINK && builtinArrays[typeOID(out[0])]
}

// returnsOneColumn is oneColumn of a call.
func (t *tracer) returnsOneColumn(e *pgquery.FuncCall, s *scope, depth int) bool {
	name := last(e.Funcname)
	if len(t.names.candidates(names(e.Funcname))) > 0 {
		return false // it may be a user's, which has but the name
	}
	if at, same := sameArrays[name]; same {
		return at < len(e.Args) && t.oneColumn(e.Args[at], s, depth+1)
	}
	return scalarArrays[name] || name == "array_agg" && len(e.Args) == 1 && t.scalar(e.Args[0], s, depth+1)
}

// scalar reports whether a value is of a built-in type that is one column, and no array.
func (t *tracer) scalar(n *pgquery.Node, s *scope, depth int) bool {
	if depth > 16 {
		return false
	}
	switch e := unwrap(n).(type) {
	case *pgquery.A_Const, *pgquery.SQLValueFunction, *pgquery.BoolExpr, *pgquery.NullTest, *pgquery.BooleanTest:
		return true
	case *pgquery.TypeCast:
		name := last(e.TypeName.GetNames())
		return len(e.TypeName.GetArrayBounds()) == 0 && !strings.HasPrefix(name, "_") && !severalColumns[name] && !arrayTypes[name]
	case *pgquery.ColumnRef:
		return scalarTypes[typeOID(t.reference(e, s))]
	case *pgquery.FuncCall:
		return scalars[last(e.Funcname)] && len(t.names.candidates(names(e.Funcname))) == 0
	case *pgquery.A_Expr:
		// No operator of the server's own returns a row; some return what they are given.
		return e.Kind == pgquery.A_Expr_Kind_AEXPR_OP && t.scalar(e.Rexpr, s, depth+1) && (e.Lexpr == nil || t.scalar(e.Lexpr, s, depth+1))
	}
	return false
}

// typeOID is the type of a relation's column; empty if it is not known.
func typeOID(c column) string {
	oid, _, _ := strings.Cut(c.typ, " ")
	return oid
}
