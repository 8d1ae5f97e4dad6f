package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// straight is a client that signs in to the server itself.
func straight(t testing.TB, server *pgtest.Server, database string) *raw {
	t.Helper()
	conn, err := pgconn.Connect(context.Background(), server.URI("postgres", database, server.Password))
	if err != nil {
		t.Fatal(err)
	}
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	_ = h.Conn.SetDeadline(time.Now().Add(60 * time.Second))
	return &raw{t: t, fe: h.Frontend, h: h}
}

var (
	noticeWords = regexp.MustCompile(`Notice\([^)]*\) `)
	errorWords  = regexp.MustCompile(`(ERROR\([0-9A-Z]{5}) .*\) (Ready)`)
)

// plainly leaves out of an answer what a target with masks does not say.
func plainly(answer string) string {
	return errorWords.ReplaceAllString(noticeWords.ReplaceAllString(answer, ""), "$1) $2")
}

// TestG3SeveralStatements sends several statements in one message: they do what they do
// without the gate.
func TestG3SeveralStatements(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create database without")
	for _, database := range []string{"postgres", "without"} {
		server.Exec(t, database, customers)
	}
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
	without := straight(t, server, "without")
	for _, text := range []string{
		"select 1; select 'two', 3",
		"select 1;;\n;\n-- nothing\nselect 2; ;",
		";", " ; ; -- nothing",
		"/* one */ select note from orders where id = 10; /* two */ select count(*) from customers",
		"insert into orders values (20, 1, 'twenty'); insert into orders values (21, 2, 'twenty-one'); select id, note from orders where id > 11 order by id",
		// One that fails undoes those before it and ends the message.
		"insert into orders values (22, 1, 'x'); insert into orders values (10, 1, 'again'); insert into orders values (23, 1, 'x')",
		"insert into orders values (24, 1, 'x'); select 1/(id-id) from orders; select 1",
		"select count(*) from orders",
		// What is committed in between stays.
		"insert into orders values (26, 1, 'x'); commit; insert into orders values (27, 1, 'x'); rollback; insert into orders values (28, 1, 'x'); select id from orders order by id",
		"begin; insert into orders values (29, 1, 'x'); commit; select 1/(id-id) from orders; select 1",
		"select id from orders order by id",
		"begin; update orders set note = 'y' where id = 29",
		"select note from orders where id = 29; savepoint s; delete from orders where id = 29; select count(*) from orders; rollback to s; release s",
		"select 1/(id-id) from orders; rollback",
		"rollback", "select note from orders where id = 29; commit",
		"insert into orders values (30, 1, 'x'); begin; insert into orders values (31, 1, 'x')",
		"select id from orders where id > 29 order by id; rollback",
		"select id from orders where id > 29 order by id; commit; select 2",
		"begin; select 1; end; begin read only; select 2; commit",
		"begin read only; insert into orders values (32, 1, 'x'); commit; select 1", "rollback; begin; rollback",
		"savepoint s; select 1", "select 1; rollback to s; select 2", "begin; select 1; rollback to s; select 2", "rollback",
		"set timezone = 'Asia/Tokyo'; select timestamptz '2026-01-01 00:00+00'; reset timezone; select timestamptz '2026-01-01 00:00+00'",
		"begin; set local timezone = 'Asia/Tokyo'; select timestamptz '2026-01-01 00:00+00'; rollback; select timestamptz '2026-01-01 00:00+00'",
		"begin; lock table orders; select 1; commit",
		"copy (select id from orders where id < 12 order by id) to stdout; select 1; copy orders (note) to stdout (format csv, header)",
		"explain (costs off) select note from orders; show timezone; values (1), (2)",
		"truncate orders; insert into orders values (10, 1, 'first'), (11, 2, 'second'); select count(*) from orders",
		"create temp table scratch (id int)", "insert into scratch values (1), (2); select * from scratch; drop table scratch",
		"select 1; create temp table scratch2 (id int)", "select * from scratch2; commit; select 2",
		"select generate_series(1, 3000); select 'behind'",
		"select 1; begin; begin; select 2; commit; commit",
	} {
		fe.send(query(text))
		without.send(query(text))
		got, want := plainly(fe.untilReady()), plainly(without.untilReady())
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// TestG3SeveralStatementsAreMasked looks for masked values in messages of several statements.
func TestG3SeveralStatementsAreMasked(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+"; create view v as select id, name from customers")
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	fe := frontend(t, g, c, "postgres")
	for text, want := range map[string]string{
		"select name, email from customers where id = 1; select email, name from customers where id = 1":                                 "DataRow(***********.com|Ada)",
		"select email from customers where id = 1; commit; begin; select ssn from customers where id = 1":                                "DataRow(*******6789)",
		"rollback; select id from orders; select c.email e, o.note from customers c join orders o on o.customer_id = c.id order by o.id": "DataRow(***********.com|first)",
	} {
		fe.send(query(text))
		got := fe.untilReady()
		noSecret(t, text, got)
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
	fe.send(query("rollback"))
	fe.untilReady()
	for text, why := range map[string]string{
		"select 1; select upper(email) from customers":                                         "statement 2 of the message: the masked column public.customers.email",
		"select email from customers order by email; select 1":                                 "statement 1",
		"create temp table orders (ssn text); select * from orders":                            "statement 2 of the message: it follows one that changes definitions",
		"begin; create temp table customers as select 1 as id; select * from customers":        "it follows one",
		"create temp table s (a int); commit; insert into s values (1)":                        "statement 3",
		"drop table if exists nothing; select 1":                                               "statement 2",
		"prepare p as select ssn from customers; execute p":                                    "statement 1 of the message: Prepare is sent together with others",
		"declare d cursor with hold for select ssn from customers; fetch all from d":           "Declare",
		"select 1; fetch all from d":                                                           "statement 2",
		"select 1; copy orders from stdin":                                                     "Copy",
		"select 1; copy customers to stdout (format binary)":                                   "statement 2",
		"select 1; explain analyze select * from customers order by id":                        "statement 2",
		"set search_path = pg_temp; select * from customers":                                   "statement 1",
		"select set_config('search_path', 'x', false); select * from orders":                   "statement 2 of the message: it follows one that sets search_path",
		"set search_path = public; analyze orders":                                             "statement 2",
		"select 1; do $$ begin raise notice 'x'; end $$":                                       "CDA-200",
		"select 1; set role postgres":                                                          "CDA-200",
		"insert into orders values (25, 1, 'x'); select nothing from orders; select 1":         "statement 2",
		"select 1; selct 2; select 3":                                                          "CDA-2003",
		"commit; prepare transaction 'x'":                                                      "CDA-200",
		strings.Repeat("select 1;", 300):                                                       "more than 256",
		"select 1; select 'it''s' from customers where ssn = '123-45-6789'; select 'canary 1'": "statement 2",
	} {
		fe.send(query(text))
		got := fe.untilReady()
		noSecret(t, text, got)
		if !strings.Contains(got, why) || strings.Contains(got, "DataRow") || strings.Contains(got, "Complete") || !strings.HasSuffix(got, "Ready(I)") {
			t.Errorf("%s: %s", text, got)
		}
	}
	fe.send(parse("", "select 1; select email from customers"), bind("", "", 0), execute("", 0), sync())
	if got := fe.untilReady(); !strings.Contains(got, "42601 cannot insert multiple commands") {
		t.Error(got)
	}
	noSecret(t, "the recording", g.events(t))
}

// TestG3SeveralStatementsMeetAChange has others change definitions between the statements of
// one message.
func TestG3SeveralStatementsMeetAChange(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+"; create table late (id int, note text); insert into late values (1, 'plain'); create view v as select id, note from late; create table hidden (id int, note text); create table swapped (id int, note text); insert into swapped values (1, 'plain')")
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn", "public.hidden.note"))
	c := g.grant("agent", v1alpha1.AccessFull)
	for name, tc := range map[string]struct {
		before, text, change, after, want string
	}{
		"a view is replaced": {"", "update orders set note = 'x' where id = 11; select note from v",
			"create or replace view v as select id, email as note from customers", "create or replace view v as select id, note from late", "CDA-2005"},
		"rows are shared with a masked table": {"", "update orders set note = 'x' where id = 11; select note from late union all select note from late",
			"update late set note = '123-45-6789'; alter table late inherit hidden", "update late set note = 'plain'", "CDA-2005"},
		"a column goes and comes": {"", "select note from orders where id = 11; select note from swapped union all select note from swapped",
			"alter table swapped rename note to ssn; alter table swapped add note text; update swapped set note = 'later', ssn = '123-45-6789'", "", "DataRow(later) DataRow(later)"},
		"before the first": {"", "select note from orders where id = 11; select id from late", "alter table orders add more int", "", "DataRow(1)"},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			owner := connect(t, server.URI("postgres", "postgres", server.Password)).PgConn()
			ctx := context.Background()
			before := server.Query(t, "postgres", "select note from orders where id = 11")[0][0]
			// The first statement waits, while the second one's definitions change.
			if err := owner.Exec(ctx, "begin; lock table orders in access exclusive mode; "+tc.change).Close(); err != nil {
				t.Fatal(err)
			}
			fe.send(query(tc.text))
			eventually(t, "the statement waits", func() bool {
				return len(server.Query(t, "postgres", "select 1 from pg_locks where not granted")) > 0
			})
			if err := owner.Exec(ctx, "commit").Close(); err != nil {
				t.Fatal(err)
			}
			got := fe.untilReady()
			noSecret(t, tc.text, got)
			if !strings.Contains(got, tc.want) || !strings.HasSuffix(got, "Ready(I)") {
				t.Errorf("%s: %s", tc.text, got)
			}
			if now := server.Query(t, "postgres", "select note from orders where id = 11")[0][0]; now != before {
				t.Errorf("what stood before the refusal was not undone: %s", now)
			}
			fe.send(query(tc.text))
			noSecret(t, "again", fe.untilReady())
			if tc.after != "" {
				server.Exec(t, "postgres", tc.after)
			}
		})
	}
	noSecret(t, "the recording", g.events(t))
}

