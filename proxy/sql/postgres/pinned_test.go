package postgres_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// pinning are the corpus's masks under a rule with functions.
type pinning struct {
	masks
	functions []sql.PinnedFunction
}

func (p pinning) Functions() []sql.PinnedFunction { return p.functions }

// ownFunctions are functions of a user. All of them are harmless but leak.
const ownFunctions = `
create schema app; create schema other; grant usage on schema app, other to analyst;
create type app.currency as enum ('EUR');
create function app.money(numeric) returns text language sql immutable as 'select $1::text || '' EUR''';
create function app.money(numeric, app.currency) returns text language sql immutable as 'select $1::text || $2::text';
create function app.half(int, integer[] default '{}') returns int language plpgsql as 'begin return $1 / 2; end';
create function app.mixed(int) returns int language sql as 'select $1'; create function app.mixed(text) returns text language sql as 'select ssn from public.customers where id = 1';
create function app.days() returns setof int language sql as 'values (1), (2)';
create function app.pairs(int) returns table (k int, v text) language sql as 'values ($1, ''x'')';
create function app.person() returns public.customers language sql as 'select * from public.customers where id = 1';
create function app.definer() returns int language sql security definer as 'select 1';
create function app.leak(int) returns text language sql as 'select ssn from public.customers where id = $1';
create function app.changing() returns text language sql as 'select ''x''';
create function app.of_row(public.orders) returns int language sql as 'select $1.id';
create function app.of_person(public.customers) returns int language sql as 'select $1.id';
create function app.identity(text) returns text language sql as 'select $1';
create function public.upper(int) returns text language sql as 'select $1::text';
create function public.quiet(int) returns int language sql as 'select $1';
create function other.quiet(int) returns int language sql as 'select $1';
create aggregate app.total(int) (sfunc = int4pl, stype = int);
create procedure app.work() language sql as 'select 1';
create view public.priced as select id, app.money(total) as price from public.orders;
create view public.leaking as select id, app.leak(id) as x from public.orders;
create view public.priced_for as select id, app.identity(ssn) as x from public.customers;
grant select on all tables in schema public to analyst;`

// digestQuery returns the query for digests from the documentation.
func digestQuery(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/masking.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```sql\n")
	query, _, found := strings.Cut(rest, ";\n```")
	if !found {
		t.Fatal("the documentation has no query")
	}
	return query
}

// TestPinnedFunctions calls functions of users on a target with masks.
func TestPinnedFunctions(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	s.Exec(t, "original", ownFunctions)
	digests := map[string]string{}
	for _, row := range s.Query(t, "original", digestQuery(t)) {
		digests[row[0]] = row[1]
	}
	if len(digests) < 10 {
		t.Fatalf("digests = %v", digests)
	}
	pin := func(schema, name, digest string, arguments ...string) sql.PinnedFunction {
		return sql.PinnedFunction{Schema: schema, Name: name, Arguments: arguments, SHA256: digest}
	}
	wrong := strings.Repeat("0", 64)
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	b.columns = pinning{functions: []sql.PinnedFunction{
		pin("app", "money", digests["app.money(numeric)"], " decimal "), pin("app", "money", wrong, "numeric", "app.currency"),
		pin("app", "money", digests["app.money(numeric,app.currency)"], "numeric", " app.currency"),
		pin("app", "half", "", "int4", "int[]"), pin("app", "mixed", "", "int"), pin("app", "days", digests["app.days()"]), pin("app", "pairs", "", "int"),
		pin("app", "person", ""), pin("app", "definer", ""), pin("app", "changing", digests["app.changing()"]), pin("app", "leak", wrong, "int"),
		pin("app", "of_row", "", "public.orders"), pin("app", "of_person", "", "public.customers"), pin("app", "identity", "", "text"),
		pin("public", "upper", "", "int"), pin("public", "quiet", "", "int"), pin("app", "total", "", "int"), pin("app", "work", ""),
	}}
	for _, text := range []string{
		"select app.money(total), app.money(total, 'EUR') from orders where app.money(total) <> 'x' order by app.money(total)",
		"select app.half(4), app.half(4, array[1]), count(*) filter (where app.half(id) > 2) from orders group by 1",
		"select d, e.d2 from app.days() d, app.days() as e(d2)", "select p.k, v from app.pairs(3) p", "select x.* from app.days() with ordinality x(a, b)",
		"select app.of_row(o) from orders o", "select app.of_row(o.*) from orders o", "select public.upper(5), pg_catalog.upper('x'), quiet(1)",
		"select * from priced where price like '1%'", "select c.ssn, app.money(o.total) from customers c join orders o on o.customer_id = c.id",
		"update orders set total = app.half(total::int) where id = 10", "insert into system_like values (app.half(8), app.identity('x'))",
		"prepare q as select app.half($1)", "execute q(3)",
	} {
		if f := b.analyze(t, text); !admitted(f) {
			t.Errorf("%s is refused: %s", text, why(f))
		} else if b.send(t, text); b.failed != nil {
			t.Errorf("%s: %v", text, b.failed)
		}
	}
	for _, text := range []string{
		"select app.identity(ssn) from customers", "select app.of_person(c) from customers c", "select app.of_person(c.*) from customers c", "select c.of_person from customers c",
		"select app.money(balance) from customers", "select id from orders where app.identity((select ssn from customers limit 1)) = 'x'",
		"select upper('x')", "select app.leak(1)", "select app.mixed(1)", "select app.mixed('x'::text)", "select * from app.leak(1)", "select upper(5)", "select other.quiet(1)", "select pg_temp.quiet(1)",
		"select original.app.half(4)", "select app.nothing(1)", "select app.definer()", "select * from app.person()", "select (app.person()).ssn",
		"select app.total(id) from orders", "call app.work()", "select * from leaking", "select * from priced_for", "select o.identity from orders o",
		"select * from rows from (app.leak(1), app.days()) x", "select 1 order by app.leak(1)", "values (app.leak(1))", "prepare r as select app.leak($1)",
		"select app.money(1) over () from orders, app.leak(1)", "insert into customers (id, ssn) values (77, app.identity('x'))",
	} {
		if f := b.analyze(t, text); admitted(f) {
			t.Errorf("%s is admitted", text)
		}
	}
	for what, change := range map[string]string{
		"replaced":         "create or replace function app.changing() returns text language sql as 'select ssn from public.customers where id = 1'",
		"made definer":     "alter function app.changing() security definer",
		"given a setting":  "alter function app.changing() set search_path = other",
		"given to another": "alter function app.changing() owner to analyst",
		"declared stable":  "alter function app.changing() stable",
		"joined":           "create function app.changing(int default 1) returns text language sql as 'select ssn from public.customers where id = $1'",
	} {
		s.Exec(t, "original", "drop function if exists app.changing(int); drop function app.changing(); create function app.changing() returns text language sql as 'select ''x'''")
		b.catalog.Forget()
		f := b.analyze(t, "select app.changing()")
		if !admitted(f) {
			t.Errorf("before it was %s: %s", what, why(f))
		}
		s.Exec(t, "original", change)
		if err := b.analyzer.Verify(t.Context(), f, b.catalog); !errors.Is(err, postgres.ErrDefinitionChanged) {
			t.Errorf("%s after the analysis: %v", what, err)
		}
		if f := b.analyze(t, "select app.changing()"); admitted(f) {
			t.Errorf("%s, and admitted", what)
		}
	}
}

