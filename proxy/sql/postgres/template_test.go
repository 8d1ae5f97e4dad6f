package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// knows reports whether an analyser that has seen text knows other without parsing it.
func knows(t *testing.T, text, other string) bool {
	t.Helper()
	a := newAnalyzer(t)
	analyzed(t, a, text)
	return a.templates.get([]byte(other)) != nil
}

func analyzed(t *testing.T, a *Analyzer, text string) *sql.Facts {
	t.Helper()
	f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestTemplates says which constants may differ. Where one may not, the text is parsed.
func TestTemplates(t *testing.T) {
	for name, tc := range map[string]struct {
		text, other string
		want        bool
	}{
		"compared":           {"select a from t where id = 1", "select a from t where id = 999999999", true},
		"compared string":    {"select a from t where id = 'x' and t.n=2;", "select a from t where id = 'other -- /* words' and t.n=3;", true},
		"written":            {"insert into t values (1, 'a', now()), (-2, '', 3)", "insert into t values (10, 'b', now()), (-0, 'x', 3)", true},
		"assigned":           {"update t set a = 1, b = b + -5 where id = 3", "update t set a = 12, b = b + -77 where id = 4", true},
		"deleted":            {"delete from t where id = 3", "delete from t where id = 33", true},
		"other class":        {"select a from t where id = 1", "select a from t where id = '1'", false},
		"big integer":        {"select a from t where id = 1", "select a from t where id = 1234567890", false},
		"decimal":            {"select a from t where id = 1", "select a from t where id = 1.5", false},
		"junk behind":        {"select a from t where id = 1", "select a from t where id = 1or 1=1", false},
		"hexadecimal":        {"select a from t where id = 0", "select a from t where id = 0x10", false},
		"other sign":         {"select a from t where id = 1", "select a from t where id = -1", false},
		"limit":              {"select a from t where id = 1 limit 5", "select a from t where id = 1 limit 0", false},
		"ordinal":            {"select a, b from t where id = 1 order by 1", "select a, b from t where id = 1 order by 2", false},
		"tautology":          {"delete from t where 1 = 2", "delete from t where 1 = 1", false},
		"or tautology":       {"delete from t where id = 1 or 2 = 3", "delete from t where id = 1 or 2 = 2", false},
		"constant on left":   {"delete from t where 1 = id", "delete from t where 2 = id", false},
		"disjunction":        {"delete from t where id = 1 or id = 2", "delete from t where id = 3 or id = 4", false},
		"pattern":            {"delete from t where id like 'a'", "delete from t where id like '%'", false},
		"argument":           {"select set_config('a.b', 'x', true)", "select set_config('role', 'x', true)", false},
		"compared argument":  {"select set_config(a, 'x', true) from v where a = 'jit'", "select set_config(a, 'x', true) from v where a = 'role'", false},
		"argument compared":  {"select a from t where id = f('a')", "select a from t where id = f('b')", false},
		"cast":               {"select a from t where id = 'a'::text", "select a from t where id = 'b'::text", false},
		"typed":              {"select a from t where id = date '2020-01-01'", "select a from t where id = date '2020-01-02'", false},
		"own operator":       {"select a from t where id operator(public.=) 1", "select a from t where id operator(public.=) 2", false},
		"other operator":     {"select a from t where id == 1", "select a from t where id == 2", false},
		"row":                {"select a from t where (a, b) = (1, 2)", "select a from t where (a, b) = (1, 3)", false},
		"output":             {"select 1 from t where id = 1", "select 2 from t where id = 1", false},
		"in a sub-select":    {"select a from (select a from t where id = 1) s", "select a from (select a from t where id = 2) s", false},
		"in a with query":    {"with x as (delete from t where id = 1) select 1", "with x as (delete from t where id = 2) select 1", false},
		"set operation":      {"select a from t where id = 1 union select 1", "select a from t where id = 2 union select 1", false},
		"two statements":     {"select a from t where id = 1; select 2", "select a from t where id = 3; select 2", false},
		"setting":            {"set work_mem = 1", "set work_mem = 2", false},
		"catalog":            {"select 1 from pg_settings where name = 'a'", "select 1 from pg_settings where name = 'b'", false},
		"schema of a server": {"update pg_catalog.x set a = 'a' where name = 'a'", "update pg_catalog.x set a = 'b' where name = 'b'", false},
		"backslash":          {`select a from t where id = 'a'`, `select a from t where id = 'a\'`, false},
		"doubled quote":      {"select a from t where id = 'a'", "select a from t where id = 'a''b'", false},
		"continued":          {"select a from t where id = 'a'", "select a from t where id = 'a'\n'b'", false},
		"escape string":      {"select a from t where id = 'a'", "select a from t where id = E'a'", false},
		"unicode string":     {"select a from t where id = 'a'", "select a from t where id = U&'a'", false},
		"dollar":             {"select a from t where id = 'a'", "select a from t where id = $$a$$", false},
		"comment":            {"select a from t where id = 1", "select a from t where id = 1--", false},
		"not ASCII":          {"select a from t where id = 'a'", "select a from t where id = 'ä'", false},
		"zero byte":          {"select a from t where id = 'a'", "select a from t where id = '\x00'", false},
		"other names":        {"select a from t where id = 1", "select a from u where id = 1", false},
		"no template":        {"select a from t", "select a from t", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := knows(t, tc.text, tc.other); got != tc.want {
				t.Errorf("known = %t, want %t", got, tc.want)
			}
		})
	}
}

