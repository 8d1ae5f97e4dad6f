package differential

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// canary is in every value of the masked columns of text, and in no statement.
const canary = "zQ7kXwV3pL9s"

// number is what every value of the masked column of numbers begins with.
var number = regexp.MustCompile(`\b17003[0-9]{5}\b`)

// hidden is what masked text is replaced by.
const hidden = "hidden-by-the-gate"

// masked are columns of the regression tests' own tables.
var masked = []string{"public.tenk1.stringu1", "public.tenk1.fivethous", "public.onek.stringu1", "public.onek2.stringu1", "public.tenk2.stringu1", "public.*.name",
	"public.text_tbl.f1", "public.varchar_tbl.f1"}

// plant puts the canary into the masked columns.
const plant = `
set session_replication_role = replica;
update tenk1 set stringu1 = 'zQ7kXwV3pL9s' || unique1, fivethous = 1700300000 + unique1;
update tenk2 set stringu1 = 'zQ7kXwV3pL9s' || unique1;
update onek set stringu1 = 'zQ7kXwV3pL9s' || unique1;
update onek2 set stringu1 = 'zQ7kXwV3pL9s' || unique1;
update person set name = 'zQ7kXwV3pL9s' || name;
update road set name = 'zQ7kXwV3pL9s' || name;
update text_tbl set f1 = 'zQ7kXwV3pL9s' || f1;
do $$ declare c record; begin
	-- Casts that somebody defined would shut the whole target, those of range types too.
	for c in select rngtypid::regtype as t from pg_range where rngtypid >= 16384 loop
		execute format('drop type %s cascade', c.t);
	end loop;
	for c in select castsource::regtype as s, casttarget::regtype as t from pg_cast where oid >= 16384 loop
		execute format('drop cast (%s as %s) cascade', c.s, c.t);
	end loop;
end $$;
alter table varchar_tbl alter column f1 type varchar(40);
update varchar_tbl set f1 = 'zQ7kXwV3pL9s' || f1;`

// planted are the canary's forms that an expression may give it.
func planted() [][]byte {
	r := []byte(canary)
	slices.Reverse(r)
	forms := []string{canary, string(r), hex.EncodeToString([]byte(canary)), hex.EncodeToString(r)}
	for from := range 3 {
		forms = append(forms, base64.StdEncoding.EncodeToString([]byte(canary)[from:from+9]))
	}
	var out [][]byte
	for _, f := range forms {
		out = append(out, []byte(strings.ToLower(f)))
	}
	return out
}

// leak returns what of a masked value is in a text, in any form; empty if nothing is.
func leak(b []byte, forms [][]byte) string {
	low := bytes.ToLower(b)
	for _, f := range forms {
		if bytes.Contains(low, f) {
			return string(f)
		}
	}
	return string(number.Find(b))
}

// shown counts what became of the statements on a target with masks.
type shown struct {
	t     *testing.T
	forms [][]byte

	mu                                             sync.Mutex
	file                                           string
	statements, passed, failed, denied, withMasked int
	codes, reasons                                 map[string]int
}

var code = regexp.MustCompile(`CDA-[0-9]{4}`)

var (
	sentence = regexp.MustCompile(`M(CDA-[0-9]{4}: [^\x00]*)`)
	name     = regexp.MustCompile(`"[^"]*"|masked column [^ ]*`)
)

// reason is why a statement was refused, without its names.
func reason(e []byte) string {
	found := sentence.FindSubmatch(e)
	if found == nil {
		return ""
	}
	return string(name.ReplaceAll(found[1], []byte("X")))
}

// often returns the most frequent reasons.
func often(reasons map[string]int, most int) string {
	list := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a, b))
	})
	var out strings.Builder
	for _, r := range list[:min(len(list), most)] {
		fmt.Fprintf(&out, "\n%6d %s", reasons[r], r)
	}
	return out.String()
}

// query forwards a Query and looks at every byte of the answer.
func (d *shown) query(w *wire, text []byte) error {
	refusal, why, failed, hidesValue := "", "", false, false
	w.seen = func(m message) {
		if form := leak(m.body(), d.forms); form != "" {
			d.t.Errorf("%s: %q is in %q, the answer to\n%s", d.file, form, m.body(), text)
		}
		switch m.kind {
		case 'E':
			failed = true
			refusal, why = string(code.Find(m.body())), reason(m.body())
		case 'D', 'd':
			hidesValue = hidesValue || bytes.Contains(m.body(), []byte(hidden))
		}
	}
	err := w.forward(text)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.statements++
	switch {
	case refusal != "":
		d.denied++
		d.codes[refusal]++
		d.reasons[why]++
	case failed:
		d.failed++
	default:
		d.passed++
	}
	if hidesValue {
		d.withMasked++
	}
	return err
}

// TestG3NoMaskedValueIsShown loads the tables of the regression tests, masks columns of
// them and sends every statement through the gate.
func TestG3NoMaskedValueIsShown(t *testing.T) {
	s := start(t)
	folder := source(t, s)
	prepare(t, s, folder)
	g := gatetest.Start(t, gatetest.Options{Server: s, User: "postgres", Password: s.Password, Access: "Full", Masked: masked, Function: "{fixed: {value: " + hidden + "}}"})
	d := &shown{t: t, forms: planted(), codes: map[string]int{}, reasons: map[string]int{}}
	r := newRelay(t, g.Port, g.CAFile, g.Grant, g.Password, d.query)
	for _, name := range sample(t, folder, regexp.MustCompile(`(?i)\b(tenk1|tenk2|onek|onek2|person|road|text_tbl|varchar_tbl)\b`)) {
		d.mu.Lock()
		d.file = name
		d.mu.Unlock()
		run(t, folder, name, r)
	}
	t.Logf("%d messages: %d passed, %d of them with masked values, %d failed at the server, %d were denied: %v", d.statements, d.passed, d.withMasked, d.failed, d.denied, d.codes)
	t.Logf("The most frequent reasons:%s", often(d.reasons, 40))
	if d.statements < 5000 || d.withMasked < 10 {
		t.Errorf("only %d messages, %d with masked values", d.statements, d.withMasked)
	}
	for _, e := range g.Events(t) {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if form := leak(b, d.forms); form != "" {
			t.Errorf("%q is in the recording: %s", form, b[:min(len(b), 2000)])
		}
	}
}

// prepare loads the tables without the gate.
func prepare(t *testing.T, s *pgtest.Server, folder string) {
	t.Helper()
	direct := newRelay(t, s.Port, s.CAFile, "postgres", s.Password, func(w *wire, text []byte) error { return w.forward(text) })
	for _, name := range []string{"test_setup", "create_index", "create_misc", "create_aggregate", "create_view", "inherit"} {
		run(t, folder, name, direct)
	}
	s.Exec(t, database, plant)
	if rows := s.Query(t, database, "select count(*) from tenk1 where stringu1 like 'zQ7kXwV3pL9s%' and fivethous::text like '17003%'"); rows[0][0] != "10000" {
		t.Fatalf("%s rows of tenk1 hold the canary", rows[0][0])
	}
}
