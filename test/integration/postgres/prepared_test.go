package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3PreparedBeforeTheChange executes statements before and after what their names
// mean has changed: what the target parsed earlier is not what a later analysis sees.
func TestG3PreparedBeforeTheChange(t *testing.T) {
	// The parts of a UNION have no origin that the target could report.
	const text = "select email from customers union all select email from customers"
	cases := map[string]struct {
		before string // by an administrator
		first  string // by the client, before it prepares
		text   string
		change string // by an administrator
		own    string // by the client
	}{
		"a temporary table shadows": {first: "create temp table other (x int)", text: text, own: "create temp table customers (email text)"},
		"tables swap names": {before: "create table decoy (id int, email text); insert into decoy values (1, 'plain')", text: text,
			change: "alter table customers rename to c2; alter table decoy rename to customers"},
		"a column is renamed": {text: "select * from orders union all select * from orders",
			change: "alter table orders rename note to ssn; update orders set ssn = '123-45-6789'"},
		"a partition is attached": {before: "create table pt (id int, v text) partition by list (id); create table p1 partition of pt for values in (1); insert into pt values (1, 'plain')",
			text:   "select v from pt union all select v from pt",
			change: "create table hidden (id int, v text); insert into hidden values (2, 'ada@example.com'); alter table pt attach partition hidden for values in (2)"},
		"a table becomes a view": {before: "create table v (name text)", text: "select name from v union all select name from v",
			change: "drop table v; create view v as select email as name from customers"},
		"a view is replaced": {before: "create view v as select name from customers", text: "select name from v union all select name from v",
			change: "create or replace view v as select email as name from customers"},
		"a view beneath is replaced": {before: "create view below as select name from customers; create view v as select name from below", text: "select name from v",
			change: "create or replace view below as select email as name from customers"},
		"a generated column": {before: "create table g (id int, ssn text); insert into g values (1, '123-45-6789')", text: "select * from g",
			change: "alter table g add copy text generated always as (ssn || '') stored"},
		"a schema comes before it": {before: "create table late (name text); insert into late values ('plain')", text: "select name from late union all select name from late",
			change: `create schema postgres; create table postgres.late (name text); insert into postgres.late values ('ada@example.com')`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server := pgtest.Start(t)
			server.Exec(t, "postgres", customers)
			if c.before != "" {
				server.Exec(t, "postgres", c.before)
			}
			g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn", "public.hidden.v", "postgres.late.name"))
			ctx := context.Background()
			conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")).PgConn()
			run := func(text string) {
				if text == "" {
					return
				}
				if err := conn.Exec(ctx, text).Close(); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			run(c.first)
			if _, err := conn.Prepare(ctx, "s", c.text, nil); err != nil {
				t.Fatal(err)
			}
			attempt := func() string {
				var seen []string
				for _, r := range []*pgconn.Result{conn.ExecPrepared(ctx, "s", nil, nil, nil).Read(), conn.ExecParams(ctx, c.text, nil, nil, nil, nil).Read()} {
					seen = append(seen, fmt.Sprintf("%q", r.Rows))
					if e := new(pgconn.PgError); r.Err != nil && !errors.As(r.Err, &e) {
						t.Fatal(r.Err)
					}
				}
				results, _ := conn.Exec(ctx, c.text).ReadAll()
				for _, r := range results {
					seen = append(seen, fmt.Sprintf("%q", r.Rows))
				}
				return strings.Join(seen, "\n")
			}
			for range 3 {
				noSecret(t, "before", attempt())
			}
			if c.change != "" {
				server.Exec(t, "postgres", c.change)
			}
			run(c.own)
			for range 3 {
				noSecret(t, "after", attempt())
			}
			noSecret(t, "the recording", g.events(t))
		})
	}
}

// TestG3QuestionsCannotBeForged takes the statements away by which the gate asks for
// definitions; their names cannot be read, so that nothing can be put in their place.
func TestG3QuestionsCannotBeForged(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	ctx := context.Background()
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")).PgConn()
	for _, text := range []string{"select 1", "deallocate all", "discard all", "begin", "deallocate all", "prepare p as select id from orders", "execute p", "deallocate p", "commit"} {
		if err := conn.Exec(ctx, text).Close(); err != nil && text != "discard all" {
			t.Fatalf("%s: %v", text, err)
		}
		for range 2 {
			results, err := conn.Exec(ctx, "select email from customers where id = 1").ReadAll()
			if err != nil || len(results[0].Rows) != 1 || string(results[0].Rows[0][0]) != "***********.com" {
				t.Fatalf("after %s: %v, %v", text, results, err)
			}
		}
	}
	if err := conn.Exec(ctx, "select name from pg_catalog.pg_prepared_statements").Close(); sqlState(err) != "42501" {
		t.Errorf("the names of the gate's statements can be read: %v", err)
	}
}

// TestChangesByOthersAreNoError changes definitions between two queries of one text: the
// text is analysed again, and the client sees nothing of it.
func TestChangesByOthersAreNoError(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	ctx := context.Background()
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")).PgConn()
	for i, change := range []string{"select 1", "insert into orders values (50, 1, 'x')", "alter table orders add a int", "alter table orders rename to o2; create table orders (id int, note text)",
		"alter table orders drop note; alter table orders add note text", "create index on orders (note)"} {
		server.Exec(t, "postgres", change)
		for _, text := range []string{"select count(note) from orders", fmt.Sprintf("select count(note) from orders where id > %d", i)} {
			if err := conn.Exec(ctx, text).Close(); err != nil {
				t.Errorf("after %s: %s: %v", change, text, err)
			}
		}
	}
}
