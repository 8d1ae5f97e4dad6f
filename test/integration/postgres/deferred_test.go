package postgres

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestDeferredCommandsAnswer runs what the target plans when it executes it: what comes back
// is what comes without a gate, also where a login may use a view and nothing beneath it.
func TestDeferredCommandsAnswer(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+`; create schema private; create table private.kept (id int, note text, token text);
insert into private.kept select i, 'note ' || i, 'TREASURE-1111' from generate_series(1, 5) i; create view inner_notes as select id, note from private.kept;
create view notes as select id, note from inner_notes; create table parts (id int) partition by list (id); create table part1 partition of parts for values in (1);
insert into parts values (1); create role limited login password 'limited'; grant select on notes, parts, orders to limited; grant insert on orders to limited`)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn", "*.*.token"), func(g *gate, _ *engpg.Config) {
		g.login.Username, g.login.Password = "limited", "limited"
	})
	c := g.grant("agent", v1alpha1.AccessFull)
	three := "DataRow(1|note 1) DataRow(2|note 2) DataRow(3|note 3)"
	for name, tc := range map[string]struct {
		texts []string
		want  string // of the last
	}{
		"EXECUTE":                 {[]string{"prepare q as select id, note from notes where id < 4 order by id", "execute q"}, "RowDescription " + three + " Complete(SELECT 3) Ready(I)"},
		"EXECUTE of one row":      {[]string{"prepare q(int) as select id from notes where id = $1", "execute q(2)"}, "RowDescription DataRow(2) Complete(SELECT 1) Ready(I)"},
		"EXECUTE of none":         {[]string{"prepare q(int) as select id from notes where id = $1", "execute q(9)"}, "RowDescription Complete(SELECT 0) Ready(I)"},
		"EXECUTE of a write":      {[]string{"prepare q(int) as insert into orders values ($1, 1, 'x')", "execute q(100)"}, "Complete(INSERT 0 1) Ready(I)"},
		"EXECUTE that returns":    {[]string{"prepare q(int) as insert into orders values ($1, 1, 'x'), ($1 + 1, 1, 'y') returning id", "execute q(200)"}, "RowDescription DataRow(200) DataRow(201) Complete(INSERT 0 2) Ready(I)"},
		"EXECUTE that fails":      {[]string{"prepare q(int) as select 1 / $1 from notes", "execute q(0)"}, "RowDescription ERROR(22012"},
		"EXECUTE, masked":         {[]string{"prepare q as select id from parts", "execute q"}, "RowDescription DataRow(1) Complete(SELECT 1) Ready(I)"},
		"a cursor":                {[]string{"begin", "declare c cursor for select id, note from notes where id < 4 order by id", "fetch all from c"}, "RowDescription " + three + " Complete(FETCH 3) Ready(T)"},
		"a cursor that stays":     {[]string{"declare c cursor with hold for select id from parts", "fetch all from c"}, "RowDescription DataRow(1) Complete(FETCH 1) Ready(I)"},
		"a cursor that fails":     {[]string{"begin", "declare c cursor for select id from notes", "declare c cursor for select id from notes"}, "ERROR(42P03"},
		"a table made of another": {[]string{"create temp table mine as select id, note from notes where id < 4", "select id, note from mine order by id"}, "RowDescription " + three + " Complete(SELECT 3) Ready(I)"},
		"and its answer":          {[]string{"create temp table mine as select id from notes"}, "Complete(SELECT 5) Ready(I)"},
		"COPY of a query":         {[]string{"copy (select id from notes where id < 3 order by id) to stdout"}, "CopyOutResponse CopyData(1\n) CopyData(2\n) CopyDone Complete(COPY 2) Ready(I)"},
		"COPY of a table":         {[]string{"copy orders (id) to stdout"}, "CopyDone Complete(COPY"},
		"COPY in a transaction":   {[]string{"begin", "select count(*) from orders", "copy (select id from parts) to stdout"}, "CopyData(1\n) CopyDone Complete(COPY 1) Ready(T)"},
		"COPY that fails":         {[]string{"copy (select 1 / (id - 1) from parts) to stdout"}, "ERROR(22012"},
		"several":                 {[]string{"select 1; copy (select id from parts) to stdout; select 2; create temp table mine as select id from notes"}, "DataRow(1) Complete(SELECT 1) CopyOutResponse CopyData(1\n) CopyDone Complete(COPY 1) RowDescription DataRow(2) Complete(SELECT 1) Complete(SELECT 5) Ready(I)"},
		"COPY of nothing named":   {[]string{"copy (select 1) to stdout"}, "CopyData(1\n) CopyDone Complete(COPY 1) Ready(I)"},
	} {
		for way, send := range ways {
			if way == "with a Flush" && (strings.HasPrefix(name, "a cursor") || tc.texts[0] == "begin") {
				continue // its portal has a name
			}
			if way != "simple" && name == "several" {
				continue
			}
			t.Run(name+" "+way, func(t *testing.T) {
				fe := frontend(t, g, c, "postgres")
				got := ""
				for _, text := range tc.texts {
					got = send(fe, text)
				}
				plain := strings.NewReplacer("ParseComplete ", "", "BindComplete ", "", "NoData ", "").Replace(got)
				if way == "with a Flush" {
					plain = strings.NewReplacer("RowDescription ", "").Replace(plain)
					tc.want = strings.NewReplacer("RowDescription ", "").Replace(tc.want)
				}
				if !strings.Contains(plain, tc.want) || !strings.Contains(got, "Ready") {
					t.Errorf("got %s, want %s", plain, tc.want)
				}
				server.Exec(t, "postgres", "delete from orders where id >= 100")
				if more := send(fe, "rollback"); !strings.Contains(more, "Ready(I)") {
					t.Errorf("the session goes on: %s", more)
				}
			})
		}
	}
	t.Run("EXECUTE in pieces", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("prepare q as select id from notes order by id"))
		fe.untilReady()
		fe.send(parse("", "execute q"), bind("p", "", 0), execute("p", 1), execute("p", 3), execute("p", 0), sync())
		if got := fe.untilReady(); got != "ParseComplete BindComplete DataRow(1) PortalSuspended DataRow(2) DataRow(3) DataRow(4) PortalSuspended DataRow(5) Complete(SELECT 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
		fe.send(parse("", "execute q"), bind("p", "", 0), execute("p", 3), sync())
		if got := fe.untilReady(); got != "ParseComplete BindComplete DataRow(1) DataRow(2) DataRow(3) PortalSuspended Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	noSecret(t, "recording", g.events(t))
}

