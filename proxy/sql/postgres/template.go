package postgres

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// A client of the simple protocol writes its values into the text, so that no two texts are
// the same, and each would be parsed. A template is what is known of all texts that differ
// in nothing but some constants, where those can change nothing of what is known: in the
// places of freeConstants alone, and of the same lexical class. What else the text has,
// every other constant included, is compared byte by byte.
//
// For that a text is read by a lexer that knows a part of the lexical grammar exactly and
// gives up on everything else (skeleton): printable ASCII without comments, backslashes,
// dollars and doubled quotes, integers of up to nine digits, which are all of type integer,
// and plain quoted strings. That it reads constants where the server's lexer does is checked
// for the text that the template is made from; in the others the same bytes stand around
// constants of the same class.

const (
	// maxIntegerDigits is how many digits every integer constant may have to be one of four
	// bytes, whatever they are.
	maxIntegerDigits = 9
	// maxTemplateConstants bounds the constants of a template.
	maxTemplateConstants = 64
	// Marks of constants in a skeleton; no text of one holds a zero byte.
	integerMark = "\x00i"
	stringMark  = "\x00s"
)

// template is what is known of texts with the same skeleton.
type template struct {
	facts *sql.Facts
	text  []byte // that it was made from
	free  []bool // by constant
}

// newTemplate returns the template of a text; nil if there is none.
func newTemplate(text []byte, tree *pgquery.ParseResult, f *sql.Facts, constants []sql.Span) *template {
	if !f.Known || !f.Lexed || f.Statements != 1 || !slices.Equal(constants, f.Literals) || len(tree.Stmts) != 1 {
		return nil
	}
	if slices.ContainsFunc(f.Functions, func(fn sql.Function) bool { return fn.Name == "set_config" }) {
		return nil // the condition may say which setting
	}
	for _, r := range f.Relations {
		// What a row of a catalog is about may matter.
		if r.Schema == "pg_catalog" || r.Schema == "information_schema" || strings.HasPrefix(r.Name, "pg_") {
			return nil
		}
	}
	t := &template{facts: f, text: bytes.Clone(text), free: make([]bool, len(constants))}
	found := false
	for _, at := range freeConstants(tree.Stmts[0].Stmt) {
		if at >= 0 && at < len(text) && text[at] == '-' {
			at++ // the sign is a part of the constant to the grammar
		}
		if i := slices.IndexFunc(constants, func(s sql.Span) bool { return s.Start == at }); i >= 0 {
			t.free[i], found = true, true
		}
	}
	if !found {
		return nil
	}
	return t
}

// instance returns the facts of a text with the template's skeleton; nil if they are not
// known.
func (t *template) instance(text []byte, constants []sql.Span) *sql.Facts {
	if len(constants) != len(t.free) {
		return nil
	}
	for i, s := range constants {
		of := t.facts.Literals[i]
		if !t.free[i] && !bytes.Equal(text[s.Start:s.End], t.text[of.Start:of.End]) {
			return nil
		}
	}
	f := *t.facts
	f.Literals = constants
	return &f
}

// freeConstants returns where the constants of a statement begin that can change nothing of
// what is known of it: those that a column is compared with by = in a WHERE clause's
// conjunction, and those that are written to a column as they are, or after adding them to
// one. Neither the kind of the statement, nor what it reads and calls, nor whether its
// condition holds for all rows, nor the type and lineage of its output depends on them.
func freeConstants(n *pgquery.Node) []int {
	var free []int
	switch m := unwrap(n).(type) {
	case *pgquery.SelectStmt:
		free = comparedConstants(free, m.WhereClause, 0)
	case *pgquery.DeleteStmt:
		free = comparedConstants(free, m.WhereClause, 0)
	case *pgquery.UpdateStmt:
		free = comparedConstants(free, m.WhereClause, 0)
		for _, t := range m.TargetList {
			free = assignedConstants(free, t.GetResTarget().GetVal())
		}
	case *pgquery.InsertStmt:
		for _, row := range m.SelectStmt.GetSelectStmt().GetValuesLists() {
			for _, v := range row.GetList().GetItems() {
				free = appendConstant(free, v)
			}
		}
	}
	return free
}

// maxConjunction bounds the nesting of conjunctions.
const maxConjunction = 8

func comparedConstants(free []int, n *pgquery.Node, depth int) []int {
	switch e := unwrap(n).(type) {
	case *pgquery.BoolExpr:
		if e.Boolop != pgquery.BoolExprType_AND_EXPR || depth > maxConjunction {
			return free
		}
		for _, a := range e.Args {
			free = comparedConstants(free, a, depth+1)
		}
	case *pgquery.A_Expr:
		if isOperation(e, "=") && plainColumn(e.Lexpr) {
			return appendConstant(free, e.Rexpr)
		}
	}
	return free
}

func assignedConstants(free []int, n *pgquery.Node) []int {
	e, ok := unwrap(n).(*pgquery.A_Expr)
	if !ok {
		return appendConstant(free, n)
	}
	if isOperation(e, "+", "-") && plainColumn(e.Lexpr) {
		return appendConstant(free, e.Rexpr)
	}
	return free
}

// isOperation reports whether e is a plain use of one of the operators, by its bare name.
func isOperation(e *pgquery.A_Expr, operators ...string) bool {
	return e.Kind == pgquery.A_Expr_Kind_AEXPR_OP && len(e.Name) == 1 && slices.Contains(operators, e.Name[0].GetString_().GetSval())
}

