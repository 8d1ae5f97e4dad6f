package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestMajors tries every supported release: what the lists say of its functions is so, the
// attacks by what releases read differently or brought and some of the others see nothing,
// and honest statements work. The whole of this package's tests runs against another release
// with CARDEA_TEST_POSTGRES=MAJOR.
func TestMajors(t *testing.T) {
	for _, major := range pgtest.Majors {
		if !postgres.SupportedMajor(major) {
			t.Errorf("version %d can be started and is not supported", major)
		}
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			s := pgtest.StartMajor(t, major)
			a := newAnalyzer(t)
			schema(t, s, "original")
			copyDatabase(t, s, "tried")
			usableFunctions(t, s, major)
			b := connect(t, s, a, "analyst", "pw", "tried")
			for _, line := range lines(t, "versions.tsv") {
				ofVersions(t, s, b, line, major)
			}
			for i, line := range lines(t, "attacks.tsv") {
				if part := strings.Split(line, "\t"); part[1] == "analyst" && part[2] == "" && i%everyNth == major%everyNth {
					t.Run(part[0], func(t *testing.T) {
						attack(t, connect(t, s, a, "analyst", "pw", "tried"), strings.ReplaceAll(part[3], "@DB@", "tried"), part[4])
					})
				}
			}
			honest(t, connect(t, s, a, "analyst", "pw", "tried"), major)
		})
	}
}

// everyNth is which of the attacks run against each release.
const everyNth = 12

// ofVersions tries a line of versions.tsv, over a session of its own unless it is honest.
func ofVersions(t *testing.T, s *pgtest.Server, b *backend, line string, major int) {
	t.Helper()
	part := strings.Split(line, "\t")
	since, err := strconv.Atoi(part[0])
	if err != nil || len(part) != 5 {
		t.Fatalf("%q has %d fields, want major, id, set-up, statements, what tells", line, len(part))
	}
	if since > major {
		return
	}
	t.Run(part[1], func(t *testing.T) {
		if part[2] != "" {
			s.Exec(t, "tried", part[2])
		}
		if want, ok := strings.CutPrefix(part[4], "="); ok {
			shows(t, b, part[3], want)
			return
		}
		attack(t, connect(t, s, b.analyzer, "analyst", "pw", "tried"), part[3], part[4])
	})
}

// honest sends what honest clients send; version 14 has no MERGE.
func honest(t *testing.T, b *backend, major int) {
	t.Helper()
	for _, line := range lines(t, "benign.sql") {
		text, _, denied := strings.Cut(line, " -- denied: ")
		if denied || major < 15 && strings.Contains(strings.ToLower(text), "merge into") {
			continue
		}
		if f := b.analyze(t, text); !admitted(f) {
			t.Errorf("%s is refused: %s", text, why(f))
		} else if b.send(t, text); b.failed != nil {
			t.Errorf("%s: %v", text, b.failed)
		}
	}
}

// shows sends an honest statement and compares what its client sees.
func shows(t *testing.T, b *backend, text, want string) {
	t.Helper()
	seen, refused := b.send(t, text)
	if seen, _, _ = strings.Cut(seen, "ELAPSED"); refused != "" || b.failed != nil || strings.ReplaceAll(seen, "\n", " ") != want+" " {
		t.Errorf("%s shows %q, refused %q, failed %v", text, strings.ReplaceAll(seen, "\n", " "), refused, b.failed)
	}
}

// lookedAt are volatile functions that change nothing but sequences and show nothing but numbers of backends.
var lookedAt = strings.Fields(`timezone random random_normal clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7 nextval setval currval lastval pg_blocking_pids pg_sleep pg_is_in_recovery
	array_sample array_shuffle pg_relation_size pg_table_size pg_total_relation_size pg_indexes_size pg_database_size pg_tablespace_size
	pg_partition_tree pg_partition_ancestors`)

// usableFunctions holds the lists against a server's catalog.
func usableFunctions(t *testing.T, s *pgtest.Server, major int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.URI("postgres", "postgres", s.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	usable := postgres.UsableFunctions(major)
	there := map[string]bool{}
	for _, f := range functionsOf(t, c) {
		if f.schema != "pg_catalog" {
			continue
		}
		there[f.name] = true
		if usable[f.name] && (f.revoked || f.volatile && !slices.Contains(lookedAt, f.name)) {
			t.Errorf("%s may be called, and the server says it is volatile, or not for everybody", f.name)
		}
	}
	for name := range usable {
		// Grammar's own spellings of types and functions are among them.
		if !there[name] && !slices.Contains([]string{"overlaps", "extract"}, name) {
			t.Errorf("%s may be called, and version %d has no such function", name, major)
		}
	}
	rows, err := c.Query(t.Context(), `SELECT DISTINCT proname, array(SELECT proargnames[i] FROM generate_subscripts(proargmodes, 1) i WHERE proargmodes[i] IN ('o', 't', 'b') ORDER BY i)
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proargmodes IS NOT NULL ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var out []string
	if _, err := pgx.ForEachRow(rows, []any{&name, &out}, func() error {
		if known := postgres.RowColumns(name, major); len(out) > 0 && len(known) > 0 && name != "unnest" && !(len(out) == 1 && known[0] == "") && !slices.Equal(known, out) {
			return fmt.Errorf("%s has the columns %v, not %v", name, out, known)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
