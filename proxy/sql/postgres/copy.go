package postgres

import (
	"slices"
	"strconv"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// The lines of COPY TO bear no description of their columns. Where some are masked, what
// stands in a line is read by the analysis alone, so that its form must be one that can be read
// in one way: text or CSV, with values that cannot be taken for NULL.

// copy checks COPY. What COPY FROM writes came from the client, as the constants of an INSERT.
func (t *tracer) copy(m *pgquery.CopyStmt, s *scope) {
	if m.IsProgram || m.Filename != "" {
		t.deny("COPY reads or writes a file or program of the server")
		return
	}
	if m.Query != nil {
		t.copyOut(m, t.statement(unwrap(m.Query), s.inner()))
		return
	}
	if m.Relation == nil {
		t.deny("COPY names no table")
		return
	}
	var r *relation
	if m.IsFrom {
		r, _ = t.target(m.Relation)
	} else {
		r = t.relation(m.Relation)
	}
	if r == nil {
		return
	}
	columns := copiedColumns(r, names(m.Attlist))
	if !m.IsFrom {
		if len(m.Attlist) > 0 && len(columns) != len(m.Attlist) {
			t.deny("a column that is not known is copied")
		}
		t.copyOut(m, columns)
	}
	for _, c := range columns {
		if m.IsFrom && r.telling[c.name] {
			t.denyTelling(r, c.name, "cannot be written: "+outcomeTells)
		}
	}
	level := s.inner()
	t.add(level, &source{name: r.name, schema: r.schema, table: r.name, columns: r.columns})
	t.use(m.WhereClause, level, "WHERE")
}

// copiedColumns are the columns of a table that COPY copies: those of a list, or all that are
// not generated.
func copiedColumns(r *relation, list []string) []column {
	var out []column
	for _, name := range list {
		out = append(out, columnsNamed(r.columns, name)...)
	}
	if len(list) == 0 {
		for _, c := range r.columns {
			if _, generated := c.typeOID(); !generated {
				out = append(out, c)
			}
		}
	}
	return out
}

// typeOID returns the type of a relation's column, zero if it is not known, and whether the
// column is generated.
func (c column) typeOID() (oid uint32, generated bool) {
	typ, generated := c.typ, false
	if at := strings.IndexByte(typ, ' '); at >= 0 {
		typ, generated = typ[:at], true
	}
	n, err := strconv.ParseUint(typ, 10, 32)
	if err != nil {
		return 0, generated
	}
	return uint32(n), generated
}

// copyOut establishes how the lines of COPY TO are read.
func (t *tracer) copyOut(m *pgquery.CopyStmt, columns []column) {
	if slices.ContainsFunc(columns, func(c column) bool { return c.secret }) {
		t.unmasked(columns, "COPY")
		return
	}
	if !slices.ContainsFunc(columns, func(c column) bool { return c.mask != 0 }) {
		return
	}
	l, why := lineForm(m.Options)
	if why != "" {
		t.denyLines(columns, why)
		return
	}
	for _, c := range columns {
		typ, _ := c.typeOID()
		l.Columns = append(l.Columns, sql.LineColumn{Mask: c.mask, Type: typ})
	}
	t.lines = l
}

// lineForm returns how the options of a COPY have fields written, or why that is not understood.
func lineForm(options []*pgquery.Node) (l *sql.Lines, why string) {
	l = &sql.Lines{}
	var delimiter string
	var null *string
	for _, n := range options {
		d := n.GetDefElem()
		text := d.GetArg().GetString_().GetSval()
		switch known := d.GetArg().GetString_() != nil; {
		case d.GetDefname() == "format" && known && (text == "text" || text == "csv"):
			l.CSV = text == "csv"
		case d.GetDefname() == "delimiter" && known:
			delimiter = text
		case d.GetDefname() == "null" && known:
			null = &text
		case d.GetDefname() == "header" && isHeader(d.GetArg()):
			l.Header = !isFalse(d.GetArg())
		case d.GetDefname() == "force_quote":
		default:
			return nil, "with an option by which its lines are not understood; FORMAT text or csv, DELIMITER, HEADER, FORCE_QUOTE and, for csv, NULL are"
		}
	}
	standard := "\t"
	l.Null = `\N`
	if l.CSV {
		standard, l.Null = ",", ""
	}
	if null != nil {
		// In text format a value may look like a NULL of the client's choice.
		if !l.CSV && *null != l.Null || strings.ContainsAny(*null, "\"\r\n") {
			return nil, "with a NULL of its own; use FORMAT csv for that"
		}
		l.Null = *null
	}
	if delimiter != "" {
		standard = delimiter
	}
	if !delimits(standard, l.Null) {
		return nil, "with a delimiter other than a tab or one of , ; | ^ ~ : # !"
	}
	l.Delimiter = standard[0]
	return l, ""
}

func delimits(s, null string) bool {
	return len(s) == 1 && strings.IndexByte(delimiters, s[0]) >= 0 && strings.IndexByte(null, s[0]) < 0
}

// delimiters stand for nothing else in either format.
const delimiters = "\t,;|^~:#!"

// denyLines refuses COPY of the first masked column.
func (t *tracer) denyLines(columns []column, why string) {
	at := slices.IndexFunc(columns, func(c column) bool { return c.mask != 0 })
	t.denyColumn(columns[at], "is used in COPY "+why)
}

// isHeader reports whether the argument of HEADER is a Boolean.
func isHeader(n *pgquery.Node) bool {
	return n == nil || isFalse(n) || n.GetBoolean() != nil || n.GetInteger().GetIval() == 1 || slices.Contains([]string{"true", "on"}, strings.ToLower(n.GetString_().GetSval()))
}

func isFalse(n *pgquery.Node) bool {
	switch {
	case n.GetBoolean() != nil:
		return !n.GetBoolean().Boolval
	case n.GetInteger() != nil:
		return n.GetInteger().Ival == 0
	case n.GetString_() != nil:
		return slices.Contains([]string{"false", "off"}, strings.ToLower(n.GetString_().Sval))
	}
	return false
}
