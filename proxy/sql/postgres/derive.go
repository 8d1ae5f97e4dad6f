package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Types whose values are text, by their OIDs in the server's catalog.
var textTypes = map[string]bool{"25": true, "1042": true, "1043": true}

// derivations are total functions of text: whatever their first argument, they return a
// value and no error. true says that all of the value stays where it was, so that its own
// mask hides of the result what it hides of the value; of what the others return a mask
// that keeps some characters would show others than it should. None returns much more
// than it was given: a result that is too long is an error.
var derivations = map[string]bool{
	"upper": true, "lower": true, "initcap": true,
	"left": false, "right": false, "btrim": false, "ltrim": false, "rtrim": false, "reverse": false, "translate": false, "md5": false,
	"concat": false, "length": false, "char_length": false, "character_length": false, "octet_length": false,
}

// derived establishes an output that is an expression over masked columns whose rules
// admit that. found is false for every other expression, which is for others to judge.
func (t *tracer) derived(n *pgquery.Node, s *scope) (c column, found bool) {
	if n.GetColumnRef() != nil || t.violated() {
		return column{}, false
	}
	c, ok := t.derive(n, s, 0)
	if !ok || c.mask == 0 {
		return column{}, false
	}
	// What came of it is output alone: a function of a function could grow without bound.
	c.uses, c.typ, c.as = sql.Uses{}, "", ""
	return c, true
}

// derive returns the mask of an expression; ok is false if it is not one of total functions
// over text, constants and columns of text.
func (t *tracer) derive(n *pgquery.Node, s *scope, depth int) (c column, ok bool) {
	if depth > 8 {
		return column{}, false
	}
	switch e := unwrap(n).(type) {
	case *pgquery.A_Const:
		return column{}, true
	case *pgquery.ColumnRef:
		if len(names(e.Fields)) != len(e.Fields) {
			return column{}, false
		}
		c := t.reference(e, s)
		return c, !c.secret && textTypes[c.typ] && (c.mask == 0 || c.uses.MaskedExpressions)
	case *pgquery.TypeCast:
		c, ok := t.derive(e.Arg, s, depth+1)
		return c, ok && t.toText(e.TypeName)
	case *pgquery.CoalesceExpr:
		return t.deriveAll(e.Args, s, depth, true)
	case *pgquery.A_Expr:
		if e.Kind != pgquery.A_Expr_Kind_AEXPR_OP || len(e.Name) != 1 || last(e.Name) != "||" || t.names.operators["||"] {
			return column{}, false
		}
		return t.deriveAll([]*pgquery.Node{e.Lexpr, e.Rexpr}, s, depth, false)
	case *pgquery.FuncCall:
		return t.deriveCall(e, s, depth)
	}
	return column{}, false
}

// toText reports whether a type is text or varchar without a length, of the server's own.
func (t *tracer) toText(n *pgquery.TypeName) bool {
	if len(n.GetTypmods()) > 0 || len(n.GetArrayBounds()) > 0 || last(n.GetNames()) != "text" && last(n.GetNames()) != "varchar" {
		return false
	}
	switch name := names(n.GetNames()); len(name) {
	case 1:
		return !t.names.types[name[0]]
	case 2:
		return name[0] == "pg_catalog"
	}
	return false
}

func (t *tracer) deriveCall(e *pgquery.FuncCall, s *scope, depth int) (column, bool) {
	name := names(e.Funcname)
	plain := len(name) == 1 && !t.names.functions[name[0]] || len(name) == 2 && name[0] == "pg_catalog"
	if !plain || len(e.Args) == 0 || len(e.AggOrder) > 0 || e.AggFilter != nil || e.Over != nil || e.AggWithinGroup || e.AggStar || e.AggDistinct || e.FuncVariadic {
		return column{}, false
	}
	keeps, known := derivations[name[len(name)-1]]
	if !known {
		return column{}, false
	}
	return t.deriveAll(e.Args, s, depth, keeps && len(e.Args) == 1)
}

// deriveAll joins the masks of operands. keeps says that the result is one of them as it
// was; else its mask hides the whole.
func (t *tracer) deriveAll(operands []*pgquery.Node, s *scope, depth int, keeps bool) (column, bool) {
	var out column
	for _, n := range operands {
		c, ok := t.derive(n, s, depth+1)
		switch {
		case !ok:
			return column{}, false
		case c.mask == 0:
		case out.mask == 0:
			out.mask, out.origin = c.mask, c.origin
		case out.mask != c.mask:
			out.mask |= sql.WholeValue
		}
	}
	if out.mask != 0 && !keeps {
		out.mask |= sql.WholeValue
	}
	// Of an output without masks nothing is known but that it is one.
	return out, true
}
