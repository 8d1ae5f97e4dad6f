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

// changes are what somebody else does to the tables of a session that goes on. None changes
// the columns that statement selects.
var changes = []string{
	"alter table orders add more int", "alter table orders drop more", "create index on orders (note)", "alter table orders rename to o2; alter table o2 rename to orders",
	"alter table customers rename name to title", "alter table customers rename title to name", "create table kid () inherits (orders)", "drop table kid",
	"drop view if exists v; create view v as select id, note from orders", "create or replace view v as select id, note from orders where true",
}

// TestChangesByOthersAreNoErrorWhenPrepared changes definitions between executions of
// prepared statements: they are parsed again, and the client sees nothing of it.
func TestChangesByOthersAreNoErrorWhenPrepared(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+"; create view v as select id, note from orders")
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	for name, mode := range map[string]pgx.QueryExecMode{"cached statements": pgx.QueryExecModeCacheStatement, "cached descriptions": pgx.QueryExecModeCacheDescribe,
		"described each time": pgx.QueryExecModeDescribeExec, "at once": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			conn := connect(t, g.uri(c, "postgres", ""))
			look := func(q interface {
				QueryRow(context.Context, string, ...any) pgx.Row
			}, after string) {
				t.Helper()
				var note, email string
				for _, text := range []string{"select note, email from orders o join customers c on c.id = o.customer_id where o.id = $1", "select v.note, c.email from v join orders o using (id) join customers c on c.id = o.customer_id where v.id = $1"} {
					if err := q.QueryRow(ctx, text, mode, 10).Scan(&note, &email); err != nil || note != "first" || !strings.HasPrefix(email, "***") {
						t.Fatalf("after %s: %s: %q %q %v", after, text, note, email, err)
					}
				}
			}
			look(conn, "nothing")
			look(conn, "nothing again")
			for _, change := range changes {
				server.Exec(t, "postgres", change)
				look(conn, change)
				tx, err := conn.Begin(ctx)
				if err != nil {
					t.Fatal(err)
				}
				look(tx, "begin")
				if err := tx.Commit(ctx); err != nil {
					t.Fatal(err)
				}
			}
			tx, err := conn.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			look(tx, "begin")
			// What the client itself makes changes what is found by a name.
			if _, err := tx.Exec(ctx, "create temporary table scratch (id int)"); err != nil {
				t.Fatal(err)
			}
			look(tx, "an own table")
			if _, err := tx.Exec(ctx, "drop table scratch"); err != nil {
				t.Fatal(err)
			}
			look(tx, "and its end")
			if err := tx.Rollback(ctx); err != nil {
				t.Fatal(err)
			}
			look(conn, "a rollback")
		})
	}
	if strings.Contains(g.events(t), "CDA-2005") {
		t.Error("CDA-2005 was shown")
	}
	noSecret(t, "the recording", g.events(t))
}

