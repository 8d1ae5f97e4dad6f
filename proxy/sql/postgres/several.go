package postgres

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// A message of several statements is taken apart on a target with masks: each is analysed
// by its own bytes, and the engine has the server parse, verify and execute one after the
// other, by those bytes. All are established before the first is executed. So none may
// change what a later one relies on; where that happened behind the gate, or by the
// statements themselves, the verification of the later one fails.

// maxParts bounds the statements of one message on a target with masks.
const maxParts = 256

// Part is one statement of a message of several.
type Part struct {
	Text  []byte // of this statement alone
	Facts *sql.Facts
}

// several is the Definitions of a message of several statements. It verifies nothing: its
// parts are verified.
type several struct{ parts []Part }

// Parts returns the statements of a command, to be verified and executed one by one; nil if
// it is to be executed as a whole.
func Parts(f *sql.Facts) []Part {
	if s, ok := f.Definitions.(*several); ok {
		return s.parts
	}
	return nil
}

// together are the kinds of statements that mean the same in one message with others as
// alone, whichever protocol they come by.
var together = words(`Select Insert Update Delete Merge Truncate Explain Show Set Reset Begin Commit Rollback Savepoint Close Deallocate Lock
	Create Drop Listen Unlisten Notify Comment Analyze`)

// mayStandTogether reports whether a statement may stand in one message with others.
func mayStandTogether(f *sql.Facts) (string, bool) {
	for _, n := range f.Nodes {
		if !together[string(n.Kind)] && (n.Kind != "Copy" || n.Group != sql.GroupRead) {
			return string(n.Kind), false
		}
	}
	return "", true
}

// redefines reports whether a statement may change what others rely on.
func redefines(f *sql.Facts) bool {
	return slices.ContainsFunc(f.Nodes, func(n sql.Node) bool {
		switch n.Group {
		case sql.GroupRead, sql.GroupWrite, sql.GroupSession, sql.GroupTransaction:
			return strings.HasPrefix(string(n.Kind), "Create")
		default:
			return n.Kind != "Comment" && n.Kind != "Analyze"
		}
	})
}

// leavesRows reports whether a statement is about settings and transactions alone.
func leavesRows(f *sql.Facts) bool {
	return f.Definitions == nil && !slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return n.Kind != "Set" && n.Kind != "Reset" && n.Group != sql.GroupTransaction })
}

// pathSoFar is what the statements of a message so far mean for the session's path.
type pathSoFar struct{ set, wrote bool }

// refuses says why a statement cannot follow those before it; empty if it can.
func (s *pathSoFar) refuses(f *sql.Facts, c *Catalog) (why string) {
	switch {
	case s.set && !leavesRows(f):
		why = "it follows one that sets search_path"
	case s.wrote && f.SetsPath && !c.OwnPath():
		why = "it sets search_path behind one that writes"
	}
	s.set, s.wrote = s.set || f.SetsPath, s.wrote || Writes(f)
	return why
}

// atOnce reports whether the server may have all statements of a message at once.
func atOnce(tree *pgquery.ParseResult, f *sql.Facts) bool {
	return !f.SetsPath && !slices.ContainsFunc(tree.Stmts, func(r *pgquery.RawStmt) bool { return !standsAlone(unwrap(r.Stmt)) })
}

// traceSeveral establishes the statements of a message of several and adds to f what became
// known of their names.
func (a *Analyzer) traceSeveral(ctx context.Context, tree *pgquery.ParseResult, f *sql.Facts, in Input) error {
	t := &tracer{}
	s := &several{}
	redefined := false
	var path pathSoFar
	switch {
	case atOnce(tree, f):
		return nil // the server may have them all at once
	case in.Catalog == nil:
		t.deny("what the statements mean cannot be established in this state of the session; end the transaction first")
	case len(tree.Stmts) > maxParts:
		t.deny(fmt.Sprintf("more than %d statements are sent in one message", maxParts))
	}
	for i, r := range tree.Stmts {
		if t.violated() {
			break
		}
		p, err := a.part(ctx, r, in)
		if err != nil {
			return err
		}
		which := fmt.Sprintf("statement %d of the message: ", i+1)
		kind, may := mayStandTogether(p.Facts)
		switch {
		case !p.Facts.Known || p.Facts.Statements != 1:
			t.deny(which + "it is not known")
		case redefined && p.Facts.Definitions != nil:
			t.denyWith(which+"it follows one that changes definitions", "send it in a message of its own")
		case p.Facts.MaskViolation != "":
			t.deny(which + p.Facts.MaskViolation)
			t.masked, t.fault = p.Facts.MaskedColumn, within(p.Facts.Fault, r, in.Text)
		case !may:
			t.deny(which + kind + " is sent together with others; send it in a message of its own")
		}
		if why := path.refuses(p.Facts, in.Catalog); why != "" {
			t.denyWith(which+why, "send it in a message of its own")
		}
		redefined = redefined || redefines(p.Facts)
		t.sensitive = t.sensitive || p.Facts.Sensitive || p.Facts.SensitiveParameters
		s.parts = append(s.parts, p)
	}
	f.Definitions = s
	f.Sensitive, f.SensitiveParameters = f.Sensitive || t.sensitive, f.SensitiveParameters || t.sensitive
	if t.violated() {
		f.MaskViolation, f.MaskedColumn, f.Sensitive, f.SensitiveParameters = t.violation, t.masked, true, true
		f.Fault = t.fault
		return nil
	}
	s.join(f)
	return nil
}

// within returns the fault of one statement as that of the message.
func within(f sql.Fault, r *pgquery.RawStmt, text []byte) sql.Fault {
	if from := int(r.StmtLocation); f.Position > 0 && from <= len(text) {
		f.Position += utf8.RuneCount(text[:from])
	}
	return f
}

// part analyses one statement by its own bytes, which are what the server gets.
func (a *Analyzer) part(ctx context.Context, r *pgquery.RawStmt, in Input) (Part, error) {
	from, size := int(r.StmtLocation), int(r.StmtLen)
	if from < 0 || from > len(in.Text) || size < 0 || size > len(in.Text)-from {
		return Part{Facts: &sql.Facts{}}, nil
	}
	if size == 0 {
		size = len(in.Text) - from
	}
	in.Text = slices.Clone(in.Text[from : from+size])
	facts, err := a.examine(ctx, in, true)
	return Part{Text: in.Text, Facts: facts}, err
}

// join makes the facts of a message those of all its statements.
func (s *several) join(f *sql.Facts) {
	f.Relations, f.Functions, f.Attributes, f.Features = slices.Clone(f.Relations[:0]), slices.Clone(f.Functions), slices.Clone(f.Attributes), slices.Clone(f.Features)
	for _, p := range s.parts {
		f.Relations = appendNew(f.Relations, p.Facts.Relations)
		f.Functions = appendNew(f.Functions, p.Facts.Functions)
		f.Attributes = appendNew(f.Attributes, p.Facts.Attributes)
		f.Features = appendNew(f.Features, p.Facts.Features)
	}
}

// SameMeaning reports whether two analyses of one text differ in nothing but the state of
// the definitions that they rely on.
func SameMeaning(a, b *sql.Facts) bool {
	x, y := *a, *b
	x.Definitions, y.Definitions = nil, nil
	return reflect.DeepEqual(x, y)
}

func appendNew[T comparable](list, more []T) []T {
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}
