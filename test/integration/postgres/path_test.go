package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// pathSchema has a table t in three schemas, of which one is masked, and functions that look
// names up by the path of whoever calls them.
const pathSchema = `create table public.t (id int primary key, v text); insert into t values (1, 'in public');
	create schema one; create table one.t (id int primary key, v text); insert into one.t values (1, 'in one');
	create schema two; create table two.t (id int primary key, v text); insert into two.t values (1, '123-45-6789');
	create table public.log (v text); create table one.log (v text);
	create function public.logs() returns trigger language plpgsql as 'begin insert into log values (old.v); return new; end';
	create trigger logs after update on two.t for each row execute function public.logs();
	create function public.first() returns text language sql stable as 'select v from t where id = 1';
	create function public.own() returns text language sql stable set search_path = public as 'select v from t where id = 1';
	create function public.checks(text) returns boolean language plpgsql as 'begin insert into log values ($1); return true; end';
	create domain public.checked as text check (public.checks(value)); create table one.d (id int, v public.checked);
	create materialized view public.firsts as select id from t`

func pathGate(t *testing.T) (*pgtest.Server, *gate, credential) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", pathSchema)
	g := start(t, server, masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "two.t.v"),
		pinned(v1alpha1.PinnedFunction{Signature: "public.first()"}, v1alpha1.PinnedFunction{Signature: "public.own()"}),
		rule("calls", v1alpha1.ActionAllow, "", v1alpha1.SQLMatch{Functions: []string{"first", "own"}}))
	return server, g, g.grant("agent", v1alpha1.AccessFull)
}

// TestG3Path sets the path in every way, and reads by it what is masked in one schema alone.
func TestG3Path(t *testing.T) {
	_, g, c := pathGate(t)
	const read, public, one, two = "select v from t", "DataRow(in public)", "DataRow(in one)", "DataRow([redacted])"
	for name, send := range mayProve {
		for what, steps := range map[string][][2]string{
			"set":             {{"set search_path = two", "SET"}, {read, two}, {"set search_path to one, two", "SET"}, {read, one}, {"reset search_path", "RESET"}, {read, public}},
			"schema":          {{"set schema 'two'", "SET"}, {read, two}, {"set search_path to default", "SET"}, {read, public}},
			"function":        {{"select set_config('search_path', 'two', false)", "DataRow(two)"}, {read, two}, {"select pg_catalog.set_config('search_path', '', false)", "DataRow()"}, {read, "CDA-2004"}, {"select v from two.t", two}},
			"no such schema":  {{"set search_path = nowhere, two", "SET"}, {read, two}, {"set search_path = pg_catalog", "SET"}, {read, "CDA-2004"}},
			"reset":           {{"set search_path = two", "SET"}, {read, two}, {"reset all", "RESET"}, {read, public}},
			"transaction":     {{"begin", "BEGIN"}, {"set local search_path = two", "SET"}, {read, two}, {"commit", "COMMIT"}, {read, public}},
			"rolled back":     {{"set search_path = one", "SET"}, {"begin", "BEGIN"}, {"set search_path = two", "SET"}, {read, two}, {"rollback", "ROLLBACK"}, {read, one}},
			"savepoint":       {{"begin", "BEGIN"}, {"set local search_path = two", "SET"}, {"savepoint s", "SAVEPOINT"}, {"set local search_path = one", "SET"}, {read, one}, {"rollback to s", "ROLLBACK"}, {read, two}, {"commit", "COMMIT"}, {read, public}},
			"repeatable read": {{"set search_path = two", "SET"}, {"begin isolation level repeatable read", "BEGIN"}, {read, two}, {"set local search_path = one", "SET"}, {read, one}, {"commit", "COMMIT"}, {read, two}},
			"temporary":       {{"set search_path = two", "SET"}, {read, two}, {"create temp table u (v text)", "CREATE"}, {"insert into u values ('own')", "INSERT"}, {"select v from u", "DataRow(own)"}, {read, two}},
			"prepared":        {{"prepare p as select v from t", "PREPARE"}, {"execute p", public}, {"set search_path = one", "SET"}, {"execute p", one}, {"set search_path = two", "SET"}, {"execute p", "CDA-2004"}},
			"not its own":     {{"set search_path = pg_temp, public", "CDA-2004"}, {"set search_path = two, pg_catalog", "CDA-2004"}, {"select set_config('search_path', '\"PG_temp\", two', false)", "CDA-2004"}, {"set search_path = 'pg_toast'", "CDA-2004"}, {read, public}},
			"not in a query":  {{"select set_config('search_path', v, false) from one.t", "CDA-20"}, {"select v, set_config('search_path', 'two', false) from one.t", "CDA-20"}, {"update pg_settings set setting = 'two' where name = 'search_path'", "CDA-20"}, {"alter role current_user set search_path = two", "CDA-20"}, {read, public}},
			"several":         {{"set search_path = two", "SET"}, {read, two}, {"begin", "BEGIN"}, {"set local search_path = one", "SET"}, {read, one}, {"rollback", "ROLLBACK"}, {read, two}, {read, two}, {read, two}},
			"a function":      {{"select first()", public}, {"set search_path = two, public", "SET"}, {"select first()", "CDA-2004"}, {"select own()", public}, {"reset search_path", "RESET"}, {"select first()", "CDA-2004"}},
			"a trigger":       {{"set search_path = one, public", "SET"}, {"update two.t set id = 1 where id = 1", "CDA-2004"}, {"update one.t set id = 1 where id = 1", "UPDATE 1"}, {"select v from one.log", "SELECT 0"}},
			"a domain":        {{"set search_path = one, public", "SET"}, {read, one}, {"insert into d values (1, 'x')", "CDA-2004"}, {"update one.t set id = 1", "UPDATE"}},
			"maintenance":     {{"refresh materialized view firsts", "REFRESH"}, {"set search_path = two, public", "SET"}, {"refresh materialized view firsts", "CDA-2004"}, {"analyze one.t", "CDA-2004"}},
			"a trigger at the end": {{"begin", "BEGIN"}, {"update two.t set id = 1 where id = 1", "UPDATE 1"}, {"set search_path = one, public", "CDA-2004"}, {"rollback", "ROLLBACK"}, {"set search_path = one", "SET"},
				{"begin", "BEGIN"}, {"update one.t set id = 1", "UPDATE 1"}, {"set search_path = two", "SET"}, {"rollback", "ROLLBACK"}, {read, one}},
			"a trigger at once": {{"begin", "BEGIN"}, {"update two.t set id = 1 where id = 1; set local search_path = one", "ERROR(42"}, {"rollback", "ROLLBACK"}, {"update one.t set id = 1", "UPDATE 1"}, {"set search_path = two", "SET"}, {read, two}},
			"a cursor":          {{"begin", "BEGIN"}, {"declare c cursor for select v from t union all select v from t", "DECLARE"}, {"fetch 1 from c", public}, {"set search_path = two, public", "SET"}, {"fetch 1 from c", "CDA-2004"}},
			"a cursor by then":  {{"set search_path = two", "SET"}, {"begin", "BEGIN"}, {"declare c cursor for select v from t", "DECLARE"}, {"set search_path = one", "SET"}, {"fetch 1 from c", two}, {"commit", "COMMIT"}},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				fe := frontend(t, g, c, "postgres")
				for _, step := range steps {
					got := send(fe, step[0])
					if !strings.Contains(got, step[1]) {
						t.Fatalf("%s: want %s, got %s", step[0], step[1], got)
					}
					noSecret(t, step[0], got)
				}
			})
		}
	}
	if events := g.events(t); strings.Contains(events, "123-45-6789") {
		t.Error("a masked value is in the recording")
	}
}