// TestSeveralStatementsAreOneCommand has one approval for a message, and one record.
func TestSeveralStatementsAreOneCommand(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"),
		rule("deletes", v1alpha1.ActionRequireApproval, v1alpha1.PendingReject, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}),
		rule("drops", v1alpha1.ActionDeny, "", v1alpha1.SQLMatch{Relations: []string{"public.customers"}, Writes: v1alpha1.WritesAny}))
	c := g.grant("agent", v1alpha1.AccessFull)
	fe := frontend(t, g, c, "postgres")
	const text = "select note from orders where id = 10; delete from orders where id = 11; select count(*) from orders"
	fe.send(query(text))
	got := fe.untilReady()
	if !strings.Contains(got, "CDA-3001") || strings.Contains(got, "DataRow") {
		t.Fatal(got)
	}
	if n := server.Query(t, "postgres", "select count(*) from orders")[0][0]; n != "2" {
		t.Fatalf("%s rows are left", n)
	}
	fe.send(query("select 1; update customers set name = 'x' where id = 1"))
	if got := fe.untilReady(); !strings.Contains(got, "CDA-2001") || strings.Contains(got, "DataRow") {
		t.Fatal(got)
	}
	fe.send(query("select id from orders where id = 10; select note, customer_id from orders where id = 10"))
	fe.untilReady()
	fe.send(&pgproto3.Terminate{})
	events := g.events(t)
	if !strings.Contains(events, fmt.Sprintf(`"columns":[%q]`, "id")) || !strings.Contains(events, `"columns":["note","customer_id"]`) {
		t.Errorf("the columns of both results are recorded: %s", events)
	}
}
