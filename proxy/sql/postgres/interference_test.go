package postgres_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// Two databases that differ in masked values alone must give the same answer to whatever
// is admitted: the same rows but for masked columns, in the same order, or the same error.

// colliding has tables, columns and views that share their few names.
const colliding = `create table t(id int primary key, a text, s text, k text); create table a(id int, t text, s text); create table s(id int, a text, x text);
	create table p(id int, s text) partition by range (id); create table p1 partition of p for values from (0) to (10);
	create view v as select id, a, s as k from t; create view w(t, a) as select s.a, (select p.s from p where p.id = s.id) from s;
	insert into t values (1, 'n1', '%[1]s1', 'k1'), (2, 'n2', '%[1]s2', 'k2'), (3, 'n3', null, 's'); insert into a values (1, 'n1', '%[1]s3'), (2, 'x', 'n2');
	insert into s values (1, 'n1', 'k1'), (2, 'n2', 'n3'); insert into p values (1, '%[1]s5'), (2, 'k2'); grant all on t, a, s, p, p1, v, w to analyst;
	grant usage, create on schema public to analyst`

// unmasked is what the tables hold beside masked values.
const unmasked = `select id, a, k, null, ctid from t union all select id, t, null, null, ctid from a union all select id, a, x, null, ctid from s
	union all select id, null, null, tableoid::regclass::text, ctid from p`

// maskS masks each column s, and admits expressions over them if it is true.
type maskS struct {
	masks
	expressions bool
}

func (m maskS) Uses(sql.MaskRef) sql.Uses { return sql.Uses{MaskedExpressions: m.expressions} }

func (maskS) Names() []sql.ColumnName {
	return []sql.ColumnName{{Schema: "*", Table: "*", Column: "s"}}
}

func (maskS) Mask(schema, _, column string) sql.MaskRef {
	if schema == "pg_catalog" || schema == "information_schema" || column != "s" {
		return 0
	}
	return 1
}

var elapsed = regexp.MustCompile(`ELAPSED .*\n`)

// TestG3MaskedValuesChangeNothing generates queries full of names that mean several things.
// CARDEA_INTERFERENCE says how many, CARDEA_SEED from where.
func TestG3MaskedValuesChangeNothing(t *testing.T) {
	count, seed := 600, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("CARDEA_INTERFERENCE")); err == nil {
		count = n
	}
	if n, err := strconv.ParseUint(os.Getenv("CARDEA_SEED"), 10, 64); err == nil {
		seed = n
	}
	server := pgtest.Start(t, "autovacuum = off") // the same plans in both
	server.Exec(t, "postgres", "create role analyst login password 'pw'")
	analyzer := newAnalyzer(t)
	var of [2]*backend
	for i, values := range []string{"aaa", "zzz"} {
		database := fmt.Sprintf("world%d", i)
		server.Exec(t, "postgres", "create database "+database)
		server.Exec(t, database, fmt.Sprintf(colliding, values))
		of[i] = connect(t, server, analyzer, "analyst", "pw", database)
		of[i].columns, of[i].prepared = maskS{}, map[string]string{}
		for _, set := range []string{"set statement_timeout = '2s'", "set work_mem = '64MB'"} {
			of[i].send(t, set)
		}
	}
	meant, admissions, answers := 0, 0, 0
	for i := range count {
		g := &generator{r: rand.New(rand.NewPCG(seed, uint64(i)))} //nolint:gosec // a seed to come back to
		text := g.statement()
		if _, err := of[0].c.Prepare(t.Context(), "", text, nil); err != nil {
			continue // most queries mean nothing
		}
		meant++
		for _, b := range of {
			b.columns = maskS{expressions: i%2 == 1}
		}
		if !admitted(of[0].analyze(t, text)) {
			continue
		}
		admissions++
		var said [2]string
		for j, b := range of {
			said[j] = b.answer(t, text)
		}
		if len(said[0]) > 5 {
			answers++
		}
		if said[0] != said[1] && !strings.Contains(said[0]+said[1], "57014") {
			t.Errorf("masked values tell in %d: %s\n%s\n%s", i, text, said[0], said[1])
		}
	}
	t.Logf("%d queries, %d mean something, %d admitted, %d answered", count, meant, admissions, answers)
	if answers < count/50 {
		t.Errorf("%d of %d queries had an answer", answers, count)
	}
}

