package clients

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"

	"github.com/cardea-dev/cardea/test/gatetest"
)

// drivers are programs in testdata that use a driver as its documentation says. Each takes
// the connection from the environment, prints what it read, and a last line "done". The
// variable MASKED is set on a target with masks.
var drivers = map[string]struct {
	command func(t *testing.T) []string
}{
	"JDBC": {command: func(t *testing.T) []string {
		return []string{need(t, "java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jdbc(t), "testdata/Jdbc.java"}
	}},
	"psycopg2":   {command: func(t *testing.T) []string { return python(t, "psycopg2", "testdata/psycopg2_client.py") }},
	"psycopg3":   {command: func(t *testing.T) []string { return python(t, "psycopg", "testdata/psycopg3_client.py") }},
	"SQLAlchemy": {command: func(t *testing.T) []string { return python(t, "sqlalchemy", "testdata/sqlalchemy_client.py") }},
	"Django":     {command: func(t *testing.T) []string { return python(t, "django", "testdata/django_client.py") }},
	"node-postgres": {command: func(t *testing.T) []string {
		need(t, "/usr/share/nodejs/pg/package.json", filepath.Join(nodeModules(), "pg/package.json"))
		return []string{need(t, "node", "nodejs"), "testdata/node_client.js"}
	}},
}

func jdbc(t *testing.T) string {
	return strings.Join([]string{need(t, "/usr/share/java/postgresql.jar"), "/usr/share/java/scram-client.jar", "/usr/share/java/scram-common.jar",
		"/usr/share/java/stringprep.jar", "/usr/share/java/saslprep.jar"}, ":")
}

// nodeModules is where hack/preflight.sh puts node-postgres if Debian's package does not fit.
func nodeModules() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "cardea", "node", "node_modules")
}

// python is the system's interpreter, which sees Debian's packages.
func python(t *testing.T, module, script string) []string {
	t.Helper()
	interpreter := need(t, "/usr/bin/python3", "python3")
	if err := exec.Command(interpreter, "-c", "import "+module).Run(); err != nil {
		missing(t, "the Python module "+module)
	}
	return []string{interpreter, script}
}

func TestDrivers(t *testing.T) {
	s := start(t)
	gates(t, s, func(t *testing.T, g *gatetest.Gate, isMasked bool) {
		environment := append(g.Environment(database), "NODE_PATH=/usr/share/nodejs:"+nodeModules(), "PYTHONDONTWRITEBYTECODE=1")
		if isMasked {
			environment = append(environment, "MASKED=1")
		}
		for name, d := range drivers {
			t.Run(name, func(t *testing.T) {
				command := d.command(t)
				out := run(t, environment, "", command[0], command[1:]...)
				if !strings.HasSuffix(out, "done\n") {
					t.Errorf("it printed:\n%s", out)
				}
				if isMasked {
					noCanary(t, out)
				}
			})
		}
		t.Run("pgx", func(t *testing.T) { pgxClient(t, g, isMasked) })
		t.Run("lib/pq", func(t *testing.T) { pqClient(t, g, isMasked) })
		nothingRefused(t, g)
	})
}

// email is what is shown of the first customer's address.
func email(isMasked bool) string {
	if isMasked {
		return strings.Repeat("*", len("canary-ada@example")) + ".com"
	}
	return "canary-ada@example.com"
}

func pgxClient(t *testing.T, g *gatetest.Gate, isMasked bool) {
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, g.URI(database))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		for range 2 {
			var id int
			var name, mail string
			if err := pool.QueryRow(ctx, "select id, name, email from customers where id = $1", mode, 1).Scan(&id, &name, &mail); err != nil || id != 1 || name != "Ada" || mail != email(isMasked) {
				t.Errorf("%v: %d %q %q, %v", mode, id, name, mail, err)
			}
		}
	}
	type order struct {
		ID    int
		Note  string
		Total float64
		At    time.Time
		Tags  []string
		Extra map[string]any `db:"detail"`
	}
	rows, err := pool.Query(ctx, "select id, note, total, at, tags, detail from orders order by id limit 3")
	if err != nil {
		t.Fatal(err)
	}
	orders, err := pgx.CollectRows(rows, pgx.RowToStructByName[order])
	if err != nil || len(orders) != 3 || orders[1].Tags[1] != "b2" || orders[2].Extra["n"] != 3.0 {
		t.Errorf("orders = %+v, %v", orders, err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		for i := range 50 {
			b.Queue("insert into plain (note, data) values ($1, $2)", fmt.Sprint("pgx ", i), []byte{0, 1, byte(i)})
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if n, err := tx.CopyFrom(ctx, pgx.Identifier{"plain"}, []string{"note"}, pgx.CopyFromSlice(100, func(int) ([]any, error) { return []any{"pgx copy"}, nil })); n != 100 || err != nil {
			return fmt.Errorf("copied %d: %w", n, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	tag, err := pool.Exec(ctx, "delete from plain where note like 'pgx %'")
	if err != nil || tag.RowsAffected() != 150 {
		t.Errorf("%v, %v", tag, err)
	}
}

func pqClient(t *testing.T, g *gatetest.Gate, isMasked bool) {
	ctx := t.Context()
	for _, extra := range []string{"binary_parameters=no", "binary_parameters=yes"} {
		db, err := sql.Open("postgres", g.URI(database, extra))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		var mail string
		if err := db.QueryRowContext(ctx, "select email from customers where id = $1", 1).Scan(&mail); err != nil || mail != email(isMasked) {
			t.Errorf("%q, %v", mail, err)
		}
		var tags []string
		if err := db.QueryRowContext(ctx, "select tags from orders where id = $1", 2).Scan(pq.Array(&tags)); err != nil || len(tags) != 2 {
			t.Errorf("%q, %v", tags, err)
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		in, err := tx.PrepareContext(ctx, pq.CopyIn("plain", "note", "data"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if _, err := in.ExecContext(ctx, fmt.Sprint("pq ", i), []byte{0, 255}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := in.ExecContext(ctx); err != nil {
			t.Fatal(err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		var n int
		if err := tx.QueryRowContext(ctx, "select count(*) from plain where note like $1", "pq %").Scan(&n); err != nil || n != 20 {
			t.Errorf("%d rows, %v", n, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		st, err := db.PrepareContext(ctx, "select total from orders where id = $1")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			var total float64
			if err := st.QueryRowContext(ctx, i+1).Scan(&total); err != nil || total != float64(i+1)*1.5 {
				t.Errorf("%v, %v", total, err)
			}
		}
	}
}
