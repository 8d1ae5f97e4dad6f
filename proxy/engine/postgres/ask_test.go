package postgres

import (
	"crypto/rand"
	"io"
	"strings"
	"testing"

	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// TestQuestions covers the names of the gate's own statements: they are prepared once,
// anew under other names after they were given up, and are nobody else's.
func TestQuestions(t *testing.T) {
	r, _ := bench(t, true, strings.NewReader(""), io.Discard)
	r.engine.c.Random, r.secret = rand.Reader, "own"
	q := pgsql.Question{SQL: "select $1", Arguments: []string{"x"}}
	flight := func() (string, string) {
		t.Helper()
		m, kinds, err := r.flight([]pgsql.Question{q})
		if err != nil {
			t.Fatal(err)
		}
		var letters []byte
		for f := newFrames(strings.NewReader(string(m))); ; {
			kind, size, err := f.head()
			if err != nil {
				break
			}
			if _, err := f.whole(size); err != nil {
				t.Fatal(err)
			}
			letters = append(letters, kind)
		}
		if len(kinds) != len(letters) {
			t.Errorf("%d answers are awaited for %q", len(kinds), letters)
		}
		return r.questions.names[q.SQL], string(letters)
	}
	first, sent := flight()
	if sent != "PBEC" || !r.owns([]byte(first)) || !r.owns([]byte("own")) || r.owns([]byte("s")) {
		t.Errorf("%q, sent %q", first, sent)
	}
	if again, sent := flight(); again != first || sent != "BEC" {
		t.Errorf("%q, then %q, sent %q", first, again, sent)
	}
	r.questions.forget()
	if renamed, sent := flight(); renamed == first || sent != "CPBEC" {
		t.Errorf("%q, then %q, sent %q", first, renamed, sent)
	}
}
