package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// limited starts a gate whose limits go by a clock that the test moves.
func limited(t *testing.T, server *pgtest.Server, options ...option) (*gate, *clocktesting.FakeClock) {
	t.Helper()
	clk := clocktesting.NewFakeClock(time.Now())
	return start(t, server, append(options, func(_ *gate, c *engpg.Config) { c.Clock = clk })...), clk
}

// limit sets the limits of the target; zero takes one away.
func limit(g *gate, idle, statement time.Duration) {
	g.apply(func(in *policy.Input) {
		target := in.Targets[0].DeepCopy()
		target.Spec.IdleTimeout, target.Spec.Postgres.StatementTimeout = nil, nil
		if idle > 0 {
			target.Spec.IdleTimeout = &metav1.Duration{Duration: idle}
		}
		if statement > 0 {
			target.Spec.Postgres.StatementTimeout = &metav1.Duration{Duration: statement}
		}
		in.Targets[0] = target
	})
}

// pass lets so much time pass in steps in which the gate looks at the session.
func pass(t *testing.T, clk *clocktesting.FakeClock, d time.Duration) {
	t.Helper()
	for ; d > 0; d -= time.Second {
		eventually(t, "the gate looks again", clk.HasWaiters)
		clk.Step(time.Second)
	}
}

// answer receives in the background, and lets time pass until that is done.
func (r *raw) answer(clk *clocktesting.FakeClock, end string) string {
	r.t.Helper()
	got := make(chan string, 1)
	go func() { got <- r.until(end) }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case s := <-got:
			return s
		case <-look.C:
			clk.Step(time.Second)
		}
	}
}

func TestLimits(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders(id int); create table t(id int)")
	t.Run("idleTimeout", func(t *testing.T) { idleTimeout(t, server) })
	t.Run("statementTimeout", func(t *testing.T) { statementTimeout(t, server) })
}