// TestChangesInProgressAreNoError has a statement wait for the change of its table, so that
// it was analysed before and is parsed after that.
func TestChangesInProgressAreNoError(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	const text = "select note from orders where id = 10"
	prepared := func(r *raw) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{bind("", "s", 0), &pgproto3.Describe{ObjectType: 'P'}, execute("", 0)}
	}
	for name, messages := range map[string][]pgproto3.FrontendMessage{
		"simple":            {query(text)},
		"extended":          {parse("", text), bind("", "", 0), &pgproto3.Describe{ObjectType: 'P'}, execute("", 0), sync()},
		"a named portal":    {parse("", text), bind("p", "", 0), execute("p", 0), sync()},
		"prepared":          append(prepared(nil), sync()),
		"prepared, flushed": append(prepared(nil), &pgproto3.Flush{}, sync()),
		"behind another":    {parse("", "select 'one'"), bind("", "", 0), execute("", 0), bind("", "s", 0), execute("", 0), sync()},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			fe.send(parse("s", text), sync())
			fe.untilReady()
			owner := connect(t, server.URI("postgres", "postgres", server.Password)).PgConn()
			for i, transaction := range []string{"", "begin"} {
				fe.send(query(text))
				fe.untilReady()
				if transaction != "" {
					fe.send(query(transaction))
					fe.untilReady()
				}
				change := fmt.Sprintf("begin; alter table orders rename to before; alter table before rename to orders; alter table orders add more%d int", i)
				if err := owner.Exec(context.Background(), change).Close(); err != nil {
					t.Fatal(err)
				}
				fe.send(messages...)
				eventually(t, "the statement waits", func() bool {
					return len(server.Query(t, "postgres", "select 1 from pg_locks where not granted")) > 0
				})
				if err := owner.Exec(context.Background(), fmt.Sprintf("alter table orders drop more%d; commit", i)).Close(); err != nil {
					t.Fatal(err)
				}
				got := fe.untilReady()
				if strings.Count(got, "DataRow(first)") != 1 || strings.Contains(got, "ERROR") || strings.Count(got, "RowDescription") > 1 || strings.Count(got, "BindComplete") > 2 {
					t.Errorf("in %q: %s", transaction, got)
				}
				if transaction != "" {
					fe.send(query("commit"))
					if got := fe.untilReady(); !strings.Contains(got, "Complete(COMMIT)") {
						t.Errorf("the transaction goes on: %s", got)
					}
				}
			}
		})
	}
}

// TestBindIsKept sends the Execute in a packet of its own, after the definitions changed.
func TestBindIsKept(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+"; create view v as select id, name from customers")
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
	for i := range 3 {
		fe.send(parse("", "select name from v where id = $1 and $2 <> ''"), bind("", "", 0, "1", strings.Repeat("x", 40_000*i+1)), &pgproto3.Flush{})
		if got := fe.until("BindComplete"); strings.Contains(got, "ERROR") {
			t.Fatal(got)
		}
		// A child takes a lock of its parent that readers do not mind.
		server.Exec(t, "postgres", fmt.Sprintf("create table kid%d () inherits (customers)", i))
		fe.send(execute("", 0), sync())
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(Ada") || strings.Contains(got, "ERROR") {
			t.Fatal(got)
		}
	}
	if n := strings.Count(g.events(t), "analysed again"); n != 3 {
		t.Errorf("%d statements were analysed again, want 3", n)
	}
}

// TestAnotherResultIsTold changes the columns of a statement that the client knows.
func TestAnotherResultIsTold(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
	fe.send(parse("s", "select * from orders where id = 10"), &pgproto3.Describe{ObjectType: 'S', Name: "s"}, sync())
	fe.untilReady()
	execution := []pgproto3.FrontendMessage{bind("", "s", 0), execute("", 0), sync()}
	fe.send(execution...)
	if got := fe.untilReady(); !strings.Contains(got, "DataRow(10|1|first)") {
		t.Fatal(got)
	}
	// The target keeps what it parsed; the gate does not.
	fe.send(query("create temp table orders (a int, b int)"))
	fe.untilReady()
	for range 2 {
		fe.send(execution...)
		got := fe.untilReady()
		if !strings.Contains(got, "0A000 cached plan must not change result type") && !strings.Contains(got, "42703") {
			t.Fatal(got)
		}
	}
	fe.send(query("drop table orders"))
	fe.untilReady()
	fe.send(execution...)
	if got := fe.untilReady(); !strings.Contains(got, "DataRow(10|1|first)") {
		t.Fatal(got)
	}
	server.Exec(t, "postgres", "alter table orders add more int")
	for range 2 {
		fe.send(execution...)
		if got := fe.untilReady(); !strings.Contains(got, "0A000 cached plan must not change result type") {
			t.Fatal(got)
		}
	}
	fe.send(&pgproto3.Close{ObjectType: 'S', Name: "s"}, parse("s", "select * from orders where id = 10"), bind("", "s", 0), execute("", 0), sync())
	if got := fe.untilReady(); !strings.Contains(got, "DataRow(10|1|first|)") {
		t.Fatal(got)
	}
}
