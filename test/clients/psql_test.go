package clients

import (
	"errors"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// describing are the commands of psql that look things up.
var describing = strings.Fields(`\d \d+ \dS \d_customers \d_orders \d+_orders \d_totals \d+_totals \d_totals_kept \d_events \d+_events \d_events_2026 \d_archive.orders
	\d_numbers \d_address \d_orders_total \d_customers_pkey \d_pg_class \d_information_schema.tables \d_o* \da \dA \dA+ \dAc \dAf \dAo \dAp \db \db+ \dc \dC \dC+ \dconfig
	\dconfig+ \dd \dD \dD+ \ddp \dE \des \det \deu \dew \df \df+ \df_twice \dfa \dfn \dft \dfp \dfw \dF \dF+_english \dFd \dFd+ \dFp \dFp+ \dFt \dFt+ \dg \dg+ \di \di+ \dl \lo_list \dL \dL+
	\dm \dm+ \dn \dn+ \do \dO \dO+ \dp \dp_orders \dP \dP+ \dPt \drds \dRp \dRs \ds \ds+ \dt \dt+ \dt_*.* \dtvs \dT \dT+ \dT_mood \du \du+ \dv \dv+ \dx \dx+ \dX \dy
	\l \sf_twice \sf+_twice \sv_totals \sv+_totals \z \encoding`)

// commands are other things that people do in psql, each alone.
var commands = []string{
	`select id, note, total from orders where id < 4 order by id \gx`,
	`select id, total from orders where id = 3 \gset got_` + "\n\\echo :got_id :got_total",
	`select id, note, at, tags, detail, how from orders \gdesc`,
	`select 'select ' || id from orders where id < 4 order by id \gexec`,
	`select customer, id % 2 as odd, count(*) from orders group by 1, 2 order by 1, 2 \crosstabview`,
	`select 1 as one \g | cat`,
	`\copy (select id, note from orders order by id) to stdout csv header`,
	`\copy orders (id, note) to /dev/null`,
	"begin;\n\\copy plain (note) from stdin\none\ntwo\n\\.\nselect count(*) from plain;\nrollback;",
	"begin;\ncopy plain (note) from stdin;\none\n\\.\nselect note from plain;\nrollback;",
	"begin;\ndeclare c cursor for select id from orders order by id;\nfetch 3 from c;\nmove 2 in c;\nfetch backward 1 from c;\nclose c;\ncommit;",
	"prepare p as select id from orders where id = $1;\nexecute p(3);\nexecute p(4);\ndeallocate p;",
	"\\set FETCH_COUNT 3\nselect id from orders order by id;\n\\unset FETCH_COUNT",
	"\\set AUTOCOMMIT off\nselect 1;\nrollback;\n\\set AUTOCOMMIT on",
	"\\set ON_ERROR_ROLLBACK on\nbegin;\nselect 1;\nselect 2;\ncommit;\n\\set ON_ERROR_ROLLBACK off",
	"begin;\ninsert into plain (note) values ('x') returning note;\nsavepoint s;\nupdate plain set note = 'y' where note = 'x';\nrollback to s;\nselect note from plain;\nrollback;",
	"begin;\nmerge into plain p using (values (1, 'x')) v(id, note) on p.id = v.id when not matched then insert (note) values (v.note);\nrollback;",
	"begin;\ncreate temp table scratch (id int);\ninsert into scratch select generate_series(1, 10);\nselect sum(id) from scratch;\nrollback;",
	"begin isolation level repeatable read read only;\nshow transaction_isolation;\ncommit;",
	"explain (costs off) select note from orders where id = 3;",
	"explain (analyze, costs off, timing off, summary off) select note from plain where id = 3;",
	"show server_version_num;\nshow timezone;\nset timezone = 'Asia/Tokyo';\nselect at from orders where id = 1;\nreset timezone;",
	"set statement_timeout = '30s';\nshow statement_timeout;",
	"analyze orders;\nvacuum plain;",
	"select 1;;\n;\n-- nothing\nselect 2 \\; select 3;",
	`\echo :DBNAME :SERVER_VERSION_NUM :ENCODING`,
	"\\if true\nselect 'yes';\n\\else\nselect 'no';\n\\endif",
	"select 'ünïcödé ☂', E'\\t', $$dollar$$, U&'\\0041', e'it''s';",
	"select c.name, o.total from customers c join orders o on o.customer = c.id where o.id < 5 order by o.id;",
	"with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select sum(i) from n;",
	"select id, rank() over (partition by customer order by total desc) from orders order by id limit 3;",
	"listen news;\nunlisten news;",
	"\\timing on\n\\timing off",
	"values (1, 'a'), (2, 'b');\ntable events;",
	"select * from totals order by customer;\nselect * from totals_kept order by 1;",
}

// failing are statements with errors: what psql says of them is compared too.
var failing = []string{
	"select nothing from orders;",
	"select 1/0;",
	"selct 1;",
	"select * from nowhere;",
	"insert into orders (customer, note) values (99, 'x');",
	"insert into orders (id) values (1);",
	"update orders set total = -1 where id = 1;",
	"\\copy nowhere from /dev/null",
	"begin;\nselect 1/0;\nselect 2;\ncommit;",
	"create table orders (id int);",
	"drop table if exists nowhere;",
	"fetch 1 from nothing;",
	"select 'a' ||;",
	"select 'ünï',\n  nothing\nfrom orders;",
	"select o.nothing from orders o;",
	"explain select nothing from orders;",
	"select 'ü' from orders \\; select * from nowhere;",
	"select * from nowhere.orders;",
	"select *\nfrm orders\nwhere 'ü' = 'ü';",
	"\\d nowhere",
	"\\sf nothing",
}

// fault is what psql shows of the faults of a text that programs and people look for: the
// SQLSTATE of what does not parse or is not there, and the place.
var fault = regexp.MustCompile(`ERROR: +(42601|42703|42P01|3F000)|(?m:^LINE .*\n *\^$)`)

// widths are the blanks and dashes that fill a table.
var widths = regexp.MustCompile(`([ -])[ -]*`)

// applicationName is what the gate says of itself to the server.
var applicationName = regexp.MustCompile(`application_name *\| [^\n|]+`)

// transcript runs commands in one psql and returns what each showed.
func transcript(t *testing.T, environment []string, list []string) map[string]string {
	t.Helper()
	const mark = "=-=-= "
	var script strings.Builder
	script.WriteString("\\o\n")
	for _, c := range list {
		script.WriteString("\\echo '" + mark + strings.ReplaceAll(strings.ReplaceAll(c, "\n", " ⏎ "), "'", "''") + "'\n" + c + "\n")
	}
	// One stream for both, so that an error is where it belongs.
	out := run(t, environment, script.String(), "/bin/sh", "-c", `exec "$0" -X -P pager=off -v VERBOSITY=verbose 2>&1`, pgtest.Bin(t, "psql"))
	shown := map[string]string{}
	for i, part := range strings.Split(out, mark)[1:] {
		_, text, _ := strings.Cut(part, "\n")
		text = applicationName.ReplaceAllString(text, "application_name NAME")
		if strings.HasPrefix(list[i], `\dconfig`) {
			// How wide the table is depends on the name that the gate gives the session.
			text = widths.ReplaceAllString(text, "$1")
		}
		shown[list[i]] = text
	}
	return shown
}

// commandsDescribing are the commands of describing; an underscore between words is a blank
// and one in a name is not.
func commandsDescribing() []string {
	var out []string
	for _, w := range describing {
		if command, name, ok := strings.Cut(w, "_"); ok && command != `\lo` {
			w = command + " " + name
		}
		out = append(out, w)
	}
	return out
}

// refusals are the commands of psql that the gate refuses, by what the refusal says. That
// of a target with masks may be lifted as more is proven harmless, and the command then
// has to show what it shows without the gate.
var refusals = map[bool]map[string]string{
	false: {`\deu`: "postgres-credentials"},
	true: {
		`\deu`: "postgres-credentials",
		// The view's expressions, and what a refusal by the server may quote.
		"select * from totals order by customer;\nselect * from totals_kept order by 1;": "CDA-2004",
		`\db+`: "words are withheld",
		"begin;\nmerge into plain p using (values (1, 'x')) v(id, note) on p.id = v.id when not matched then insert (note) values (v.note);\nrollback;": "CDA-2004",
	},
}

func TestPsqlShowsWhatItShowsWithoutTheGate(t *testing.T) {
	s := start(t)
	list := append(commandsDescribing(), commands...)
	transcript(t, direct(s), list) // the tables have their sizes and statistics after it
	want := transcript(t, direct(s), list)
	gates(t, s, func(t *testing.T, g *gatetest.Gate, isMasked bool) {
		got := transcript(t, g.Environment(database), list)
		after := transcript(t, direct(s), list) // what the server did for itself meanwhile shows in sizes
		for _, c := range list {
			refusal := refusals[isMasked][c]
			if d := cmp.Diff(want[c], got[c]); d != "" && got[c] != after[c] && (refusal == "" || !strings.Contains(got[c], refusal)) {
				t.Errorf("%s\n%s", c, d)
			}
		}
	})
}

func TestPsqlShowsErrorsAndNotices(t *testing.T) {
	s := start(t)
	list := slices.Concat(failing, []string{"select 'the session goes on';"})
	want := transcript(t, direct(s), list)
	gates(t, s, func(t *testing.T, g *gatetest.Gate, isMasked bool) {
		got := transcript(t, g.Environment(database), list)
		for _, c := range list {
			if !isMasked {
				if d := cmp.Diff(want[c], got[c]); d != "" && !strings.Contains(got[c], "CDA-2003") {
					t.Errorf("%s\n%s", c, d)
				}
				continue
			}
			if f := fault.FindAllString(want[c], -1); len(f) > 1 && !slices.Equal(f, fault.FindAllString(strings.ReplaceAll(got[c], "3F000", "42P01"), -1)) {
				t.Errorf("%s: the fault is shown as\n%s\nnot as\n%s", c, got[c], want[c])
			}
			if strings.Contains(want[c], "ERROR") && !regexp.MustCompile("ERROR: +").MatchString(got[c]) {
				t.Errorf("%s: an error is shown as %q", c, got[c])
			}
		}
		noCanary(t, strings.Join(slices.Collect(maps.Values(got)), ""))
	})
}

// A script ends at its first error, with the code that psql documents.
func TestPsqlStopsOnErrors(t *testing.T) {
	s := start(t)
	gates(t, s, func(t *testing.T, g *gatetest.Gate, _ bool) {
		out, errs, err := try(t, g.Environment(database), "\\set ON_ERROR_STOP on\nselect 'before';\nselect 1/0;\nselect 'after';\n", pgtest.Bin(t, "psql"), "-XAt")
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 3 || out != "before\n" || !strings.Contains(errs, "ERROR") {
			t.Errorf("%v: %q %q", err, out, errs)
		}
		out = run(t, g.Environment(database), "", pgtest.Bin(t, "psql"), "-XAt", "-1", "-c", "insert into plain (note) values ('one transaction')", "-c", "delete from plain where note = 'one transaction' returning note")
		if !strings.Contains(out, "one transaction\nDELETE 1") {
			t.Errorf("in one transaction: %q", out)
		}
		out, _, _ = try(t, g.Environment(database), "select 'watched' \\watch 0.1\n", "/bin/sh", "-c", `timeout -s INT 1 "$0" -XAt`, pgtest.Bin(t, "psql"))
		if strings.Count(out, "watched") < 2 {
			t.Errorf("\\watch: %q", out)
		}
	})
}
