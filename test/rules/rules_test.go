package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

func rule(name, action, match string) string {
	return fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: CommandRule\nmetadata: {name: %s, namespace: gate}\nspec:\n  targetSelector: {}\n  match: [{sql: %s}]\n  action: %s\n  message: said by %s", name, match, action, name)
}

func connect(t *testing.T, g *gatetest.Gate) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), g.URI("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// ways are the paths on which a client sends a statement.
var ways = map[string]func(ctx context.Context, c *pgconn.PgConn, sql string) error{
	"simple": func(ctx context.Context, c *pgconn.PgConn, sql string) error {
		_, err := c.Exec(ctx, sql).ReadAll()
		return err
	},
	"extended": func(ctx context.Context, c *pgconn.PgConn, sql string) error {
		return c.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
	},
	"prepared": func(ctx context.Context, c *pgconn.PgConn, sql string) error {
		if _, err := c.Prepare(ctx, "s", sql, nil); err != nil {
			return err
		}
		err := c.ExecPrepared(ctx, "s", nil, nil, nil).Read().Err
		return errors.Join(err, c.Deallocate(ctx, "s"))
	},
	"pipeline": func(ctx context.Context, c *pgconn.PgConn, sql string) error {
		p := c.StartPipeline(ctx)
		p.SendQueryParams("SELECT 1", nil, nil, nil, nil)
		p.SendQueryParams(sql, nil, nil, nil, nil)
		if err := p.Sync(); err != nil {
			return errors.Join(err, p.Close())
		}
		var failed error
		for {
			result, err := p.GetResults()
			if err != nil {
				failed = errors.Join(failed, err)
			}
			if r, ok := result.(*pgconn.ResultReader); ok {
				_, err = r.Close()
				failed = errors.Join(failed, err)
			}
			if _, synced := result.(*pgconn.PipelineSync); synced || result == nil && err == nil {
				return errors.Join(failed, p.Close())
			}
		}
	},
}

// said returns the code and the text of a refusal, as a client sees them; empty for none.
func said(err error) (state, message string) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code, pg.Message
	}
	return "", ""
}

