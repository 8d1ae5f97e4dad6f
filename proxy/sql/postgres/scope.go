package postgres

import (
	"slices"

	"github.com/cardea-dev/cardea/proxy/sql"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// source is what one name in FROM stands for.
type source struct {
	name    string // by which columns are qualified; empty for none
	schema  string // of a relation without an alias
	table   string
	view    bool // has no system columns
	columns []column
}

// scope is one level of names: the sources of one FROM clause, inside of another level.
//
// Names are resolved rather too widely than the server does: a reference may mean any
// column of that name at this level or around, whether or not it is visible from there,
// and all of them must be masked alike. Then it does not matter which one it is.
type scope struct {
	outer   *scope
	sources []*source
	ctes    []*cte
	// partial says that not all sources are visible now: those of FROM see those on their
	// left at most, a condition of JOIN those of its join alone.
	partial bool
}

// cte is a WITH query that later ones can read.
type cte struct {
	name    string
	columns []column
	pending bool // visible by its name, and its columns not established yet
}

func (s *scope) inner() *scope { return &scope{outer: s} }

// cte returns the WITH query of a name, innermost first.
func (s *scope) cte(name string) *cte {
	for ; s != nil; s = s.outer {
		for i := len(s.ctes) - 1; i >= 0; i-- {
			if s.ctes[i].name == name {
				return s.ctes[i]
			}
		}
	}
	return nil
}

// systemColumns are the columns that every table has.
var systemColumns = words("tableoid ctid xmin xmax cmin cmax")

// column resolves an unqualified name. found is false if there is no such column at any
// level.
func (t *tracer) column(s *scope, name string) (column, bool) {
	var found []column
	for ; s != nil; s = s.outer {
		for _, src := range s.sources {
			t.effort += len(src.columns) + 1
			found = append(found, columnsNamed(src.columns, name)...)
		}
	}
	return t.agree(found, name)
}

// qualified resolves a name qualified by a source.
func (t *tracer) qualified(s *scope, qualifier []string, name string, at int32) (column, bool) {
	var found []column
	for ; s != nil; s = s.outer {
		for _, src := range s.sources {
			t.effort++
			if !src.is(qualifier) {
				continue
			}
			t.effort += len(src.columns)
			cs := columnsNamed(src.columns, name)
			if len(cs) == 0 && systemColumns[name] && src.table != "" && !src.view {
				cs = []column{{name: name}}
			}
			if len(cs) == 0 {
				// The server would go on to call a function of that name on the row.
				t.noColumn(name, at)
				return column{}, false
			}
			found = append(found, cs...)
		}
	}
	return t.agree(found, name)
}

// is reports whether a qualifier, NAME or SCHEMA.NAME, means the source.
func (src *source) is(qualifier []string) bool {
	switch len(qualifier) {
	case 1:
		return src.name == qualifier[0]
	case 2:
		return src.table == qualifier[1] && src.schema == qualifier[0] && src.name == src.table
	}
	return false
}

func columnsNamed(columns []column, name string) []column {
	var out []column
	for _, c := range columns {
		if c.name == name {
			out = append(out, c)
		}
	}
	return out
}

// maxEffort bounds how many columns the names of one command are compared with.
const maxEffort = 50_000_000

// agree returns the one column that all of them amount to.
func (t *tracer) agree(found []column, name string) (column, bool) {
	if t.effort > maxEffort {
		t.deny("the statement names too many columns")
	}
	if len(found) == 0 {
		return column{}, false
	}
	for _, c := range found {
		if c.secret {
			t.denyColumn(c, "shows values that are not to be seen")
			return column{}, true
		}
		if c.mask != found[0].mask {
			masked := found[0]
			if masked.mask == 0 {
				masked = c
			}
			t.denyColumn(masked, "cannot be told from another column of the same name; qualify it by its table")
			return column{}, true
		}
	}
	c := found[0]
	c.name = name
	t.reads = t.reads || c.mask != 0
	return c, true
}

// certain reports whether the server finds a column of a name where it is found here.
func (s *scope) certain(name string) bool {
	for ; s != nil; s = s.outer {
		for _, src := range s.sources {
			if !s.partial && len(columnsNamed(src.columns, name)) > 0 {
				return true
			}
		}
	}
	return false
}

// sourcesNamed returns the sources that a name means, at any level.
func (s *scope) sourcesNamed(qualifier []string) []*source {
	var out []*source
	for ; s != nil; s = s.outer {
		for _, src := range s.sources {
			if src.is(qualifier) {
				out = append(out, src)
			}
		}
	}
	return out
}

// rename gives columns the names of an alias.
func (t *tracer) rename(columns []column, a *pgquery.Alias) []column {
	list := names(a.GetColnames())
	if len(list) > len(columns) {
		t.deny("an alias names more columns than there are")
		return nil
	}
	out := slices.Clone(columns)
	for i, n := range list {
		out[i].name = n
	}
	return out
}

// outputs turns the columns of a result into what the engine masks by.
func outputs(columns []column) []sql.Output {
	out := make([]sql.Output, 0, len(columns))
	for _, c := range columns {
		out = append(out, sql.Output{Known: !c.secret, Mask: c.mask})
	}
	return out
}