// TestG3DeferredCommandsShowNoChildOfLater attaches a table with masked values to one that is
// read, while the target plans a command that was verified before.
func TestG3DeferredCommandsShowNoChildOfLater(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server, masking(keepLast4(), "public.hidden.note"))
	c := g.grant("agent", v1alpha1.AccessFull)
	const reads = "select note from first union all select note from second"
	for name, texts := range map[string][]string{
		"a cursor":                 {"begin", "declare c cursor for " + reads, "fetch all from c", "commit"},
		"a cursor that stays":      {"declare c cursor with hold for " + reads, "fetch all from c"},
		"EXECUTE":                  {"prepare q as " + reads, "execute q"},
		"EXECUTE in a transaction": {"prepare q as " + reads, "begin", "execute q", "commit"},
		"EXECUTE of a write":       {"prepare q as with n as (" + reads + ") update letters set note = n.note from n", "execute q", "select note from letters"},
		"a table made of another":  {"create temp table mine as " + reads, "select note from mine"},
		"COPY":                     {"copy (" + reads + ") to stdout"},
		"several":                  {"select 1; copy (" + reads + ") to stdout; select 2"},
		"several, not the first":   {"begin", "insert into letters values ('x'); create temp table mine as " + reads, "commit", "select note from mine"},
		"with an old snapshot":     {"begin isolation level repeatable read", "declare c cursor for " + reads, "fetch all from c", "commit"},
		"COPY in a transaction":    {"begin", "copy (" + reads + ") to stdout", "commit"},
	} {
		t.Run(name, func(t *testing.T) {
			server.Exec(t, "postgres", `drop table if exists first, second, hidden, letters cascade; create table first (id int, note text); create table child () inherits (first);
create table second (id int, note text); insert into second values (1, 'fine'); create table hidden (id int, note text); insert into hidden values (2, '123-45-6789');
create table other () inherits (second); create table letters (note text); insert into letters values ('fine')`)
			owner := connect(t, server.URI("postgres", "postgres", server.Password))
			if _, err := owner.Exec(t.Context(), "begin; lock table child in access exclusive mode"); err != nil {
				t.Fatal(err)
			}
			attached := make(chan struct{})
			go func() {
				defer close(attached)
				eventually(t, "the target plans", func() bool {
					return len(server.Query(t, "postgres", "select 1 from pg_locks where not granted and relation = 'child'::regclass")) > 0
				})
				if _, err := owner.Exec(t.Context(), "alter table hidden inherit second; commit"); err != nil {
					t.Error(err)
				}
			}()
			fe := frontend(t, g, c, "postgres")
			var answers strings.Builder
			for _, text := range texts {
				fe.send(query(text))
				answers.WriteString(fe.untilReady() + "\n")
			}
			<-attached
			all := answers.String()
			noSecret(t, "the answer", all)
			noSecret(t, "recording", g.events(t))
			if !strings.Contains(all, "CDA-2005") && !strings.Contains(all, "another one than the transaction sees") {
				t.Errorf("nothing was refused: %s", all)
			}
		})
	}
}