func TestRules(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(t, "postgres", `CREATE ROLE app LOGIN PASSWORD 'app'; CREATE SCHEMA billing; CREATE TABLE billing.invoices (id int); CREATE TABLE public.orders (id int);
		CREATE TABLE public.scratch (id int); GRANT ALL ON SCHEMA billing, public TO app; GRANT ALL ON billing.invoices, public.orders, public.scratch TO app;
		INSERT INTO public.orders VALUES (1); INSERT INTO billing.invoices VALUES (1)`)
	g := gatetest.Start(t, gatetest.Options{Server: s, User: "app", Password: "app", Access: "ReadOnly", More: []string{
		rule("closed", "Deny", `{relations: ["billing.*"]}`),
		rule("no-orders", "Deny", `{groups: [Write], expression: "statement.relations.exists(r, r.name == 'orders')"}`),
		rule("no-label", "Deny", `{statements: [Show], expression: "session.target.labels['none'] == 'x'"}`),
		rule("scratch", "Allow", `{statements: [Insert, Delete], expression: "statement.relations.all(r, r.schema == 'public' && r.name == 'scratch')"}`),
		rule("no-savepoints", "Deny", `{statements: [Savepoint], expression: "session.inTransaction"}`),
		rule("watch", "Audit", `{relations: ["public.*"]}`),
	}})
	tests := map[string]struct{ sql, code, rule string }{
		"a named schema":             {"SELECT * FROM billing.invoices", "CDA-2001", "closed"},
		"in quotes":                  {`SELECT * FROM "billing" . "invoices"`, "CDA-2001", "closed"},
		"in escapes":                 {`SELECT * FROM U&"\0062illing".invoices`, "CDA-2001", "closed"},
		"in capitals":                {`SELECT * FROM BILLING.Invoices`, "CDA-2001", "closed"},
		"with the database's name":   {`SELECT * FROM postgres.billing.invoices`, "CDA-2001", "closed"},
		"behind a CTE":               {"WITH x AS (TABLE billing.invoices) SELECT 1 FROM x", "CDA-2001", "closed"},
		"in EXPLAIN":                 {"EXPLAIN ANALYZE SELECT * FROM billing.invoices", "CDA-2001", "closed"},
		"in COPY":                    {"COPY (SELECT * FROM ONLY billing.invoices) TO STDOUT", "CDA-2001", "closed"},
		"without a schema":           {"SELECT * FROM invoices", "CDA-2001", "closed"},
		"a schema dropped":           {"DROP SCHEMA billing CASCADE", "CDA-2001", "closed"},
		"a schema renamed":           {"ALTER SCHEMA billing RENAME TO open", "CDA-2001", "closed"},
		"an expression":              {"DELETE FROM public.orders", "CDA-2001", "no-orders"},
		"an expression that fails":   {"SHOW work_mem", "CDA-2001", "no-label"},
		"what is allowed":            {"INSERT INTO public.scratch VALUES (1)", "", ""},
		"what is not":                {"UPDATE public.scratch SET id = 2", "CDA-2002", ""},
		"beside what is allowed":     {"WITH x AS (DELETE FROM public.scratch RETURNING id) INSERT INTO public.scratch SELECT id FROM x", "", ""},
		"beyond what is allowed":     {"WITH x AS (UPDATE public.scratch SET id = 1 RETURNING id) INSERT INTO public.scratch SELECT id FROM x", "CDA-2002", ""},
		"what looks alike":           {"INSERT INTO public.\"scrаtch\" VALUES (1)", "CDA-2002", ""},
		"what has another case":      {"INSERT INTO public.\"Scratch\" VALUES (1)", "CDA-2002", ""},
		"what is read beside it":     {"INSERT INTO public.scratch SELECT id FROM public.orders", "CDA-2001", "no-orders"},
		"nothing that is spoken of":  {"SELECT 1", "", ""},
		"a reading that is audited":  {"SELECT * FROM public.orders", "", ""},
		"a session setting, for one": {"SET work_mem = '1MB'", "", ""},
	}
	for way, send := range ways {
		c := connect(t, g)
		for name, tc := range tests {
			t.Run(way+"/"+name, func(t *testing.T) {
				state, message := said(send(t.Context(), c.PgConn(), tc.sql))
				switch {
				case tc.code == "" && state != "":
					t.Errorf("refused: %s %s", state, message)
				case tc.code != "" && (state != "42501" || !strings.HasPrefix(message, tc.code)):
					t.Errorf("%s %q, want %s", state, message, tc.code)
				case tc.rule != "" && (!strings.Contains(message, "CommandRule/gate/"+tc.rule) || !strings.HasSuffix(message, ": said by "+tc.rule)):
					t.Errorf("%q does not hold the rule %s and what it says", message, tc.rule)
				}
			})
		}
	}
	t.Run("an expression about the session", func(t *testing.T) {
		c := connect(t, g)
		if _, err := c.Exec(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
		_, err := c.Exec(t.Context(), "SAVEPOINT a")
		if _, message := said(err); !strings.HasPrefix(message, "CDA-2001") {
			t.Errorf("in a transaction: %v", err)
		}
	})
	marked := 0
	for _, e := range g.Events(t) {
		if e.Command == nil || e.Command.Decision == "Prepared" {
			continue
		}
		// What names a schema that is not known may be in public.
		want := strings.Contains(e.Command.Text, "public.")
		if got := slices.Contains(e.Command.Audit, "CommandRule/gate/watch"); want && !got {
			t.Errorf("%s is not marked: %s %s", e.Command.Text, e.Command.Decision, e.Command.Message)
		} else if got {
			marked++
		}
		if strings.HasPrefix(e.Command.Text, "SELECT 1") && len(e.Command.Audit) > 0 {
			t.Errorf("%s is marked: %v", e.Command.Text, e.Command.Audit)
		}
	}
	if marked == 0 {
		t.Error("nothing is marked")
	}
}

// TestAccessLevels holds the levels to statements of every group.
func TestAccessLevels(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(t, "postgres", "CREATE TABLE t (id int PRIMARY KEY); CREATE SEQUENCE q; CREATE ROLE guest")
	groups := []struct {
		name       string
		level      int // the lowest of levels that includes it
		statements []string
	}{
		{"Read", 0, []string{"SELECT * FROM t", "TABLE t", "VALUES (1)", "EXPLAIN ANALYZE SELECT 1", "COPY t TO STDOUT", "SELECT pg_sleep(0)"}},
		{"Session", 0, []string{"SET work_mem = '1MB'", "RESET work_mem", "SHOW work_mem", "DISCARD PLANS", "LISTEN x", "UNLISTEN x", "PREPARE p AS SELECT 1", "DEALLOCATE ALL"}},
		{"Transaction", 0, []string{"BEGIN; COMMIT", "BEGIN; SAVEPOINT a; ROLLBACK TO a; RELEASE a; ROLLBACK", "START TRANSACTION READ WRITE; END"}},
		{"Write", 1, []string{"INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "UPDATE t SET id = id WHERE id = 1", "DELETE FROM t WHERE id = 1", "TRUNCATE t",
			"MERGE INTO t USING (SELECT 2 AS id) s ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id)", "SELECT * FROM t FOR UPDATE", "SELECT nextval('q')",
			"WITH x AS (DELETE FROM t WHERE id = 9 RETURNING *) SELECT * FROM x", "EXPLAIN ANALYZE DELETE FROM t WHERE id = 9", "NOTIFY x", "BEGIN; LOCK t; COMMIT", "SELECT pg_notify('x', '')"}},
		{"Definition", 2, []string{"CREATE TABLE d (id int)", "ALTER TABLE d ADD COLUMN x int", "COMMENT ON TABLE d IS 'x'", "CREATE INDEX ON d (id)", "CREATE VIEW v AS SELECT 1 AS one", "DROP VIEW v",
			"ALTER TABLE d RENAME TO e", "DROP TABLE e", "SELECT 1 AS one INTO d", "DROP TABLE d", "CREATE TABLE d AS SELECT 1 AS one", "DROP TABLE d", "CREATE TEMP TABLE d (id int)", "EXPLAIN ANALYZE CREATE TABLE f AS SELECT 1"}},
		{"Privilege", 2, []string{"GRANT SELECT ON t TO guest", "REVOKE SELECT ON t FROM guest", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO guest", "CREATE ROLE nobody", "DROP ROLE nobody"}},
		{"Administration", 2, []string{"VACUUM t", "ANALYZE t", "REINDEX TABLE t", "CREATE DATABASE d2"}},
	}
	for level, access := range []string{"ReadOnly", "ReadWrite", "Full"} {
		g := gatetest.Start(t, gatetest.Options{Server: s, User: "postgres", Password: s.Password, Access: access})
		c := connect(t, g)
		for _, group := range groups {
			for _, sql := range group.statements {
				state, message := said(ways["simple"](t.Context(), c.PgConn(), sql))
				if level >= group.level && state != "" {
					t.Errorf("%s: %s: %s: %s %s", access, group.name, sql, state, message)
				}
				if level < group.level && (state != "42501" || !strings.HasPrefix(message, "CDA-2002")) {
					t.Errorf("%s: %s: %s: %s %s", access, group.name, sql, state, message)
				}
			}
		}
		g.Stop(t)
	}
}