// plainColumn reports whether n is a column by its name, or one of a relation.
func plainColumn(n *pgquery.Node) bool {
	fields := n.GetColumnRef().GetFields()
	for _, f := range fields {
		if f.GetString_() == nil {
			return false
		}
	}
	return len(fields) > 0 && len(fields) <= 3
}

// appendConstant adds an integer or a string.
func appendConstant(free []int, n *pgquery.Node) []int {
	c := n.GetAConst()
	if c == nil || c.Isnull || c.GetIval() == nil && c.GetSval() == nil {
		return free
	}
	return append(free, int(c.Location))
}

// skeleton appends text with its constants replaced by their classes, and says where they
// are. It fails on every text whose constants it may not read as the server does.
func skeleton(dst, text []byte) (key []byte, constants []sql.Span, ok bool) {
	constants = make([]sql.Span, 0, 8)
	afterString := false // nothing but space since a string: another one would continue it
	for i := 0; i < len(text); {
		c, start := text[i], i
		if isSpace(c) {
			dst = append(dst, c)
			i++
			continue
		}
		if i = tokenEnd(text, i); i < 0 || c == '\'' && afterString {
			return nil, nil, false
		}
		afterString = c == '\''
		switch {
		case isDigit(c):
			dst = append(dst, integerMark...)
		case c == '\'':
			dst = append(dst, stringMark...)
		default:
			dst = append(dst, text[start:i]...)
			continue
		}
		constants = append(constants, sql.Span{Start: start, End: i})
	}
	return dst, constants, len(constants) > 0 && len(constants) <= maxTemplateConstants
}

// tokenEnd returns the end of the name, the constant or the character of an operator that
// begins at i; negative if it is none that is read here.
func tokenEnd(text []byte, i int) int {
	switch c := text[i]; {
	case isLetter(c):
		return nameEnd(text, i)
	case isDigit(c):
		return integerEnd(text, i)
	case c == '\'' || c == '"':
		return quotedEnd(text, i)
	case isPunctuation(c) && !beginsComment(text[i:]):
		return i + 1
	}
	return -1
}

// nameEnd returns the end of the name that begins at i; negative if something stands behind
// it that would change it, or that it would change.
func nameEnd(text []byte, i int) int {
	for i < len(text) && (isLetter(text[i]) || isDigit(text[i])) {
		i++
	}
	// A string behind a name may be of another kind, and a dollar goes on with the name.
	if i < len(text) && (text[i] == '\'' || text[i] == '"' || text[i] == '$') {
		return -1
	}
	return i
}

// integerEnd returns the end of the integer that begins at i; negative if it is no plain
// one, or a part of something else.
func integerEnd(text []byte, i int) int {
	start := i
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	if i-start > maxIntegerDigits || start > 0 && text[start-1] == '.' {
		return -1
	}
	if i < len(text) && (isLetter(text[i]) || text[i] == '.' || text[i] == '$') {
		return -1
	}
	return i
}

// quotedEnd returns the end of the string or quoted name that begins at i; negative if it
// is no plain one.
func quotedEnd(text []byte, i int) int {
	quote := text[i]
	if i > 0 && text[i-1] == '&' {
		return -1 // of U&'…'
	}
	for i++; i < len(text) && text[i] != quote; i++ {
		if text[i] < ' ' || text[i] > '~' || text[i] == '\\' {
			return -1
		}
	}
	if i >= len(text) || i+1 < len(text) && (text[i+1] == quote || text[i+1] == '\'' || text[i+1] == '"') {
		return -1
	}
	return i + 1
}

func isSpace(c byte) bool  { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// isPunctuation reports whether c is one of the characters of operators and of those that
// stand alone.
func isPunctuation(c byte) bool {
	return strings.IndexByte("()[],;:.+-*/<>=~!@#%^&|?`", c) >= 0
}

func beginsComment(text []byte) bool {
	return len(text) > 1 && (text[0] == '-' && text[1] == '-' || text[0] == '/' && text[1] == '*')
}

// templates are those that need no catalog. They are safe for concurrent use.
type templates struct {
	most int

	mu sync.Mutex
	of map[string]*template
}

// get returns the facts of a text; nil if no template knows it.
func (t *templates) get(text []byte) *sql.Facts {
	if t.most <= 0 || len(text) > maxRemembered {
		return nil
	}
	key, constants, ok := skeleton(make([]byte, 0, 512), text)
	if !ok {
		return nil
	}
	t.mu.Lock()
	found := t.of[string(key)]
	t.mu.Unlock()
	if found == nil {
		return nil
	}
	return found.instance(text, constants)
}

// put makes a template of a text, and reports whether there is one. Of the texts with one
// skeleton that differ in other constants one has a template.
func (t *templates) put(text []byte, tree *pgquery.ParseResult, f *sql.Facts) bool {
	if t.most <= 0 || len(text) > maxRemembered {
		return false
	}
	key, constants, ok := skeleton(nil, text)
	if !ok {
		return false
	}
	made := newTemplate(text, tree, f, constants)
	if made == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.of[string(key)]; other != nil && other.instance(text, constants) == nil {
		return false
	}
	if t.of == nil || len(t.of) >= t.most {
		t.of = map[string]*template{}
	}
	t.of[string(key)] = made
	return true
}

// forget drops all templates.
func (t *templates) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.of)
}
