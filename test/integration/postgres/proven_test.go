package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// proofsOf counts the proofs that the server was asked for.
func proofsOf(t *testing.T, server *pgtest.Server) int {
	t.Helper()
	return strings.Count(server.Log(t), `fastpath function call: "pg_current_snapshot"`)
}

// mustProve repeats a statement until it is proven after its execution.
func mustProve(t *testing.T, server *pgtest.Server, ask func() string, want string) {
	t.Helper()
	before := proofsOf(t, server)
	for range 6 {
		if got := ask(); !strings.Contains(got, want) || strings.Count(got, "Ready(I)") != 1 || strings.Contains(got, "ERROR") {
			t.Fatalf("answer: %s", got)
		}
	}
	if proofsOf(t, server) == before {
		t.Fatal("nothing was proven after its execution")
	}
}

// mayProve are the ways in which a statement may be proven after its execution.
var mayProve = map[string]func(r *raw, text string) string{
	"simple": ways["simple"], "extended": ways["extended"],
}

// TestG3Proven reads what is proven after the execution, and then has something change that
// a snapshot does not tell, or the answer become one that cannot be held back.
func TestG3Proven(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+evil+`; create table wide (id int, v text); insert into wide select i, repeat('x', 1000) from generate_series(1, 100) i`)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	const read, first = "select id, note from orders where id = 10", "DataRow(10|first)"
	for name, send := range mayProve {
		ask := func(fe *raw, text string) func() string { return func() string { return send(fe, text) } }
		t.Run(name+"/settings of the session", func(t *testing.T) {
			for _, change := range []string{"set search_path = evil, public", "set session_replication_role = replica", "set default_transaction_isolation = 'repeatable read'",
				"select set_config('search_path', 'evil, public', false)", "begin; set local search_path = evil, public; commit", "reset all", "discard all"} {
				fe := frontend(t, g, c, "postgres")
				mustProve(t, server, ask(fe, read), first)
				for part := range strings.SplitSeq(change, "; ") {
					send(fe, part)
				}
				for range 4 {
					noSecret(t, change, send(fe, read))
				}
			}
		})
		t.Run(name+"/a long answer", func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			mustProve(t, server, ask(fe, "select id, v from wide where id <= 1"), "DataRow(1|x")
			// Constants share what is known of the text.
			for range 3 {
				if got := send(fe, "select id, v from wide where id <= 90"); strings.Count(got, "DataRow(") != 90 || !strings.Contains(got, "Complete(SELECT 90)") || strings.Count(got, "Ready(I)") != 1 {
					t.Fatalf("answer: %.300s", got)
				}
			}
			if got := send(fe, "select id, v from wide where id <= 1"); strings.Count(got, "DataRow(") != 1 {
				t.Errorf("answer: %.300s", got)
			}
		})
		t.Run(name+"/a failure", func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			for range 2 {
				mustProve(t, server, ask(fe, "select 10/(id-7) from orders where id = 10"), "DataRow(3)")
				before := strings.Count(server.Log(t), "division by zero")
				if got := send(fe, "select 10/(id-10) from orders where id = 10"); !strings.Contains(got, "22012") || strings.Count(got, "ERROR") != 1 || strings.Count(got, "Ready(I)") != 1 {
					t.Errorf("answer: %s", got)
				}
				if strings.Count(server.Log(t), "division by zero") == before {
					t.Error("it did not fail")
				}
			}
		})
	}
	t.Run("prepared, in one flight with the next", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("s", "select 10/($1::int-10), note from orders where id = 10"), sync())
		fe.untilReady()
		mustProve(t, server, func() string { fe.send(bind("", "s", 0, "5"), execute("", 0), sync()); return fe.untilReady() }, "DataRow(-2|first)")
		fe.send(bind("", "s", 0, "20"), execute("", 0), sync(), bind("", "s", 0, "10"), execute("", 0), sync(), bind("", "s", 0, "11"), execute("", 0), sync())
		got := fe.untilReady() + fe.untilReady() + fe.untilReady()
		if strings.Count(got, "DataRow(") != 2 || !strings.Contains(got, "DataRow(1|first)") || !strings.Contains(got, "DataRow(10|first)") || strings.Count(got, "22012") != 1 {
			t.Errorf("answers: %s", got)
		}
	})
	t.Run("recorded once as it was shown", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		mustProve(t, server, func() string { return ways["simple"](fe, read) }, first)
		server.Exec(t, "postgres", "create table noise"+strconv.Itoa(rand.IntN(1<<30))+" ()")
		if got := ways["simple"](fe, read); !strings.Contains(got, first) || strings.Count(got, "DataRow(") != 1 || strings.Count(got, "Columns(") > 1 {
			t.Errorf("answer: %s", got)
		}
	})
}

// evil is a schema in which orders are another relation.
const evil = "; create schema evil; create view evil.orders as select id, id as customer_id, ssn as note from customers"

