package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG5ApprovedOnceIsEnough approves a command while others commit: nobody is asked for the
// same execution again, and it is executed once.
func TestG5ApprovedOnceIsEnough(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+"; create table counter (n int); insert into counter values (0); create table noise (n int)")
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"),
				rule("writes", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Update"}}))
			fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
			server.Exec(t, "postgres", "update counter set n = 0")
			const rounds = 6
			for i := range rounds {
				answer := make(chan string, 1)
				go func() { answer <- send(fe, "update counter set n = n + 1") }()
				var name string
				eventually(t, "it is held", func() bool {
					for _, r := range g.requests.All() {
						if len(r.Status.Decisions) == 0 {
							name = r.Name
						}
					}
					return name != ""
				})
				if i > 2 {
					server.Exec(t, "postgres", "insert into noise values (1)")
				}
				g.requests.Decide(name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
				eventually(t, "it is answered", func() bool {
					if n := len(g.requests.All()); n != i+1 {
						t.Errorf("%d requests for %d commands", n, i+1)
						return true
					}
					return len(answer) > 0
				})
				if t.Failed() {
					return
				}
				if got := <-answer; !strings.Contains(got, "Complete(UPDATE 1)") {
					t.Errorf("got %s", got)
				}
			}
			if n := server.Query(t, "postgres", "select n from counter")[0][0]; n != "6" {
				t.Errorf("%d updates added %s", rounds, n)
			}
		})
	}
}

// TestG5ApprovedAsItWasMeant: a command that was approved is another one under settings by
// which its constants say something else.
func TestG5ApprovedAsItWasMeant(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table visits (day date); insert into visits values ('2024-01-15')")
	g := start(t, server, rule("deletes", v1alpha1.ActionRequireApproval, v1alpha1.PendingReject, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
	ask := func(text string) string {
		fe.send(query(text))
		return fe.untilReady()
	}
	const text = "delete from visits where day < '02/01/2024'"
	if got := ask(text); !strings.Contains(got, "CDA-3001") {
		t.Fatal(got)
	}
	g.requests.Decide(g.requests.All()[0].Name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
	for _, setting := range []string{"datestyle = 'ISO, DMY'", "timezone = 'Asia/Tokyo'", "transform_null_equals = on"} {
		ask("set " + setting)
		if got := ask(text); !strings.Contains(got, "CDA-3001") {
			t.Errorf("with %s it was executed: %s", setting, got)
		}
		name, _, _ := strings.Cut(setting, " ")
		ask("reset " + name)
	}
	if got := ask(text); !strings.Contains(got, "Complete(DELETE 1)") {
		t.Error(got)
	}
}

// TestG5ApprovedInAPipeline has what was approved parsed or bound by another path or other
// settings than those by which it was approved, and set back before it is executed.
func TestG5ApprovedInAPipeline(t *testing.T) {
	server := pgtest.Start(t)
	set := func(what string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{parse("", what), bind("", "", 0), execute("", 0)}
	}
	const byName, byDay = "delete from visits", "delete from public.visits where day < '02/01/2024'"
	for name, test := range map[string]struct {
		text, want string
		flights    [][]pgproto3.FrontendMessage
	}{
		"as approved":            {byName, "DELETE 1", [][]pgproto3.FrontendMessage{{parse("s", byName), bind("", "s", 0), execute("", 0), sync()}}},
		"set before the Bind":    {byName, "CDA-3001", [][]pgproto3.FrontendMessage{{parse("s", byName)}, set("set search_path = two"), {bind("", "s", 0), execute("", 0), sync()}}},
		"set before the Execute": {byName, "CDA-2005", [][]pgproto3.FrontendMessage{{parse("s", byName)}, set("set search_path = two"), {bind("p", "s", 0)}, set("set search_path = public"), {execute("p", 0), sync()}}},
		"set by EXECUTE": {byName, "CDA-2005", [][]pgproto3.FrontendMessage{{query("prepare x as select set_config('search_path', 'two', false)"), query("prepare y as select set_config('search_path', '\"$user\", public', false)"),
			parse("", "execute x"), bind("", "", 0), execute("", 0), parse("", byName), bind("p", "", 0)}, set("execute y"), {execute("p", 0), sync()}}},
		"set back":                   {byName, "DELETE 1", [][]pgproto3.FrontendMessage{set("set search_path = two"), {parse("s", byName)}, set("reset search_path"), {bind("", "s", 0), execute("", 0), sync()}}},
		"set back in another flight": {byDay, "DELETE 1", [][]pgproto3.FrontendMessage{set("set datestyle = 'ISO, DMY'"), {parse("s", byDay), sync()}, set("set datestyle = 'ISO, MDY'"), {sync(), bind("", "s", 0), execute("", 0), sync()}}},
		"undone by a failure":        {byDay, "DELETE 1", [][]pgproto3.FrontendMessage{set("set datestyle = 'ISO, DMY'"), {parse("s", byDay), parse("", "no statement"), sync(), bind("", "s", 0), execute("", 0), sync()}}},
		"undone by its end":          {byDay, "DELETE 1", [][]pgproto3.FrontendMessage{set("set local datestyle = 'ISO, DMY'"), {parse("s", byDay), sync(), bind("", "s", 0), execute("", 0), sync()}}},
		"undone by a rollback":       {byDay, "DELETE 1", [][]pgproto3.FrontendMessage{{query("begin"), query("set datestyle = 'ISO, DMY'"), parse("s", byDay), sync(), query("rollback"), bind("", "s", 0), execute("", 0), sync()}}},
	} {
		t.Run(name, func(t *testing.T) {
			server.Exec(t, "postgres", `drop schema if exists two cascade; drop table if exists visits; create schema two;
				create table visits (day date); insert into visits values ('2024-01-15'); create table two.visits (day date); insert into two.visits values ('2024-01-15')`)
			g := start(t, server, rule("deletes", v1alpha1.ActionRequireApproval, v1alpha1.PendingReject, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
			fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
			fe.send(parse("", test.text), bind("", "", 0), execute("", 0), sync())
			if got := fe.untilReady(); !strings.Contains(got, "CDA-3001") {
				t.Fatal(got)
			}
			g.requests.Decide(g.requests.All()[0].Name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
			ready := 0
			for _, f := range test.flights {
				fe.send(f...)
				for _, m := range f {
					switch m.(type) {
					case *pgproto3.Sync, *pgproto3.Query:
						ready++
					}
				}
			}
			answers := make([]string, ready)
			for i := range answers {
				answers[i] = fe.untilReady()
			}
			got := strings.Join(answers, "\n")
			if !strings.Contains(got, test.want) {
				t.Errorf("want %s, got %s", test.want, got)
			}
			if n := server.Query(t, "postgres", "select count(*) from two.visits")[0][0]; n != "1" {
				t.Errorf("the row of another table is deleted: %s", got)
			}
		})
	}
}