func idleTimeout(t *testing.T, server *pgtest.Server) {
	g, clk := limited(t, server, rule("held", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	for name, silent := range map[string][]pgproto3.FrontendMessage{
		"at once":                    nil,
		"in a transaction":           {query("begin")},
		"behind a Parse without end": {parse("", "select 1")},
	} {
		t.Run(name, func(t *testing.T) {
			limit(g, 0, 0)
			fe := frontend(t, g, c, "postgres")
			pass(t, clk, time.Hour/10)
			limit(g, time.Minute, 0) // holds for sessions that are there
			fe.send(silent...)
			if got := fe.answer(clk, "FATAL"); !strings.Contains(got, "FATAL(57P05 CDA-1015: nothing was sent for 1m0s") {
				t.Errorf("got %s", got)
			}
			if refusal := new(policy.Refusal); !asRefusal(g.over(t), refusal) || refusal.Code != policy.CodeIdle {
				t.Errorf("ended with %v", refusal)
			}
		})
	}
	limit(g, time.Minute, 0)
	t.Run("a statement that runs is not idle", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("select pg_sleep(1000)"))
		eventually(t, "the statement runs", func() bool { return strings.Contains(server.Log(t), "pg_sleep(1000)") })
		pass(t, clk, 5*time.Minute)
		secure(t, g, "", cancelRequest(t, fe.h.PID, fe.h.SecretKey))
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014 canceling statement due to user request") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a held command is not idle", func(t *testing.T) {
		limit(g, time.Minute, time.Minute)
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id = 1"))
		notice := fe.until("Notice")
		_, rest, _ := strings.Cut(notice, "ApprovalRequest ")
		request, _, _ := strings.Cut(rest, " ")
		pass(t, clk, 5*time.Minute)
		g.requests.Decide(request, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
		if got := fe.untilReady(); got != "Complete(DELETE 0) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
}

func statementTimeout(t *testing.T, server *pgtest.Server) {
	for kind, options := range map[string][]option{"": nil, ", with masks": {masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.t.id")}} {
		g, clk := limited(t, server, options...)
		c := g.grant("agent", v1alpha1.AccessReadWrite)
		limit(g, 0, time.Minute)
		const late = "ERROR(57014 CDA-1012: the statement ran for longer than 1m0s and was cancelled)"
		for name, send := range map[string][]pgproto3.FrontendMessage{
			"a query":             {query("select pg_sleep(1000)")},
			"the second of two":   {query("select 1; select pg_sleep(1000)")},
			"by the extended one": {parse("", "select pg_sleep(1000)"), bind("", "", 0), execute("", 0), sync()},
		} {
			if kind != "" && name == "the second of two" {
				continue // refused with masks
			}
			t.Run(name+kind, func(t *testing.T) {
				fe := frontend(t, g, c, "postgres")
				fe.send(send...)
				eventually(t, "the statement runs", func() bool {
					return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where wait_event = 'PgSleep'")) == 1
				})
				// Not so long that the session ends because the target is slow to cancel it.
				pass(t, clk, 66*time.Second)
				if got := fe.until("Ready"); !strings.Contains(got, late) {
					t.Errorf("got %s", got)
				}
				fe.send(query("select 'next'"))
				if got := fe.untilReady(); !strings.Contains(got, "DataRow(next)") {
					t.Errorf("got %s", got)
				}
				if !strings.Contains(g.events(t), "ran for longer than 1m0s") {
					t.Error("the recording does not say why the statement failed")
				}
			})
		}
		t.Run("many short ones"+kind, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			for range 20 {
				fe.send(query("select 1"))
				if got := fe.untilReady(); !strings.Contains(got, "DataRow(1)") {
					t.Fatalf("got %s", got)
				}
				pass(t, clk, 10*time.Second)
			}
		})
	}
	g, clk := limited(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	limit(g, 0, time.Minute)
	t.Run("COPY of a client that sends nothing", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("copy t from stdin"))
		if got := fe.answer(clk, "FATAL"); !strings.Contains(got, "FATAL(57014 CDA-1012: the statement ran for longer than 1m0s and could not be cancelled") {
			t.Errorf("got %s", got)
		}
		_ = g.over(t)
	})
	t.Run("COPY of a client that sends little", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("copy t from stdin"))
		fe.until("CopyInResponse")
		pass(t, clk, 66*time.Second)
		got, stop, sent := make(chan string, 1), make(chan struct{}), make(chan struct{})
		go func() { got <- fe.untilReady() }()
		go func() {
			defer close(sent)
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for {
				select {
				case <-stop:
					return
				case <-again.C:
					_ = fe.bytes([]byte{'d', 0, 0, 0, 6, '1', '\n'})
				}
			}
		}()
		if got := <-got; !strings.Contains(got, "ERROR(57014 CDA-1012: the statement ran for longer than 1m0s and was cancelled)") {
			t.Errorf("got %s", got)
		}
		close(stop)
		<-sent
	})
	t.Run("a client that does not read", func(t *testing.T) {
		g, clk := limited(t, server) // whose sessions are this one alone
		c := g.grant("agent", v1alpha1.AccessReadOnly)
		limit(g, 0, time.Minute)
		fe := frontend(t, g, c, "postgres")
		fe.send(query("select repeat('x', 1000) from generate_series(1, 1000000)"))
		// The result stays where it is made.
		eventually(t, "the target is stalled", func() bool {
			return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where wait_event = 'ClientWrite'")) == 1
		})
		eventually(t, "the session ends", func() bool {
			clk.Step(time.Second)
			return len(g.ended) > 0
		})
		if refusal := new(policy.Refusal); !asRefusal(g.over(t), refusal) || refusal.Code != policy.CodeLimit {
			t.Errorf("ended with %v", refusal)
		}
	})
}

func asRefusal(err error, into *policy.Refusal) bool {
	r := new(policy.Refusal)
	if errors.As(err, &r) {
		*into = *r
		return true
	}
	return false
}