// TestPinnedCasts holds a database with casts by functions of users to those that rules pin.
func TestPinnedCasts(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	s.Exec(t, "original", `create type mood as enum ('sad'); create type level as enum ('1'); create cast (text as mood) with inout as implicit;
		create function f(level) returns int language sql immutable as 'select 1'`)
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	b.columns = pinning{functions: []sql.PinnedFunction{{Schema: "public", Name: "f", Arguments: []string{"public.level"}}}}
	for _, text := range []string{"select id, ssn from customers", "select ssn from customers union all select name from customers"} {
		if f := b.analyze(t, text); !admitted(f) {
			t.Errorf("%s is refused: %s", text, why(f))
		}
	}
	s.Exec(t, "original", "create cast (level as int) with function f(level) as implicit")
	b.catalog.Forget()
	if f := b.analyze(t, "select id, ssn from customers where id > 0"); !admitted(f) {
		t.Errorf("refused: %s", why(f))
	}
	if f := b.analyze(t, "select balance from customers union all select 1"); admitted(f) {
		t.Error("a masked column may be cast by a function of a user")
	}
	s.Exec(t, "original", "create function g(int) returns text language sql as 'select ssn from customers'; create cast (int as text) with function g(int)")
	b.catalog.Forget()
	if f := b.analyze(t, "select id, ssn from customers where id > 0"); admitted(f) {
		t.Error("admitted with a cast that no rule pins")
	}
}

// TestExtensionFunctions calls functions of extensions that compute.
func TestExtensionFunctions(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	rows := s.Query(t, "original", "select name from pg_available_extensions where name in ('pg_trgm', 'citext', 'pgcrypto', 'uuid-ossp', 'hstore', 'tablefunc')")
	if len(rows) < 6 {
		t.Skip("the server has no extensions")
	}
	s.Exec(t, "original", `create extension pg_trgm; create extension citext; create extension pgcrypto; create extension "uuid-ossp"; create schema ext; create extension hstore schema ext;
		create extension tablefunc; grant usage on schema ext to analyst; create role deployer;
		create function public.sneaky(int) returns text language sql as 'select ssn from customers where id = $1'; alter function public.sneaky(int) owner to deployer;
		alter extension pg_trgm add function public.sneaky(int); alter table customers add nick citext, add alias citext`)
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	for _, text := range []string{
		"select similarity(name, 'Ada') from customers where name % 'Ada' order by name <-> 'Ada'", "select id, nick from customers where nick = 'x'", "select upper(nick), split_part(nick, ' ', 1) from customers",
		"select encode(digest(name, 'sha256'), 'hex'), crypt('x', gen_salt('bf', 4)) from customers where id = 1", "select uuid_generate_v4(), public.uuid_generate_v4()",
		"select ext.hstore('a', name), (ext.hstore(o)) from customers, orders o", "select word_similarity('a', 'b')",
	} {
		if f := b.analyze(t, text); !admitted(f) {
			t.Errorf("%s is refused: %s", text, why(f))
		} else if b.send(t, text); b.failed != nil {
			t.Errorf("%s: %v", text, b.failed)
		}
	}
	for _, text := range []string{
		"select similarity(ssn, '123') from customers", "select digest(ssn, 'md5') from customers", "select ext.hstore(c) from customers c", "select ext.hstore(c.*) from customers c",
		"select encode(hmac(email, 'k', 'sha1'), 'hex') from customers", "select id from customers order by ssn <-> '1'", "select sneaky(1)", "select public.sneaky(1)",
		"select * from crosstab('select 1, 2, ssn from customers') as t(a int, b text)", "select normal_rand(1, 1, 1)",
	} {
		if f := b.analyze(t, text); admitted(f) {
			t.Errorf("%s is admitted", text)
		}
	}
}