// TestG3PathAtStart gives the path in the start-up message.
func TestG3PathAtStart(t *testing.T) {
	_, g, c := pathGate(t)
	for _, how := range []string{"&search_path=two,public", "&options=-csearch_path%3Dtwo"} {
		fe := frontend(t, g, c, "postgres", how)
		for name, send := range mayProve {
			if got := send(fe, "select v from t"); !strings.Contains(got, "DataRow([redacted])") {
				t.Errorf("%s: %s: %s", how, name, got)
			}
			if got := send(fe, "select public.first()"); !strings.Contains(got, "CDA-2004") {
				t.Errorf("%s: %s: a function without a path: %s", how, name, got)
			}
		}
	}
	for _, how := range []string{"&search_path=two,pg_catalog", "&search_path=PG_TEMP"} {
		conn, err := pgconn.Connect(t.Context(), g.uri(c, "postgres", how))
		if err == nil {
			_ = conn.Close(t.Context())
			t.Errorf("%s is admitted", how)
		}
	}
}

// TestG3PathOfAPortal binds a portal by one path, and has it executed where the path is again
// what it was when its statement was analysed.
func TestG3PathOfAPortal(t *testing.T) {
	_, g, c := pathGate(t)
	set := func(path string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{parse("", "set search_path = "+path), bind("", "", 0), execute("", 0)}
	}
	for name, flights := range map[string][][]pgproto3.FrontendMessage{
		"in one flight": {{parse("s", "select v || '' from t")}, set("two"), {bind("p", "s", 0)}, set("one"), {execute("p", 0), sync()}},
		"by a rollback": {{parse("b", "begin"), bind("", "b", 0), execute("", 0), parse("s", "select v || '' from t")}, set("two"), {bind("p", "s", 0)},
			{parse("", "rollback"), bind("", "", 0), execute("", 0), execute("p", 0), sync()}},
		"of the statement": {{parse("s", "select v from t")}, set("two"), {bind("p", "s", 0), execute("p", 0)}, set("one"), {bind("p2", "s", 0), execute("p2", 0), sync()}},
		"of some rows":     {{parse("s", "select v from t union all select v from t")}, set("two"), {bind("p", "s", 0), execute("p", 1)}, set("one"), {execute("p", 1), sync()}},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			if got := ways["simple"](fe, "set search_path = one"); !strings.Contains(got, "SET") {
				t.Fatal(got)
			}
			for _, f := range flights {
				fe.send(f...)
			}
			got := fe.untilReady()
			noSecret(t, name, got)
			if strings.Contains(got, "DataRow([redacted])") == (name == "in one flight" || name == "by a rollback") {
				t.Error(got)
			}
		})
	}
}
