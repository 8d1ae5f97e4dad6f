package postgres

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWithQueriesAreNoRelations holds that a name means a relation exactly where the server
// takes it for one.
func TestWithQueriesAreNoRelations(t *testing.T) {
	tests := map[string][]string{
		"with x as (select 1) select * from x":                                             nil,
		"with x as (select * from x) select * from x":                                      {"x"},
		"with recursive x as (select 1 union all select * from x) select * from x":         nil,
		"with a as (select * from b), b as (select 1) select * from a, b":                  {"b"},
		"with recursive a as (select * from b), b as (select 1) select * from a, b":        nil,
		"with a as (select 1), b as (select * from a) select * from b":                     nil,
		"with x as (select 1) select * from public.x":                                      {"public.x"},
		"with x as (select 1) select * from \"X\"":                                         {"X"},
		"with x as (select 1) insert into x select * from x":                               {"x"},
		"with x as (select 1) update x set a = 1 from x as y":                              {"x"},
		"with x as (select 1) delete from x using x as y":                                  {"x"},
		"with x as (select 1) merge into x using x as y on true when matched then delete":  {"x"},
		"with x as (select 1) select * into x from x":                                      {"x"},
		"select * from (with x as (select 1) select * from x) as y, x":                     {"x"},
		"with x as (select 1) select * from (with y as (select * from x) table y) as z, y": {"y"},
		"with x as (select 1) select (select 1 from x where exists (select from x))":       nil,
		"with x as (with y as (select 1) select * from y) select * from x, y":              {"y"},
		"(with x as (select 1) select * from x) union select * from x":                     {"x"},
		"with x as (select 1) select * from x union select * from x":                       nil,
		"with x as (select 1) select * from x; select * from x":                            {"x"},
		"with x as (delete from x returning *) select * from x":                            {"x"},
		"select * from t as a for update of a":                                             {"t"},
		"select * from t for update":                                                       {"t"},
		"with x as (select 1) select * from t, x for update of t":                          {"t"},
	}
	a := newAnalyzer(t)
	for text, want := range tests {
		f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil || !f.Known {
			t.Fatalf("%s: %v %s", text, err, f.Unknown)
		}
		var got []string
		for _, r := range f.Relations {
			name := r.Name
			if r.Schema != "" {
				name = r.Schema + "." + name
			}
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}
