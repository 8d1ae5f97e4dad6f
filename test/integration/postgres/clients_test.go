package postgres

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

func connect(t testing.TB, uri string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// psql runs psql with a script and returns what it wrote.
func psql(t testing.TB, uri, script string, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, pgtest.Bin(t, "psql"), append([]string{"-X", "-A", "-t", uri}, args...)...)
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=120", "LC_ALL=C.UTF-8")
	cmd.Stdin = strings.NewReader(script)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String()
}

func TestClients(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders(id int primary key, note text, total numeric); insert into orders select i, 'note ' || i, i * 1.5 from generate_series(1, 1000) i")
	g := start(t, server)
	c := g.grant("report", v1alpha1.AccessReadWrite)

	t.Run("psql", func(t *testing.T) {
		out, errs := psql(t, g.uri(c, "postgres", ""), "select id, note from orders where id = 7;\nselect count(*) from orders;\n\\dt\n\\d orders\n")
		if errs != "" || !strings.Contains(out, "7|note 7\n1000\n") || !strings.Contains(out, "public|orders|table") || !strings.Contains(out, "total|numeric") {
			t.Errorf("out = %q, stderr = %q", out, errs)
		}
	})
	t.Run("pgx", func(t *testing.T) {
		ctx := context.Background()
		conn := connect(t, g.uri(c, "postgres", ""))
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			for range 3 {
				var note string
				if err := conn.QueryRow(ctx, "select note from orders where id = $1", mode, 9).Scan(&note); err != nil || note != "note 9" {
					t.Errorf("%v: %q, %v", mode, note, err)
				}
			}
		}
		tag, err := conn.Exec(ctx, "update orders set note = $1 where id = $2", "new", 5)
		if err != nil || tag.RowsAffected() != 1 {
			t.Errorf("update: %v, %v", tag, err)
		}
	})
	t.Log(g.events(t))
}
