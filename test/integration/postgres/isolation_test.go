package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3SnapshotsAreOlderThanDefinitions changes definitions after a transaction has taken
// its snapshot: its queries see the catalog of then, the server reads by that of now.
func TestG3SnapshotsAreOlderThanDefinitions(t *testing.T) {
	server := pgtest.Start(t)
	cases := map[string]struct{ before, text, change string }{
		"a view is replaced": {"create view v as select id, name from customers", "select name from v",
			"create or replace view v as select id, email as name from customers"},
		"a view beneath is replaced": {"create view below as select id, name from customers; create view v as select id, name from below", "select name from v",
			"create or replace view below as select id, ssn::text as name from customers"},
		"a column is renamed": {"", "select name from customers", "alter table customers rename name to plain; alter table customers rename email to name"},
		"tables swap names": {"create table decoy (id int, email text); insert into decoy values (1, 'plain')", "select email from decoy union all select email from decoy",
			"alter table decoy rename to old; alter table customers rename to decoy"},
		"a table becomes a view": {"create table v (name text)", "select name from v union all select name from v", "drop table v; create view v as select email as name from customers"},
		"rows are shared with a masked table": {"create table hidden (id int, note text); create table late (id int, note text); insert into late values (1, '123-45-6789')",
			"select note from late union all select note from late", "alter table late inherit hidden"},
		"a schema comes before it": {"create table late (name text); insert into late values ('plain')", "select name from late union all select name from late",
			"create schema postgres; create view postgres.late as select ssn::text as name from customers"},
		"a function": {"", "select upper(name::varchar) from customers",
			"create schema postgres; create function postgres.upper(varchar) returns text language sql as $$ select ssn::text from public.customers where id = 1 $$"},
	}
	at := 0
	for name, c := range cases {
		for way, level := range map[string]string{"simple": "repeatable read", "extended": "serializable"} {
			at++
			database := fmt.Sprintf("snapshot%d", at)
			t.Run(name+", "+way, func(t *testing.T) {
				server.Exec(t, "postgres", "create database "+database)
				server.Exec(t, database, customers+";"+c.before)
				g := start(t, server, masking(keepLast4(), "public.customers.email", "public.customers.ssn", "public.hidden.note"))
				fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), database)
				run := func(text, want string) {
					t.Helper()
					got := ways[way](fe, text)
					if !strings.Contains(got, want) || strings.Contains(got, "ERROR") != (want == "ERROR") {
						t.Fatalf("%s: %s", text, got)
					}
					if want == "ERROR" {
						noSecret(t, text, got)
					}
				}
				fe.send(parse("s", c.text), sync())
				fe.untilReady()
				prepared := func(what string) {
					t.Helper()
					fe.send(bind("", "s", 0), execute("", 0), sync())
					noSecret(t, what, fe.untilReady())
				}
				run("begin isolation level "+level, "BEGIN")
				run(c.text, "SELECT")
				run("commit", "COMMIT")
				run("begin isolation level "+level, "BEGIN")
				run("select count(*) from orders", "DataRow(2)")
				server.Exec(t, database, c.change)
				run(c.text, "ERROR")
				run("rollback", "ROLLBACK")
				run("begin isolation level "+level, "BEGIN")
				run("select count(*) from orders", "DataRow(2)")
				server.Exec(t, database, "create table unrelated (a int)")
				prepared("prepared before")
				ways[way](fe, "rollback")
				prepared("prepared before, again")
				noSecret(t, "after the change", ways[way](fe, c.text))
			})
		}
	}
}

// TestIsolationLevels does in transactions that keep a snapshot what ordinary clients do.
func TestIsolationLevels(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+"; create view v as select id, email, name from customers")
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	ctx := context.Background()
	conn := connect(t, g.uri(c, "postgres", ""))
	for _, options := range []pgx.TxOptions{{IsoLevel: pgx.RepeatableRead}, {IsoLevel: pgx.Serializable}, {IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable},
		{IsoLevel: pgx.ReadUncommitted}} {
		tx, err := conn.BeginTx(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		var before, after int
		if err := tx.QueryRow(ctx, "select count(*) from orders").Scan(&before); err != nil {
			t.Fatal(err)
		}
		server.Exec(t, "postgres", "insert into orders select max(id) + 1, 1, 'more' from orders")
		for range 2 {
			var email string
			if err := tx.QueryRow(ctx, "select email from v where id = $1", 1).Scan(&email); err != nil || email != "***********.com" {
				t.Fatalf("%v: %q %v", options, email, err)
			}
		}
		if err := tx.QueryRow(ctx, "select count(*) from orders").Scan(&after); err != nil {
			t.Fatal(err)
		}
		if same := before == after; same != (options.IsoLevel != pgx.ReadUncommitted) {
			t.Errorf("%v: %d rows, then %d", options, before, after)
		}
		if options.AccessMode != pgx.ReadOnly {
			if _, err := tx.Exec(ctx, "update orders set note = 'x' where id = 11"); err != nil {
				t.Errorf("%v: %v", options, err)
			}
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	fe := frontend(t, g, c, "postgres", "&default_transaction_isolation=repeatable%20read")
	for _, step := range [][2]string{
		{"show transaction_isolation", "DataRow(repeatable read)"}, {"select email from customers where id = 1", "DataRow(***********.com)"},
		{"set session characteristics as transaction isolation level serializable; select name from v where id = 2", "DataRow(Bob)"},
		{"begin; set transaction isolation level read committed, read only; select count(*) from v; commit", "DataRow(3)"},
		{"create temp table scratch as select 1 as id", "Complete(SELECT 1)"}, {"begin isolation level repeatable read", "BEGIN"},
		{"select id from scratch", "DataRow(1)"}, {"select name from customers where id = 1", "DataRow(Ada)"},
		{"declare d cursor for select email from customers order by id", "Complete(DECLARE"}, {"fetch 1 from d", "DataRow(***********.com)"}, {"commit", "COMMIT"},
		{"begin isolation level serializable", "BEGIN"}, {"lock table orders", "CDA-2004"}, {"rollback", "ROLLBACK"},
		{"select ssn from customers where id = 1", "DataRow(*******6789)"},
	} {
		fe.send(query(step[0]))
		got := fe.untilReady()
		noSecret(t, step[0], got)
		if !strings.Contains(got, step[1]) {
			t.Errorf("%s: %s", step[0], got)
		}
	}
	// The witness ends with its session.
	fe.send(&pgproto3.Terminate{})
	if err := conn.Close(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no session is left at the server", func() bool {
		return server.Query(t, "postgres", "select count(*) from pg_stat_activity where application_name like '%cardea%'")[0][0] == "0"
	})
}