// answer returns what a client sees of a statement, and of the rows after it. The statement
// is undone.
func (b *backend) answer(t *testing.T, text string) string {
	t.Helper()
	do := func(text string) string {
		var out strings.Builder
		results, err := b.c.Exec(t.Context(), text).ReadAll()
		for _, r := range results {
			for _, row := range r.Rows {
				fmt.Fprintf(&out, "%s\n", row)
			}
		}
		if err != nil {
			fmt.Fprintln(&out, err)
		}
		return out.String()
	}
	b.failed = nil
	do("begin")
	seen, refused := b.send(t, text)
	said := elapsed.ReplaceAllString(seen, "") + refused
	var pe *pgconn.PgError
	if errors.As(b.failed, &pe) {
		said = pe.Code
	} else {
		said += do(unmasked)
	}
	do("rollback")
	return said
}

// generator makes queries. Names are few, so that they collide.
type generator struct {
	r    *rand.Rand
	ctes []visibleQuery
}

type visibleQuery struct {
	name    string
	columns []string
}

// visible is a source as the generator thinks of it.
type visible struct {
	name    string
	columns []string
}

var tables = []visibleQuery{{"t", []string{"id", "a", "s", "k"}}, {"a", []string{"id", "t", "s"}}, {"s", []string{"id", "a", "x"}}, {"p", []string{"id", "s"}},
	{"v", []string{"id", "a", "k"}}, {"w", []string{"t", "a"}}}

var fewNames = []string{"t", "a", "s", "k", "x", "id", "v", "upper", "text", "column1"}