// TestTemplatesKeepWhatIsThere says that of two texts with one skeleton and different other
// constants the first keeps its template.
func TestTemplatesKeepWhatIsThere(t *testing.T) {
	a := newAnalyzer(t)
	analyzed(t, a, "select a from t where id = 1 limit 5")
	analyzed(t, a, "select a from t where id = 1 limit 6")
	if a.templates.get([]byte("select a from t where id = 2 limit 5")) == nil || a.templates.get([]byte("select a from t where id = 2 limit 6")) != nil {
		t.Error("the template was replaced")
	}
	if a.cache.get([]byte("select a from t where id = 1 limit 6")) == nil {
		t.Error("the other text is not remembered")
	}
}

func TestTemplatesAreBounded(t *testing.T) {
	a := newAnalyzer(t)
	a.templates.most = 2
	for _, table := range []string{"a", "b", "c", "d", "e"} {
		analyzed(t, a, "select 1 from "+table+" where id = 1")
		if n := len(a.templates.of); n > 2 {
			t.Fatalf("%d templates", n)
		}
	}
}

// variants are texts that differ from one in the values of constants, in ways that have
// meant something somewhere.
func variants(text string) []string {
	var list []string
	_, constants, ok := skeleton(nil, []byte(text))
	if !ok {
		return nil
	}
	for _, values := range [][2]string{{"1", "'x'"}, {"0", "''"}, {"2", "'%'"}, {"999999999", "'true'"}, {"00", "'public.customers'"}} {
		var b strings.Builder
		at := 0
		for _, c := range constants {
			b.WriteString(text[at:c.Start])
			if text[c.Start] == '\'' {
				b.WriteString(values[1])
			} else {
				b.WriteString(values[0])
			}
			at = c.End
		}
		list = append(list, b.String()+text[at:])
	}
	return list
}

// FuzzTemplate compares what a template knows of a text with what its analysis says.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"select a from t where id = 1 and b = 'x'", "insert into t values (1, 'a', -3)", "update t set a = a + 1 where id = 3",
		"delete from t where id = 3 and 'a' = 'a'", "select a from t where \"Id\" = 1 order by 2 limit 3", "select a from t where id =1and b= 2", "select a[1:2] from t where id =- 1",
		"select a from t where id = 1 for update", "update t set (a, b) = (1, 2) where id = 1 returning 1", "insert into t values (1) on conflict (a) do update set a = 2 where t.b = 3"} {
		f.Add(text)
	}
	a, plain := newAnalyzer(f), newAnalyzer(f)
	plain.cache.most, plain.templates.most = 0, 0
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 512 {
			return
		}
		for _, v := range append([]string{text}, variants(text)...) {
			got, want := analyzed(t, a, v), analyzed(t, plain, v)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q (-analysis +template):\n%s", v, diff)
			}
		}
	})
}
