package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestTemplatesOnMaskedTarget compares what a session remembers of the honest users'
// statements, with other constants, with what an analysis of them says.
func TestTemplatesOnMaskedTarget(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	analyze := func(text string) *sql.Facts {
		f, err := b.analyzer.Analyze(t.Context(), input(b, text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return f
	}
	texts := append(lines(t, "benign.sql"), "select ssn from customers where id = 1", "select id, ssn from customers where id = 1 and name = 'x'")
	known := 0
	for _, text := range texts {
		if err := b.c.Exec(t.Context(), "rollback").Close(); err != nil {
			t.Fatal(err)
		}
		b.catalog.Forget()
		f := analyze(text)
		for _, digits := range []string{"1", "0", "77"} {
			other := strings.ReplaceAll(text, "1", digits)
			got := postgres.Remembered(input(b, other))
			if got == nil || other == text {
				continue
			}
			known++
			if got.Definitions != f.Definitions {
				t.Errorf("%s: relies on other definitions than %s", other, text)
			}
			b.catalog.Forget()
			want := analyze(other)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(sql.Facts{}, "Definitions")); diff != "" {
				t.Errorf("%s (-analysis +remembered):\n%s", other, diff)
			}
			f = analyze(text)
		}
	}
	if known < 5 {
		t.Errorf("%d texts were known by others", known)
	}
}

func input(b *backend, text string) postgres.Input {
	return postgres.Input{Text: []byte(text), Columns: masks{}, Catalog: b.catalog, Version: "1"}
}
