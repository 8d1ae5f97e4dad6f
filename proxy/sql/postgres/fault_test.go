package postgres

import (
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// A fault of a text is pointed at in characters, as the server does.
func TestSyntaxFault(t *testing.T) {
	a := newAnalyzer(t)
	for text, want := range map[string]int{
		"selct 1":                    1,
		"select *\nfrm t\nwhere a":   10,
		"select 'ü☂'\nfrom t wher 1": 25,
	} {
		f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		if f.Known || f.Fault.Kind != sql.FaultSyntax || f.Fault.Position != want || f.Fault.Advice == "" {
			t.Errorf("%q: %+v, want position %d", text, f.Fault, want)
		}
	}
}
