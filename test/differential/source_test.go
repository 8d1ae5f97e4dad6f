package differential

import (
	"bufio"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

func TestMain(m *testing.M) {
	pgsql.WorkerMain()
	os.Exit(gatetest.Main(m))
}

// database is where the regression tests run.
const database = "regression"

// source returns the folder with sql, data and parallel_schedule of PostgreSQL's
// regression tests, readable to the server.
func source(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(cache, "cardea", "postgresql-15.*", "parallel_schedule"))
	if len(found) == 0 {
		if os.Getenv("CARDEA_SKIP_MISSING_CLIENTS") != "" {
			t.Skip("PostgreSQL's regression tests are missing; hack/preflight.sh brings them")
		}
		t.Fatal("PostgreSQL's regression tests are missing: hack/preflight.sh brings them, CARDEA_SKIP_MISSING_CLIENTS=1 leaves them out")
	}
	from, to := filepath.Dir(found[len(found)-1]), filepath.Join(s.Dir, "regress")
	for _, d := range []string{"results", "sql", "expected", "testtablespace"} {
		if err := os.MkdirAll(filepath.Join(to, d), 0o755); err != nil {
			t.Fatal(err)
		}
		// The server writes there, as a user of its own.
		if err := os.Chmod(filepath.Join(to, d), 0o777); err != nil { //nolint:gosec // a folder of the test's own
			t.Fatal(err)
		}
	}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case filepath.Dir(rel) == ".":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644) //nolint:gosec // public text
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// schedule returns the names of the files in their order.
func schedule(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(cache, "cardea", "postgresql-15.*", "parallel_schedule"))
	f, err := os.Open(found[len(found)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if rest, ok := strings.CutPrefix(scanner.Text(), "test: "); ok {
			names = append(names, strings.Fields(rest)...)
		}
	}
	if len(names) < 150 {
		t.Fatalf("the schedule names %d files", len(names))
	}
	return names
}

// sample returns the files to run: those that match and, of the others, every twelfth; all
// of them if the environment variable CARDEA_DIFFERENTIAL is "full".
func sample(t *testing.T, folder string, match *regexp.Regexp) []string {
	t.Helper()
	all := schedule(t)
	if os.Getenv("CARDEA_DIFFERENTIAL") == "full" {
		return all
	}
	var names []string
	for i, name := range all {
		b, err := os.ReadFile(filepath.Join(folder, "sql", name+".sql"))
		if err != nil {
			t.Fatal(err)
		}
		if name == "test_setup" || i%12 == 0 || match.Match(b) {
			names = append(names, name)
		}
	}
	t.Logf("%d of %d files", len(names), len(all))
	return names
}

// start starts a server with an empty database as the regression suite wants it.
func start(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.Start(t, "log_statement = none", "jit = off", "max_prepared_transactions = 2", "statement_timeout = 120s",
		"lc_messages = 'C'", "max_parallel_workers_per_gather = 0")
	s.Exec(t, "postgres", "create database "+database+" template template0")
	s.Exec(t, "postgres", "alter database "+database+" set bytea_output to 'hex'; alter database "+database+" set timezone_abbreviations to 'Default'")
	return s
}

// run runs a file of the regression tests in psql through a relay.
func run(t *testing.T, folder, name string, r *relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	file := filepath.Join(folder, "sql", name+".sql")
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	cmd := exec.CommandContext(ctx, pgtest.Bin(t, "psql"), "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on", "-f", file)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGHOST=127.0.0.1", "PGPORT=" + r.port, "PGUSER=" + r.user, "PGPASSWORD=" + r.password, "PGDATABASE=" + database,
		"PGSSLMODE=disable", "PGGSSENCMODE=disable", "PGTZ=PST8PDT", "PGDATESTYLE=Postgres, MDY", "LC_ALL=C", "PG_ABS_SRCDIR=" + folder, "PG_ABS_BUILDDIR=" + folder,
		"PG_LIBDIR=/nonexistent", "PG_DLSUFFIX=.so", "PAGER=", "HOME=" + folder}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s does not end: %s", name, out[max(0, len(out)-2000):])
	}
	// A file whose connection ends has been cut short.
	if err != nil {
		t.Logf("%s: psql: %v: %s", name, err, out[max(0, len(out)-500):])
	}
}
