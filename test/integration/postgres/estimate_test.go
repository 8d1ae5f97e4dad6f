package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// executed is the server's log without the questions for a plan, which execute nothing.
func executed(t testing.TB, server *pgtest.Server) string {
	t.Helper()
	var lines []string
	for _, line := range strings.Split(server.Log(t), "\n") {
		if !strings.Contains(line, "EXPLAIN (FORMAT JSON)") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestApproversSeeHowManyRows(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", `create table orders(id int primary key, note text); insert into orders select i, 'x' from generate_series(1, 1000) i; analyze orders;
create table leak(id int);
create function spill() returns int language sql volatile as 'insert into leak values (1) returning id';
create function lie(int, int) returns bool language plpgsql immutable as 'begin perform spill(); return true; end';
create operator === (leftarg = int, rightarg = int, function = lie)`)
	g := start(t, server, rule("destructive", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete", "Update", "Insert"}}))
	c := g.grant("agent", v1alpha1.AccessFull)
	held := func(t *testing.T, fe *raw) *v1alpha1.ApprovalRequest {
		t.Helper()
		notice := fe.until("Notice")
		_, rest, ok := strings.Cut(notice, "ApprovalRequest ")
		if !ok {
			t.Fatalf("got %s", notice)
		}
		name, _, _ := strings.Cut(rest, " ")
		if strings.Contains(strings.ToLower(notice), "rows") {
			t.Errorf("the client learns of the estimate: %s", notice)
		}
		r, err := g.requests.Get(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	answered := func(t *testing.T, fe *raw, r *v1alpha1.ApprovalRequest, want string) {
		t.Helper()
		g.requests.Decide(r.Name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
		if got := fe.untilReady(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for name, tc := range map[string]struct {
		statement string
		want      int64 // -1: not known
		answer    string
	}{
		"one":                      {"delete from orders where id = 1000", 1, "DELETE 1"},
		"many":                     {"update orders set note = 'y' where id <= 500", 500, "UPDATE"},
		"rows that come back":      {"delete from orders where id = 999 returning id", 1, "DELETE 1"},
		"from a query":             {"insert into orders select id + 10000, note from orders where id = 5", 1, "INSERT 0 1"},
		"the planner fails":        {"delete from orders where id = 1/0", -1, "ERROR(22012"},
		"no such table":            {"delete from nowhere", -1, "ERROR(42P01"},
		"two statements":           {"delete from orders where id = 2; select 1", -1, "DELETE 1"},
		"a dollar in the text":     {"delete from orders where note = '$1'", -1, "DELETE 0"},
		"an operator that changes": {"delete from orders where 1 === 2 and id = 3", -1, "DELETE 1"},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			before := server.Query(t, "postgres", "select count(*) from leak")
			fe.send(query(tc.statement))
			r := held(t, fe)
			got := int64(-1)
			if n := r.Spec.Command.EstimatedRows; n != nil {
				got = *n
			}
			if got < tc.want-tc.want/10 || got > tc.want+tc.want/10 {
				t.Errorf("%d rows are estimated, want %d", got, tc.want)
			}
			if leaked := server.Query(t, "postgres", "select count(*) from leak"); leaked[0][0] != before[0][0] {
				t.Error("the question for a plan changed something")
			}
			answered(t, fe, r, tc.answer)
		})
	}
	t.Run("extended, with parameters", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("s", "update orders set note = $2 where id <= $1"), &pgproto3.Describe{ObjectType: 'S', Name: "s"}, sync())
		fe.untilReady()
		fe.send(bind("", "s", 0, "100", "z"), execute("", 0), sync())
		r := held(t, fe)
		if n := r.Spec.Command.EstimatedRows; n == nil || *n < 50 || *n > 150 {
			t.Errorf("estimate = %v", n)
		}
		if got := strings.Join(r.Spec.Command.Parameters, ","); got != "100,z" {
			t.Errorf("parameters = %s", got)
		}
		answered(t, fe, r, "UPDATE")
	})
	t.Run("a lock is not waited for", func(t *testing.T) {
		owner := connect(t, server.URI("postgres", "postgres", server.Password))
		tx, err := owner.Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(context.Background(), "lock table orders in access exclusive mode"); err != nil {
			t.Fatal(err)
		}
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id = 78"))
		r := held(t, fe)
		if r.Spec.Command.EstimatedRows != nil {
			t.Error("rows are estimated of a table that is locked")
		}
		if !strings.Contains(server.Log(t), "canceling statement due to lock timeout") {
			t.Error("something else than the bound on locks ended the question")
		}
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
		answered(t, fe, r, "DELETE 1")
	})
	t.Run("in a transaction nothing is asked", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", ""))
		tx, err := conn.Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		before := len(g.requests.All())
		if _, err := tx.Exec(context.Background(), "delete from orders where id = 77", pgx.QueryExecModeSimpleProtocol); err == nil || !strings.Contains(err.Error(), "CDA-3001") {
			t.Errorf("err = %v", err)
		}
		all := g.requests.All()
		if len(all) != before+1 {
			t.Fatalf("%d requests", len(all)-before)
		}
		for _, r := range all {
			if strings.Contains(r.Spec.Command.Text, "id = 77") && r.Spec.Command.EstimatedRows != nil {
				t.Error("the target was asked in the client's transaction")
			}
		}
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