// TestG3ProvenUnderAnotherConfiguration changes the search path of the server under sessions
// whose statements are proven by a snapshot, which does not tell of that.
func TestG3ProvenUnderAnotherConfiguration(t *testing.T) {
	const read, first = "select id, note from orders where id = 10", "DataRow(10|first)"
	for name, send := range mayProve {
		t.Run(name, func(t *testing.T) {
			server := pgtest.Start(t)
			server.Exec(t, "postgres", customers+evil)
			g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
			c := g.grant("agent", v1alpha1.AccessFull)
			fe := frontend(t, g, c, "postgres")
			mustProve(t, server, func() string { return send(fe, read) }, first)
			server.Exec(t, "postgres", "alter system set search_path = evil, public")
			server.Exec(t, "postgres", "select pg_reload_conf()")
			waiting := connect(t, server.URI("postgres", "postgres", server.Password))
			eventually(t, "the server has read its configuration", func() bool {
				var path string
				return waiting.QueryRow(context.Background(), "show search_path").Scan(&path) == nil && strings.HasPrefix(path, "evil")
			})
			for _, before := range []string{"select 1", "reset search_path", "reset all", "discard all"} {
				send(fe, before)
				for range 4 {
					noSecret(t, "after "+before, send(fe, read))
				}
			}
			fe = frontend(t, g, c, "postgres")
			for range 4 {
				noSecret(t, "another session", send(fe, read))
			}
		})
	}
}

// TestProvenIsCancelled cancels a statement that is to be proven after its execution: it is
// not executed again.
func TestProvenIsCancelled(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")).PgConn()
	ctx := context.Background()
	run := func(seconds int) error {
		return conn.Exec(ctx, fmt.Sprintf("select pg_sleep(%d) from orders where id = 10", seconds)).Close()
	}
	before := proofsOf(t, server)
	for range 6 {
		if err := run(0); err != nil {
			t.Fatal(err)
		}
	}
	if proofsOf(t, server) == before {
		t.Fatal("nothing was proven after its execution")
	}
	canceled := make(chan struct{})
	go func() {
		defer close(canceled)
		eventually(t, "the statement runs", func() bool {
			return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where wait_event = 'PgSleep'")) > 0
		})
		_ = conn.CancelRequest(ctx)
	}()
	err := run(3600)
	<-canceled
	if sqlState(err) != "57014" {
		t.Errorf("err = %v", err)
	}
	if err := run(0); err != nil {
		t.Errorf("the session goes on: %v", err)
	}
}

// TestG3WhileDefinitionsChangeSeldom is TestG3WhileDefinitionsChange with pauses between the
// changes, in which clients repeat what they read, so that it is proven after its execution.
func TestG3WhileDefinitionsChangeSeldom(t *testing.T) { changeSeldom(t, 0) }

// changeSeldom changes definitions beside writers that commit all the time, if there are any.
func changeSeldom(t *testing.T, writers int) {
	t.Helper()
	server := pgtest.Start(t, "logging_collector = off", "log_statement = none", "log_min_messages = panic")
	server.Exec(t, "postgres", hammered+"; create table wrote (n int)")
	watch := &watching{t: t}
	g := start(t, server, masking(keepLast4(), "*.*.token", "public.hidden.note", "s1.hidden.note"), func(g *gate, _ *engpg.Config) { g.record = watch })
	go func() {
		for range g.ended {
		}
	}()
	c := g.grant("agent", v1alpha1.AccessFull)
	ctx, cancel := context.WithTimeout(context.Background(), hammerFor(t))
	defer cancel()
	var wg gosync.WaitGroup
	var rows, changed atomic.Int64
	var errors gosync.Map
	wg.Go(func() {
		owner, err := pgconn.Connect(context.Background(), server.URI("postgres", "postgres", server.Password))
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = owner.Close(context.Background()) }()
		at := map[string]int{}
		for ctx.Err() == nil {
			for name, statements := range redefinitions {
				s := statements[at[name]%len(statements)]
				at[name]++
				if name != "locks" && owner.Exec(context.Background(), "set lock_timeout = '1s'; set search_path = public").Close() == nil && owner.Exec(context.Background(), s).Close() == nil {
					changed.Add(1)
				}
				_ = owner.Exec(context.Background(), "rollback").Close()
				<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond)
			}
		}
	})
	for range writers {
		wg.Go(func() { keepCommitting(ctx, t, server) })
	}
	for i := range 4 {
		wg.Go(func() {
			h := &hammerer{raw: frontend(t, g, c, "postgres"), random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i))), prepared: map[string]bool{}, rows: &rows, errors: &errors}
			_ = h.h.Conn.SetDeadline(time.Now().Add(hammerFor(t) + patience))
			for ctx.Err() == nil && h.repeat(writers > 0) {
			}
			if ctx.Err() == nil {
				t.Error("a session ended")
			}
		})
	}
	wg.Wait()
	errors.Range(func(what, n any) bool { t.Logf("%6d %s", n.(*atomic.Int64).Load(), what); return true })
	t.Logf("%d rows, %d changes, %d events", rows.Load(), changed.Load(), watch.events.Load())
}

// repeat asks for the same some times over, in transactions too where it says so.
func (h *hammerer) repeat(transactions bool) bool {
	at := h.random.IntN(len(looks))
	h.text = looks[at]
	way, name := h.random.IntN(3), "s"+strconv.Itoa(at)
	if way == 2 && !h.prepared[name] {
		h.prepared[name] = true
		if !h.pass(1, parse(name, h.text), sync()) {
			return false
		}
	}
	if transactions && h.random.IntN(2) == 0 {
		if !h.pass(2, query("begin"), query("insert into wrote values (1)")) {
			return false
		}
		defer func() { h.pass(1, query("rollback")) }()
	}
	for range 40 {
		var goesOn bool
		switch way {
		case 0:
			goesOn = h.pass(1, query(h.text))
		case 1:
			goesOn = h.pass(1, parse("", h.text), bind("", "", 0), execute("", 0), sync())
		default:
			goesOn = h.pass(2, bind("", name, 0), execute("", 0), sync(), bind("", name, 0), execute("", 0), sync())
		}
		if !goesOn {
			return false
		}
	}
	return true
}
