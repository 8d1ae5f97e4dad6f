package postgres

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestRowFunctionsHaveTheServersColumns holds that what is known of functions in FROM is
// what the server's catalog says of each function of that name.
func TestRowFunctionsHaveTheServersColumns(t *testing.T) {
	s := pgtest.Start(t)
	rows := s.Query(t, "postgres", `select proname, coalesce((select string_agg(n, ' ' order by i) from unnest(proargnames, proargmodes) with ordinality a(n, m, i) where m = 'o'), ''),
		prorettype in (select oid from pg_type where typname like 'any%') from pg_proc where pronamespace = 'pg_catalog'::regnamespace`)
	major, err := strconv.Atoi(s.Query(t, "postgres", "show server_version_num")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, row := range rows {
		name, columns, polymorphic := row[0], strings.Fields(row[1]), row[2] == "t" || row[2] == "true"
		want := rowColumns(name, major/10000)
		if want == nil || name == "unnest" {
			continue // the type of its argument is looked at
		}
		seen[name] = true
		if polymorphic && name != "generate_series" {
			t.Errorf("%s may return anything", name)
		}
		if len(columns) == 0 {
			columns = []string{""}
		}
		if diff := cmp.Diff(want, columns); diff != "" {
			t.Errorf("%s (-known +server):\n%s", name, diff)
		}
	}
	for name := range rowFunctions {
		if !seen[name] && name != "unnest" {
			t.Errorf("the server has no function %s", name)
		}
	}
}

// TestUnnestedTypesAreOneColumn holds that the types listed are what they are listed as.
func TestUnnestedTypesAreOneColumn(t *testing.T) {
	s := pgtest.Start(t)
	rows := s.Query(t, "postgres", `select t.oid::text, t.typtype::text, coalesce(e.typtype::text, ''), t.typname from pg_type t left join pg_type e on e.oid = t.typelem and t.typsubscript = 'array_subscript_handler'::regproc`)
	for _, row := range rows {
		oid, kind, element := row[0], row[1], row[2]
		isArray := element != ""
		if scalarTypes[oid] && (!slices.Contains([]string{"b", "r"}, kind) || isArray || severalColumns[row[3]]) {
			t.Errorf("%s is no type of one value", row[3])
		}
		if builtinArrays[oid] && (!isArray || !slices.Contains([]string{"b", "r", "m"}, element)) {
			t.Errorf("%s is no array of such a type", row[3])
		}
	}
}
