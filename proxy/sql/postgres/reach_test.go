package postgres

import (
	"slices"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// TestReach holds that a statement which touches relations without naming them says so.
func TestReach(t *testing.T) {
	anywhere, billing := sql.Relation{Write: true}, sql.Relation{Schema: "billing", Write: true}
	tests := map[string]sql.Relation{
		"drop schema billing":                                      billing,
		"drop schema if exists a, \"billing\" cascade":             billing,
		"alter schema billing rename to x":                         billing,
		"alter schema billing owner to me":                         billing,
		"grant select on all tables in schema billing to public":   billing,
		"revoke all on all sequences in schema billing from x":     billing,
		"reindex schema billing":                                   billing,
		"import foreign schema x from server s into billing":       billing,
		"reindex database d":                                       anywhere,
		"reindex system d":                                         anywhere,
		"vacuum":                                                   anywhere,
		"analyze":                                                  anywhere,
		"vacuum (full)":                                            anywhere,
		"cluster":                                                  anywhere,
		"truncate a cascade":                                       anywhere,
		"drop table a cascade":                                     anywhere,
		"drop type a cascade":                                      anywhere,
		"drop extension x":                                         anywhere,
		"drop owned by x":                                          anywhere,
		"reassign owned by x to y":                                 anywhere,
		"drop database x":                                          anywhere,
		"alter table all in tablespace a set tablespace b":         anywhere,
		"create publication p for all tables":                      {},
		"create publication p for tables in schema billing":        {Schema: "billing"},
		"alter publication p add tables in schema current_schema":  {},
		"begin; drop schema billing; commit":                       billing,
		"create schema x create table t (); drop schema billing":   billing,
		"prepare p as select 1; alter schema billing rename to hr": billing,
	}
	a := newAnalyzer(t)
	for text, want := range tests {
		f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil || !f.Known {
			t.Fatalf("%s: %v %s", text, err, f.Unknown)
		}
		if !slices.Contains(f.Relations, want) {
			t.Errorf("%s: %v, want %v among them", text, f.Relations, want)
		}
	}
	for _, text := range []string{"truncate a", "drop table a", "vacuum a", "analyze a", "drop function f()", "create publication p for table a", "reindex table a"} {
		f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(f.Relations, func(r sql.Relation) bool { return r.Name == "" }) {
			t.Errorf("%s: %v", text, f.Relations)
		}
	}
}
