package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// volatileReads are volatile functions that were looked at one by one and change nothing.
// A volatile function of a later release is not among them until somebody has looked:
// array_sample, array_shuffle, random_normal (16), uuidv4 and uuidv7 (18) draw random numbers, pg_stat_get_io (16)
// counts what all sessions read and wrote together, and timezone is volatile in 14 alone, for its abbreviations.
var volatileReads = strings.Fields(`random clock_timestamp timeofday gen_random_uuid currval lastval pg_sleep pg_sleep_for pg_sleep_until
	pg_is_in_recovery pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size pg_blocking_pids
	pg_safe_snapshot_blocking_pids pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_last_wal_receive_lsn
	pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_partition_tree pg_partition_ancestors pg_sequence_last_value pg_jit_available
	txid_status pg_xact_status pg_lock_status pg_notification_queue_usage current_query pg_collation_actual_version
	pg_database_collation_actual_version pg_xact_commit_timestamp pg_get_wal_resource_managers
	array_sample array_shuffle random_normal uuidv4 uuidv7 pg_stat_get_io timezone`)

// function is what the server says of all functions of one name.
type function struct {
	schema, name string
	volatile     bool // one of them is
	revoked      bool // one of them is not for everybody: the server's authors thought it dangerous
}

// TestEveryFunctionOfTheServer walks all functions of a real server with every extension
// that comes with it, and holds that each is either known to be harmless, on grounds that
// the server's own catalog confirms, or reported by a feature that a baseline rule denies.
func TestEveryFunctionOfTheServer(t *testing.T) {
	s := pgtest.Start(t)
	c, err := pgx.Connect(t.Context(), s.URI("postgres", "postgres", s.Password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	createExtensions(t, c)
	functions := functionsOf(t, c)
	p := parser.New(parser.Options{Timeout: time.Minute, Wait: time.Minute})
	t.Cleanup(p.Close)
	a := postgres.NewAnalyzer(p, 0)

	builtIn, counts := map[string]*function{}, map[string]int{}
	for i := range functions {
		if functions[i].schema == "pg_catalog" {
			builtIn[functions[i].name] = &functions[i]
		}
	}
	for _, f := range functions {
		class := classOf(t, a, pgx.Identifier{f.name}.Sanitize())
		if f.schema != "pg_catalog" {
			class = classOf(t, a, pgx.Identifier{f.schema, f.name}.Sanitize())
			if class == "read" || class == "quiet write" {
				t.Errorf("%s.%s is an extension's and taken for harmless", f.schema, f.name)
			}
			// Without its schema it looks like a built-in one of that name, if there is one.
			if shadowed := builtIn[f.name]; shadowed != nil && f.volatile && !shadowed.volatile {
				t.Errorf("%s.%s may write, and without its schema it is taken for PostgreSQL's own", f.schema, f.name)
			}
			class = "of an extension: " + class
		}
		counts[class]++
		if class != "read" {
			continue
		}
		switch {
		case f.revoked:
			t.Errorf("%s is taken for harmless, and the server does not give it to everybody", f.name)
		case f.volatile && !slices.Contains(volatileReads, f.name):
			t.Errorf("%s is taken for harmless, and the server says it is volatile", f.name)
		}
	}
	for _, class := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%5d %s", counts[class], class)
	}
	if counts["read"] < 1000 || len(builtIn) < 2000 {
		t.Errorf("%d built-in functions, %d of them harmless: too few to be all", len(builtIn), counts["read"])
	}
}

// createExtensions creates every extension that the server comes with.
func createExtensions(t *testing.T, c *pgx.Conn) {
	t.Helper()
	rows, err := c.Query(t.Context(), "SELECT name FROM pg_available_extensions WHERE installed_version IS NULL ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		// Some want a language that is not installed: what is not there cannot be called.
		_, err := c.Exec(t.Context(), "CREATE EXTENSION IF NOT EXISTS "+pgx.Identifier{name}.Sanitize()+" CASCADE")
		if err != nil {
			t.Logf("extension %s: %v", name, err)
		}
	}
}

func functionsOf(t *testing.T, c *pgx.Conn) []function {
	t.Helper()
	rows, err := c.Query(t.Context(), `SELECT nspname, proname, bool_or(provolatile = 'v'),
			bool_or(proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0 AND privilege_type = 'EXECUTE'))
		FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname <> 'information_schema' GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	functions, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (f function, err error) {
		err = r.Scan(&f.schema, &f.name, &f.volatile, &f.revoked)
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return functions
}

// classOf says what a call is taken for: "read", "quiet write", or the features that it is.
func classOf(t *testing.T, a *postgres.Analyzer, name string) string {
	t.Helper()
	text := fmt.Sprintf("SELECT %s()", name)
	f, err := a.Analyze(t.Context(), postgres.Input{Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	if !f.Known || len(f.Nodes) != 1 {
		t.Errorf("%s: %+v", text, f)
		return "unknown"
	}
	for _, feature := range f.Features {
		if f.Nodes[0].Group == sql.GroupRead {
			t.Errorf("%s is %s and yet a reading", text, feature)
		}
		if policy.BaselineFor(feature) == "" && feature != sql.FeatureAdvisoryLock {
			t.Errorf("%s is %s, which no baseline rule denies", text, feature)
		}
	}
	switch {
	case len(f.Features) > 0:
		return strings.Join(f.Features, ", ")
	case f.Nodes[0].Group == sql.GroupRead:
		return "read"
	case f.Nodes[0].Group == sql.GroupWrite:
		return "quiet write"
	}
	t.Errorf("%s is %s, and no feature says why", text, f.Nodes[0].Group)
	return string(f.Nodes[0].Group)
}
