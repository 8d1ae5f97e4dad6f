package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// lines makes a table whose masked values are full of what COPY has to write in another way.
const lines = `create table people (id int primary key, note text, ssn text, born date, pay int, code varchar(12), made text generated always as ('n' || id) stored);
insert into people (id, note, ssn, born, pay, code) values (1, 'plain', '123-45-6789', '1990-05-06', 1234, 'a'), (2, E'tab\there, "quoted"', E'123\t45\n"6789"\\,x', null, null, 'secret'),
(3, '\N', '\N', '1991-02-03', 5, ''), (4, null, null, null, null, null), (5, '\.', '\.', null, 0, 'none'), (6, '', '', null, 0, 'é,1')`

// TestG3CopiedLinesAreMasked copies out what is masked in every form that is admitted, and
// reads it back with a server: each line has the values that SELECT shows.
func TestG3CopiedLinesAreMasked(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", lines)
	g := start(t, server, masking(v1alpha1.MaskFunction{Partial: &v1alpha1.PartialFunction{KeepLast: 2}}, "public.people.ssn", "public.people.code", "public.people.pay"))
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessReadWrite), "postgres", ""))
	direct := connect(t, server.URI("postgres", "postgres", server.Password))
	const columns = "id, note, ssn, born, pay, code"
	read := func(table string) [][]string {
		on := direct
		if table == "people" {
			on = conn
		}
		results, err := on.PgConn().Exec(t.Context(), "select "+columns+" from "+table+" order by id").ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var out [][]string
		for _, row := range results[0].Rows {
			var values []string
			for _, v := range row {
				values = append(values, fmt.Sprintf("%q %t", v, v == nil))
			}
			out = append(out, values)
		}
		return out
	}
	want := read("people")
	if len(want) != 6 || strings.Contains(want[0][2], "123") {
		t.Fatalf("SELECT shows %q", want)
	}
	for _, form := range []string{"", "(delimiter ',')", "(delimiter '|')", "(format csv)", "(format csv, delimiter ';', header)", "(format csv, header true, force_quote *)",
		"(format csv, null 'none')", "(format csv, null '*******89', header false)", "csv header", "(format csv, delimiter E'\\t')"} {
		for _, what := range []string{"people", "people (" + columns + ")", "(select " + columns + " from people)", "(with q as (select * from people) select " + columns + " from q)"} {
			t.Run(what+" "+form, func(t *testing.T) {
				var out bytes.Buffer
				if _, err := conn.PgConn().CopyTo(t.Context(), &out, "copy "+what+" to stdout "+form); err != nil {
					t.Fatal(err)
				}
				noSecret(t, "the lines", strings.ReplaceAll(out.String(), `"`, ""))
				if _, err := direct.Exec(t.Context(), "drop table if exists shown; create table shown (id int, note text, ssn text, born date, pay int, code text)"); err != nil {
					t.Fatal(err)
				}
				if _, err := direct.PgConn().CopyFrom(t.Context(), &out, "copy shown from stdin "+strings.Replace(form, ", force_quote *", "", 1)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, read("shown")); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	fe := frontend(t, g, g.grant("other", v1alpha1.AccessReadWrite), "postgres")
	fe.send(query("select 1; copy people (ssn) to stdout (format csv, header); copy people (ssn) to stdout"))
	if got := fe.untilReady(); !strings.Contains(got, "CopyData(ssn\n)") || strings.Contains(got, "123") || !strings.HasSuffix(got, "Complete(COPY 6) Ready(I)") {
		t.Errorf("several: %s", got)
	}
	fe.send(query("copy (select pid, query from pg_catalog.pg_stat_activity where pid = pg_backend_pid()) to stdout"))
	if got := fe.untilReady(); !strings.Contains(got, "\\N\n)") || !strings.HasSuffix(got, "Complete(COPY 1) Ready(I)") {
		t.Errorf("a hidden column: %s", got)
	}
	in := "7\t987-65-4321\n"
	if tag, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(in), "copy people (id, ssn) from stdin"); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("copy in: %v %v", tag, err)
	}
	if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(in), "copy people (id, ssn) from stdin where ssn like '9%'"); sqlState(err) != "42501" {
		t.Errorf("a condition: %v", err)
	}
	if got := server.Query(t, "postgres", "select ssn from people where id = 7"); len(got) != 1 || got[0][0] != "987-65-4321" {
		t.Errorf("written: %v", got)
	}
	if events := g.events(t); strings.Contains(events, "secret") || strings.Contains(events, "6789") || strings.Contains(events, "4321") {
		t.Error("a masked value is in the recording")
	}
}