func (g *generator) one(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

// statement returns a query, or a statement that changes rows.
func (g *generator) statement() string {
	if g.chance(75) {
		text, _ := g.query(nil, 3)
		return text
	}
	into := tables[g.r.IntN(4)]
	target := visible(into)
	name := into.name
	if g.chance(50) {
		target.name = g.one(fewNames[:6]...)
		name += " as " + target.name
	}
	from, sources, _ := g.from(nil, 2)
	both := append(slices.Clone(sources), target)
	returning := map[bool]string{true: " returning " + g.expression(both, 1) + ", *"}[g.chance(40)]
	on := g.one("true", target.name+".id::text = "+g.expression(sources, 0)+"::text", g.condition(both, 1))
	switch g.r.IntN(4) {
	case 0:
		return "update " + name + " set " + g.one(into.columns[1:]...) + " = " + g.expression(both, 1) + "::text from " + from + " where " + on + returning
	case 1:
		return "delete from " + name + " using " + from + " where " + on + returning
	case 2:
		query, _ := g.query(nil, 2)
		returning = map[bool]string{true: " returning " + g.expression([]visible{target}, 1) + ", *"}[g.chance(40)]
		return "insert into " + name + " (id, " + g.one(into.columns[1:]...) + ") " + g.one("values (5, "+g.expression(nil, 1)+"::text)", "select 5, q.x::text from ("+query+") q(x)",
			"select 5, ("+query+")::text") + g.one("", "", " on conflict do nothing", " on conflict (id) do update set id = 9") + returning
	}
	source := sources[0]
	if len(sources) != 1 {
		from, source = "(select * from "+from+") "+source.name, visible{source.name, nil}
	}
	return "merge into " + name + " using " + from + " on " + on + " when matched" + map[bool]string{true: " and " + g.condition(both, 1)}[g.chance(50)] + " then " +
		g.one("delete", "do nothing", "update set "+g.one(into.columns[1:]...)+" = "+g.expression(both, 1)+"::text") +
		" when not matched" + map[bool]string{true: " and " + g.condition([]visible{source}, 1)}[g.chance(50)] +
		" then insert (id, " + g.one(into.columns[1:]...) + ") values (7, " + g.expression([]visible{source}, 1) + "::text)"
}

// query returns a query and the names of its columns, as far as they are known.
func (g *generator) query(outer []visible, depth int) (string, []string) {
	defer func(n int) { g.ctes = g.ctes[:n] }(len(g.ctes))
	with := ""
	if depth > 0 && g.chance(15) {
		name := g.one("t", "a", "s", "k", "x")
		recursive := g.chance(20)
		text, columns := g.query(outer, depth-1)
		list := g.columnList(columns)
		if recursive && len(columns) > 0 {
			g.ctes = append(g.ctes, visibleQuery{name, columns})
			text = fmt.Sprintf("%s union all select %s from %s where false", text, strings.Join(columns, ", "), name)
		}
		with = "with " + map[bool]string{true: "recursive "}[recursive] + name + list.text + " as (" + text + ") "
		g.ctes = append(g.ctes, visibleQuery{name, list.of(columns)})
	}
	switch n := g.r.IntN(100); {
	case n < 8 && depth > 0:
		left, columns := g.query(outer, depth-1)
		right, more := g.query(outer, depth-1)
		if len(columns) != len(more) {
			right = "select " + strings.Join(slices.Repeat([]string{"null"}, len(columns)), ", ")
		}
		return with + "(" + left + ") " + g.one("union all", "union all", "union", "intersect", "except") + " (" + right + ")", columns
	case n < 12:
		return with + "values (" + g.expression(outer, depth-1) + ", 'v')", []string{"column1", "column2"}
	case n < 14 && len(g.ctes) > 0:
		c := g.ctes[g.r.IntN(len(g.ctes))]
		return with + "table " + c.name, c.columns
	}
	text, columns := g.selection(outer, depth)
	return with + text, columns
}

func (g *generator) selection(outer []visible, depth int) (string, []string) {
	from, sources, all := g.from(outer, depth)
	in := append(slices.Clone(outer), sources...)
	var items, columns []string
	for range 1 + g.r.IntN(3) {
		switch n := g.r.IntN(10); {
		case n < 2:
			items, columns = append(items, "*"), append(columns, all...)
		case n < 3 && len(sources) > 0:
			src := sources[g.r.IntN(len(sources))]
			items, columns = append(items, src.name+".*"), append(columns, src.columns...)
		default:
			item, name := g.expression(in, depth), "?column?"
			if at := strings.LastIndexAny(item, ".( "); at < 0 || item[at] == '.' {
				name = item[at+1:]
			}
			if g.chance(40) {
				name = g.one(fewNames...)
				item += " as " + name
			}
			items, columns = append(items, item), append(columns, name)
		}
	}
	text := "select " + map[bool]string{true: "distinct "}[g.chance(5)] + strings.Join(items, ", ") + " from " + from
	if g.chance(35) {
		text += " where " + g.condition(in, depth)
	}
	if g.chance(10) {
		text += " order by " + g.one("1", "2", g.one(fewNames...), g.expression(in, 0))
	}
	if g.chance(8) {
		text += " limit 2"
	}
	return text, columns
}

// from returns a FROM clause, its sources and the columns of "*".
func (g *generator) from(outer []visible, depth int) (text string, sources []visible, all []string) {
	text, sources, all = g.source(outer, nil, depth)
	for range g.r.IntN(3) {
		next, more, columns := g.source(outer, sources, depth)
		both := append(slices.Clone(sources), more...)
		kind := g.one("join", "left join", "full join", "right join")
		switch n := g.r.IntN(10); {
		case n < 3:
			text += ", " + next
		case n < 5:
			text += " natural " + kind + " " + next
		case n < 7:
			text += " " + kind + " " + next + " using (" + g.one("id", "a", "k", "t") + ")" + map[bool]string{true: " as " + g.one(fewNames[:5]...)}[g.chance(30)]
		case n < 9:
			text += " " + kind + " " + next + " on " + g.condition(append(slices.Clone(outer), both...), depth-1)
		default:
			alias := g.one(fewNames[:5]...)
			list := g.columnList(append(slices.Clone(all), columns...))
			text, both = "("+text+" cross join "+next+") "+alias+list.text, nil
			all, columns = list.of(append(slices.Clone(all), columns...)), nil
			sources = []visible{{alias, all}}
		}
		if both != nil {
			sources = both
		}
		all = append(slices.Clone(all), columns...)
	}
	return text, sources, all
}

// source returns one source; left are those it may see if it is LATERAL.
func (g *generator) source(outer, left []visible, depth int) (string, []visible, []string) {
	alias := g.one(fewNames[:6]...)
	switch n := g.r.IntN(100); {
	case n < 35 && depth > 0:
		see, lateral := outer, ""
		if g.chance(35) {
			see, lateral = append(slices.Clone(outer), left...), "lateral "
		}
		text, columns := g.query(see, depth-1)
		list := g.columnList(columns)
		return lateral + "(" + text + ") " + alias + list.text, []visible{{alias, list.of(columns)}}, list.of(columns)
	case n < 42:
		array := g.one("array['s', 'k']", "'{a}'::text[]", "array(select "+g.expression(outer, 0)+" from t)", "(select array_agg("+g.one(fewNames[:4]...)+") from "+g.one("t", "s")+")",
			"string_to_array('a,b', ',')", "'a:1'::tsvector")
		return "unnest(" + array + ") " + alias, []visible{{alias, []string{alias}}}, []string{alias}
	case n < 46:
		return "generate_series(1, 2) " + alias, []visible{{alias, []string{alias}}}, []string{alias}
	}
	list := append(slices.Clone(tables), g.ctes...)
	table := list[g.r.IntN(len(list))]
	if g.chance(50) {
		return table.name, []visible{{table.name, table.columns}}, table.columns
	}
	columns := g.columnList(table.columns)
	return table.name + " " + alias + columns.text, []visible{{alias, columns.of(table.columns)}}, columns.of(table.columns)
}

// aliases are a list of new names for columns, or none.
type aliases struct {
	text  string
	names []string
}

func (a aliases) of(columns []string) []string {
	out := slices.Clone(columns)
	copy(out, a.names)
	return out
}

func (g *generator) columnList(columns []string) aliases {
	if len(columns) == 0 || g.chance(75) {
		return aliases{}
	}
	names := make([]string, 0, len(columns))
	for range 1 + g.r.IntN(len(columns)) {
		names = append(names, g.one(fewNames...))
	}
	return aliases{"(" + strings.Join(names, ", ") + ")", names}
}

func (g *generator) column(in []visible) string {
	if len(in) == 0 || g.chance(20) {
		return g.one(fewNames...)
	}
	// Sources at the end are the nearest.
	src := in[len(in)-1-g.r.IntN(len(in)+1)/2]
	if len(src.columns) == 0 || g.chance(10) {
		return src.name
	}
	c := g.one(src.columns...)
	if c == "?column?" {
		c = g.one(fewNames...)
	}
	if g.chance(50) {
		return src.name + "." + c
	}
	return c
}

func (g *generator) expression(in []visible, depth int) string {
	switch n := g.r.IntN(100); {
	case n < 45 || depth < 0:
		return g.column(in)
	case n < 52:
		return g.one("'s'", "1", "null", "'k'::text")
	case n < 60:
		return "upper(" + g.expression(in, depth-1) + "::text)"
	case n < 66:
		return "(" + g.expression(in, depth-1) + ")::text"
	case n < 71:
		return "(" + g.expression(in, depth-1) + "::text || " + g.expression(in, depth-1) + "::text)"
	case n < 75:
		return "coalesce(" + g.expression(in, depth-1) + "::text, 'n')"
	case n < 79:
		return "case when " + g.condition(in, depth-1) + " then " + g.expression(in, depth-1) + "::text else 'e' end"
	case n < 91 && depth > 0:
		text, _ := g.query(in, depth-1)
		return fmt.Sprintf(g.one("(select q.* from (%s) q limit 1)", "(%s limit 1)", "(%s)", "exists (%s)", "array(%s)::text"), text)
	case n < 95:
		return "row_to_json(" + g.column(in) + ")::text"
	case n < 97:
		return "count(" + g.column(in) + ")"
	}
	return "row(" + g.column(in) + ", 1)::text"
}

func (g *generator) condition(in []visible, depth int) string {
	left := g.expression(in, depth-1)
	switch n := g.r.IntN(10); {
	case n < 4:
		return left + "::text = " + g.expression(in, depth-1) + "::text"
	case n < 6:
		return left + "::text < 'n'"
	case n < 7:
		return left + " is not null"
	}
	return g.one("true", "not false", "1 = 1")
}
