package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// wires counts how often the server was asked for a tripwire, and for names.
func wires(t *testing.T, server *pgtest.Server) (asked, read int) {
	t.Helper()
	for line := range strings.Lines(server.Log(t)) {
		switch {
		case !strings.Contains(line, asserted):
		case strings.Contains(line, "pg_catalog.extract('epoch'"):
			asked++
		case strings.Contains(line, "SELECT 'schema', s.n"):
			read++
		}
	}
	return asked, read
}

// redefined are changes between two looks at a statement that a tripwire proves, while others commit.
// Masked are *.*.ssn and what is called hidden.
var redefined = map[string]struct{ setup, text, before, change, after string }{
	"a view": {"create view v as select id, open as c from person", "select c from v", "DataRow(fine)",
		"create or replace view v as select id, ssn as c from person", "6789"},
	"a view beneath": {"create view w as select id, open as c from person; create view v as select id, c from w", "select c from v", "DataRow(fine)",
		"create or replace view w as select id, ssn as c from person", "6789"},
	"a child":  {"create table hidden (id int, open text, ssn text); insert into hidden values (2, '123-45-6789', '')", "select upper(open) from person", "DataRow(FINE)", "alter table hidden inherit person", "CDA-"},
	"a shadow": {"create schema early; set search_path = early, public", "select upper(open) from person", "DataRow(FINE)", "create table early.person as select id, ssn as open, open as ssn from public.person; alter table early.person rename to hidden; alter table early.hidden rename to person", "CDA-2004"},
	"columns":  {"", "select open from person", "DataRow(fine)", "begin; alter table person rename open to x; alter table person rename ssn to open; alter table person rename x to ssn; commit", "6789"},
	"a write":  {"", "update person set open = open returning open", "DataRow(fine)", "begin; alter table person rename open to x; alter table person rename ssn to open; alter table person rename x to ssn; commit", "CDA-"},
}

// TestG3ByTripwire changes definitions of statements that tripwires prove, since others commit
// before each: outside of transactions, within one, and in one that wrote.
func TestG3ByTripwire(t *testing.T) {
	server := pgtest.Start(t)
	for state, begin := range map[string]string{"alone": "", "in a transaction": "begin", "in one that wrote": "begin; insert into scratch values (1)"} {
		for name, c := range redefined {
			for way, send := range ways {
				if begin != "" && way == "with a Flush" {
					continue // its portal would stay
				}
				t.Run(state+", "+name+", "+way, func(t *testing.T) {
					database := "w" + strings.NewReplacer(" ", "", ",", "").Replace(strings.ToLower(t.Name()[len("TestG3ByTripwire/"):]))
					database = strings.NewReplacer("_", "").Replace(database)
					server.Exec(t, "postgres", "create database "+database)
					server.Exec(t, database, "create table person (id int, open text, ssn text); insert into person values (1, 'fine', '123-45-6789'); create table noise (n int); create table scratch (n int)")
					g := start(t, server, masking(keepLast4(), "*.*.ssn", "public.hidden.open", "early.person.open"))
					owner, err := pgconn.Connect(t.Context(), server.URI("postgres", database, server.Password))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = owner.Close(context.Background()) })
					run := func(text string) {
						t.Helper()
						if err := owner.Exec(t.Context(), "set lock_timeout = '50ms'; set search_path = public").Close(); err != nil {
							t.Fatal(err)
						}
						if err := owner.Exec(t.Context(), text).Close(); err != nil && !strings.Contains(err.Error(), "55P03") {
							t.Fatalf("%s: %v", text, err)
						}
						_ = owner.Exec(t.Context(), "rollback").Close()
					}
					setup, path, _ := strings.Cut(c.setup, "; set ")
					run(setup)
					fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), database)
					look := func() string {
						t.Helper()
						run("insert into noise values (1)")
						got := send(fe, c.text)
						noSecret(t, c.text, got)
						return got
					}
					if path != "" {
						fe.send(query("set " + path))
						fe.untilReady()
					}
					for range 8 {
						if got := look(); !strings.Contains(got, c.before) {
							t.Fatalf("before: %s", got)
						}
					}
					for part := range strings.SplitSeq(begin, "; ") {
						if part != "" {
							fe.send(query(part))
							fe.untilReady()
						}
					}
					asked, read := wires(t, server)
					for range 3 {
						if got := look(); !strings.Contains(got, c.before) {
							t.Fatalf("before: %s", got)
						}
					}
					if now, again := wires(t, server); now-asked != 3 || again != read {
						t.Errorf("3 statements asked %d tripwires, and read names %d times", now-asked, again-read)
					}
					run(c.change)
					for range 3 {
						if got := look(); begin == "" && !strings.Contains(got, c.after) {
							t.Errorf("after: %s", got)
						}
					}
				})
			}
		}
	}
}

// TestG3WhileDefinitionsChangeAndOthersCommit is TestG3WhileDefinitionsChangeSeldom where no
// snapshot proves anything, so that tripwires do.
func TestG3WhileDefinitionsChangeAndOthersCommit(t *testing.T) { changeSeldom(t, 2) }

// keepCommitting commits what concerns no statement.
func keepCommitting(ctx context.Context, t *testing.T, server *pgtest.Server) {
	t.Helper()
	writer, err := pgconn.Connect(ctx, server.URI("postgres", "postgres", server.Password))
	if err != nil {
		return // it is over
	}
	defer func() { _ = writer.Close(context.Background()) }()
	if err := writer.Exec(ctx, "create table if not exists pg_temp.commits (n int)").Close(); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	for ctx.Err() == nil {
		if err := writer.Exec(ctx, "insert into pg_temp.commits values (1)").Close(); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		<-time.After(time.Millisecond)
	}
}
