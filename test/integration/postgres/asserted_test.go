package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// assertions and failures of them, as the server's log has them.
const (
	asserted  = "execute cardea_"
	assertion = "OPERATOR(pg_catalog./) CASE"
	disproven = "ERROR:  division by zero"
)

// counts of assertions that the server was asked and that failed.
func assertionsOf(t *testing.T, server *pgtest.Server) (asked, failed int) {
	t.Helper()
	for line := range strings.Lines(server.Log(t)) {
		if strings.Contains(line, asserted) && strings.Contains(line, assertion) {
			asked++
		}
		if strings.Contains(line, disproven) {
			failed++
		}
	}
	return asked, failed
}

// ways are those in which a client sends a statement without parameters.
var ways = map[string]func(r *raw, text string) string{
	"simple": func(r *raw, text string) string {
		r.send(query(text))
		return r.untilReady()
	},
	"extended": func(r *raw, text string) string {
		r.send(parse("", text), bind("", "", 0), &pgproto3.Describe{ObjectType: 'P'}, execute("", 0), &pgproto3.Sync{})
		return r.untilReady()
	},
	"with a Flush": func(r *raw, text string) string {
		r.send(parse("", text), bind("p", "", 0), execute("p", 0), &pgproto3.Flush{})
		first := r.until2("Complete", "ERROR")
		r.send(&pgproto3.Sync{})
		return first + " " + r.untilReady()
	},
}

// until2 is until for two beginnings.
func (r *raw) until2(end, other string) string {
	var all []string
	for {
		m, err := r.next()
		if err != nil {
			return strings.Join(append(all, "closed"), " ")
		}
		all = append(all, m)
		if strings.HasPrefix(m, end) || strings.HasPrefix(m, other) {
			return strings.Join(all, " ")
		}
	}
}

// TestG3Asserted sends statements behind an assertion while others commit: each is
// executed once, nothing that others commit is seen by the client, and nothing is
// executed, nor shown, under definitions that were not verified.
func TestG3Asserted(t *testing.T) {
	server := pgtest.Start(t)
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			database := "d" + strings.ReplaceAll(strings.ToLower(name), " ", "")
			server.Exec(t, "postgres", "create database "+database)
			server.Exec(t, database, customers+"; create table counter (n int); insert into counter values (0); create table noise (n int); create table letters (id int, note text); insert into letters values (11, 'first')")
			g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn", "public.hidden.note", "public.concealed.note"))
			c := g.grant("agent", v1alpha1.AccessFull)
			fe := frontend(t, g, c, database)
			const read, write = "select id, email from customers order by id", "update counter set n = n + 1"
			calm := func(text, want string) {
				t.Helper()
				for range 4 {
					got := send(fe, text)
					noSecret(t, text, got)
					if !strings.Contains(got, want) || strings.Count(got, "Ready") != 1 || strings.Contains(got, "ERROR") {
						t.Fatalf("%s: %s", text, got)
					}
				}
			}
			before, _ := assertionsOf(t, server)
			calm(read, "DataRow(1|***********.com)")
			asked, failed := assertionsOf(t, server)
			if asked == before {
				t.Fatal("nothing was asserted")
			}
			for i := range 3 {
				server.Exec(t, database, fmt.Sprintf("insert into noise values (%d)", i))
				calm(read, "DataRow(1|***********.com)")
			}
			if _, now := assertionsOf(t, server); now == failed && proofsOf(t, server) == 0 {
				t.Error("no assertion failed, and nothing was proven afterwards")
			}
			for i := range 3 {
				server.Exec(t, database, fmt.Sprintf("insert into noise values (%d)", i))
				calm(write, "Complete(UPDATE 1)")
			}
			if n := server.Query(t, database, "select n from counter")[0][0]; n != "12" {
				t.Errorf("12 updates added %s", n)
			}
			calm("select id, note from orders where id = 10", "DataRow(10|first)")
			server.Exec(t, database, "create table hidden () inherits (orders); insert into hidden values (10, 1, '123-45-6789')")
			noSecret(t, "with a child", send(fe, "select id, note from orders where id = 10"))
			// What is written to a column that another one refers to would tell of that.
			calm("update letters set note = upper(note) where id = 11", "Complete(UPDATE 1)")
			server.Exec(t, database, "update letters set note = 'low'; create table concealed () inherits (letters); insert into concealed values (11, '123-45-6789')")
			if got := send(fe, "update letters set note = upper(note) where id = 11"); strings.Contains(got, "Complete(UPDATE") {
				t.Errorf("a masked column was used: %s", got)
			}
			if rows := server.Query(t, database, "select note from only letters where id = 11"); rows[0][0] != "low" {
				t.Errorf("a statement was executed that was not verified: %s", rows[0][0])
			}
			if got := send(fe, read); !strings.Contains(got, "DataRow(1|***********.com)") {
				t.Errorf("the session goes on: %s", got)
			}
		})
	}
}

// TestAssertedErrors sends statements behind an assertion that fail themselves, in the way
// that an assertion fails too.
func TestAssertedErrors(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			for text, want := range map[string]string{
				"select 1/(id-10) from orders":                  "22012",
				"select 1/0 from orders":                        "22012",
				"insert into orders values (10, 1, 'again')":    "23505",
				"select id from orders where id = 'no integer'": "22P02",
			} {
				for range 3 {
					if got := send(fe, text); !strings.Contains(got, want) || strings.Count(got, "Ready(I)") != 1 || strings.Count(got, "ERROR") != 1 {
						t.Errorf("%s: %s", text, got)
					}
					if got := send(fe, "select note from orders where id = 10"); !strings.Contains(got, "DataRow(first)") {
						t.Fatalf("after %s: %s", text, got)
					}
				}
			}
		})
	}
}

// TestAssertedIsCancelled cancels a statement that waits for a lock behind its assertion, or
// before it.
func TestAssertedIsCancelled(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")).PgConn()
	owner := connect(t, server.URI("postgres", "postgres", server.Password)).PgConn()
	ctx := context.Background()
	run := func(text string) error { return conn.Exec(ctx, text).Close() }
	for name, tc := range map[string]struct{ lock, text string }{
		"before": {"lock table orders in access exclusive mode", "select note from orders where id = 10"},
		"behind": {"select * from orders where id = 10 for update", "update orders set customer_id = 3 where id = 10"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 4 {
				if err := run(tc.text); err != nil {
					t.Fatal(err)
				}
			}
			if err := owner.Exec(ctx, "begin; "+tc.lock).Close(); err != nil {
				t.Fatal(err)
			}
			canceled := make(chan struct{})
			go func() {
				defer close(canceled)
				eventually(t, "the statement waits", func() bool {
					return len(server.Query(t, "postgres", "select 1 from pg_locks where not granted")) > 0
				})
				_ = conn.CancelRequest(ctx)
			}()
			err := run(tc.text)
			<-canceled
			if sqlState(err) != "57014" {
				t.Errorf("err = %v", err)
			}
			if err := owner.Exec(ctx, "rollback").Close(); err != nil {
				t.Fatal(err)
			}
			if err := run(tc.text); err != nil {
				t.Errorf("the session goes on: %v", err)
			}
		})
	}
}
