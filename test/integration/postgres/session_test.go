package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/pgtest"
)

func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

func TestG4RefusedCommandsNeverReachTheTarget(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders(id int primary key, note text); insert into orders values (1, 'a')")
	g := start(t, server, rule("no-drop", v1alpha1.ActionDeny, "", v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Drop"}}))
	c := g.grant("agent", v1alpha1.AccessFull)
	ctx := context.Background()
	const drop = "drop table orders"

	for name, run := range map[string]func(*pgx.Conn) error{
		"simple":   func(c *pgx.Conn) error { _, err := c.Exec(ctx, drop, pgx.QueryExecModeSimpleProtocol); return err },
		"prepared": func(c *pgx.Conn) error { _, err := c.Exec(ctx, drop); return err },
		"unnamed":  func(c *pgx.Conn) error { _, err := c.Exec(ctx, drop, pgx.QueryExecModeExec); return err },
		"many": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "select 1; "+drop, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"explain": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "explain analyze "+drop, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"database": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "drop database postgres", pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"program": func(c *pgx.Conn) error { _, err := c.Exec(ctx, "copy orders to program 'cat'"); return err },
		"not SQL": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "drap table orders", pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"comment": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "/*"+strings.Repeat("x", 400<<10)+"*/"+drop, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"batch": func(c *pgx.Conn) error {
			b := &pgx.Batch{}
			b.Queue("select 1")
			b.Queue(drop)
			return c.SendBatch(ctx, b).Close()
		},
		"in a CTE": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "with x as (select 1) "+drop, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"prepare": func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "prepare p as "+drop, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"uppercase": func(c *pgx.Conn) error { _, err := c.Exec(ctx, "DROP/**/TABLE\norders"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, g.uri(c, "postgres", ""))
			before := len(server.Log(t))
			err := run(conn)
			want := "42501"
			if strings.Contains(fmt.Sprint(err), "syntax error") {
				want = "42601"
			}
			if sqlState(err) != want || !strings.Contains(err.Error(), "CDA-2") {
				t.Errorf("err = %v", err)
			}
			var one int
			if err := conn.QueryRow(ctx, "select 1").Scan(&one); err != nil || one != 1 {
				t.Errorf("the session does not live on: %v", err)
			}
			if log := strings.ToLower(server.Log(t)[before:]); strings.Contains(log, "drop") || strings.Contains(log, "program") || strings.Contains(log, "drap") {
				t.Errorf("the server's log: %s", log)
			}
		})
	}
	t.Run("a function call", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(&pgproto3.FunctionCall{Function: 1598}) // random()
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(42501 CDA-2003") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("an open transaction fails", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("begin"), query("insert into orders values (2, 'b')"))
		fe.untilReady()
		fe.untilReady()
		fe.send(query(drop))
		if got := fe.untilReady(); !strings.Contains(got, "CDA-2001") || !strings.HasSuffix(got, "Ready(E)") {
			t.Errorf("got %s", got)
		}
		fe.send(query("commit"))
		if got := fe.untilReady(); got != "Complete(ROLLBACK) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a pipeline fails as a whole", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "insert into orders values (3, 'c')"), bind("", "", 0), execute("", 0),
			parse("", drop), bind("", "", 0), execute("", 0), sync(), query("select count(*) from orders where id = 3"))
		if got := fe.untilReady(); strings.Count(got, "ERROR") != 1 || !strings.Contains(got, "Complete(INSERT 0 1) ERROR(42501") || !strings.HasSuffix(got, "Ready(I)") {
			t.Errorf("got %s", got)
		}
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(0)") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("names that SQL and protocol share", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("s", "select 'protocol'"), sync())
		fe.untilReady()
		for _, q := range []string{"prepare p as select 1", "deallocate s; prepare s as select 'sql'"} {
			fe.send(query(q))
			if got := fe.untilReady(); !strings.Contains(got, "ERROR(42501") {
				t.Errorf("%s: %s", q, got)
			}
		}
		fe.send(query("begin"), parse("", "select 1 from orders"), bind("p", "", 0), sync())
		fe.untilReady()
		fe.untilReady()
		fe.send(query("fetch all from p"))
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(42501") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a policy that changed since Parse", func(t *testing.T) {
		changed := start(t, server)
		c := changed.grant("agent", v1alpha1.AccessFull)
		fe := frontend(t, changed, c, "postgres")
		fe.send(parse("s", "delete from orders where id = 99"), sync())
		fe.untilReady()
		apply(changed, rule("no-delete", v1alpha1.ActionDeny, "", v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
		fe.send(bind("", "s", 0), execute("", 0), sync())
		if got := fe.untilReady(); !strings.Contains(got, "CDA-2001") || strings.Contains(got, "Complete") {
			t.Errorf("got %s", got)
		}
	})
}

func TestLongCommands(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	fe := frontend(t, g, c, "postgres")
	const size = 100 << 20
	head := []byte{'Q', 0, 0, 0, 0}
	head[1], head[2], head[3], head[4] = (size+4)>>24, (size+4)>>16&0xff, (size+4)>>8&0xff, (size+4)&0xff
	if err := fe.bytes(head); err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 100 {
		if err := fe.bytes(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if got := fe.untilReady(); !strings.Contains(got, "ERROR(54000 CDA-1012") {
		t.Errorf("got %s", got)
	}
	fe.send(query("select 7"))
	if got := fe.untilReady(); !strings.Contains(got, "DataRow(7)") {
		t.Errorf("got %s", got)
	}
}

func TestCopy(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t(id int, note text)")
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	ctx := context.Background()
	conn := connect(t, g.uri(c, "postgres", ""))
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "note"}, pgx.CopyFromSlice(50000, func(i int) ([]any, error) { return []any{i, fmt.Sprint("note ", i)}, nil }))
	if err != nil || n != 50000 {
		t.Fatal(n, err)
	}
	var out bytes.Buffer
	if _, err := conn.PgConn().CopyTo(ctx, &out, "copy t to stdout"); err != nil || strings.Count(out.String(), "\n") != 50000 {
		t.Errorf("%d lines, %v", strings.Count(out.String(), "\n"), err)
	}
	if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader("not a number\tx\n"), "copy t from stdin"); sqlState(err) != "22P02" {
		t.Errorf("err = %v", err)
	}
	if _, err := conn.PgConn().CopyFrom(ctx, io.MultiReader(strings.NewReader("1\tx\n"), &failing{}), "copy t from stdin"); err == nil {
		t.Error("a failed copy passed")
	}
	var count int
	if err := conn.QueryRow(ctx, "select count(*) from t").Scan(&count); err != nil || count != 50000 {
		t.Errorf("count = %d, %v", count, err)
	}
	outText, errs := psql(t, g.uri(c, "postgres", ""), "copy t from stdin;\n1\ta\n2\tb\n\\.\nselect count(*) from t;\n\\copy t to '/dev/null'\n")
	if !strings.Contains(outText, "COPY 2\n50002\nCOPY 50002") || errs != "" {
		t.Errorf("out = %q, stderr = %q", outText, errs)
	}
	t.Run("by the extended protocol, ahead of the answer", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "copy t from stdin"), bind("", "", 0), execute("", 0), sync(),
			&pgproto3.CopyData{Data: []byte("1\tx\n")}, &pgproto3.CopyDone{}, sync())
		if got := fe.untilReady(); got != "ParseComplete BindComplete CopyInResponse Complete(COPY 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
		fe.send(query("select 1"))
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(1)") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a command inside", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("copy t from stdin"))
		fe.until("CopyInResponse")
		fe.send(query("select 1"))
		if got := fe.until("Ready"); !strings.Contains(got, "FATAL(08P01 CDA-1013") {
			t.Errorf("got %s", got)
		}
	})
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestCancel(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	conn := connect(t, g.uri(c, "postgres", ""))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		eventually(t, "the statement runs", func() bool { return strings.Contains(server.Log(t), "pg_sleep(100)") })
		_ = conn.PgConn().CancelRequest(context.Background())
	}()
	_, err := conn.Exec(ctx, "select pg_sleep(100)")
	cancel()
	if sqlState(err) != "57014" {
		t.Errorf("err = %v", err)
	}
	if _, err := conn.Exec(context.Background(), "select 1"); err != nil {
		t.Error(err)
	}
	t.Run("the client goes away", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("select pg_sleep(200)"))
		eventually(t, "the statement runs", func() bool { return strings.Contains(server.Log(t), "pg_sleep(200)") })
		fe.h.Conn.Close()
		eventually(t, "the statement is cancelled", func() bool {
			return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where query like '%pg_sleep(200)%' and pid <> pg_backend_pid()")) == 0
		})
		eventually(t, "the outcome is recorded as unknown", func() bool { return strings.Contains(g.events(t), `"unknown":true`) })
	})
	t.Run("a wrong key", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("select pg_sleep(1)"))
		wrong := &pgproto3.CancelRequest{ProcessID: fe.h.PID, SecretKey: []byte{1, 2, 3, 4}}
		b, _ := wrong.Encode(nil)
		secure(t, g, "", b)
		if got := fe.untilReady(); !strings.Contains(got, "Complete(SELECT 1)") {
			t.Errorf("got %s", got)
		}
	})
}

func TestG2RevokedSessionsEnd(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	for name, busy := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			if busy {
				fe.send(query("select pg_sleep(300)"))
				eventually(t, "the statement runs", func() bool { return strings.Contains(server.Log(t), "pg_sleep(300)") })
			}
			g.apply(func(in *policy.Input) { in.Grants[0].Spec.DesiredState = v1alpha1.GrantRevoked })
			if got := fe.untilReady(); !strings.Contains(got, "FATAL(57P01 CDA-1004") || !strings.HasSuffix(got, "closed") {
				t.Errorf("got %s", got)
			}
			eventually(t, "nothing runs", func() bool {
				return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where application_name like '%[cardea %'")) == 0
			})
			g.apply(func(in *policy.Input) { in.Grants[0].Spec.DesiredState = v1alpha1.GrantActive })
		})
	}
	t.Run("at sign-in", func(t *testing.T) {
		g.apply(func(in *policy.Input) { in.Grants[0].Spec.DesiredState = v1alpha1.GrantRevoked })
		_, err := pgx.Connect(context.Background(), g.uri(c, "postgres", ""))
		if sqlState(err) != "28000" || !strings.Contains(err.Error(), "CDA-1004") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestRecorderFails(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	fe := frontend(t, g, c, "postgres")
	g.recorder.Fail(errors.New("disk full"))
	fe.send(query("select 'unrecorded'"))
	if got := fe.untilReady(); !strings.Contains(got, "FATAL(58000 CDA-1011") || strings.Contains(got, "DataRow") {
		t.Errorf("got %s", got)
	}
	if strings.Contains(server.Log(t), "unrecorded") {
		t.Error("an unrecorded command reached the target")
	}
}

func TestApprovals(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders(id int primary key, note text); insert into orders select i, 'x' from generate_series(1, 100) i")
	g := start(t, server, rule("destructive", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
	c := g.grant("agent", v1alpha1.AccessFull)
	request := func(t *testing.T, fe *raw) string {
		t.Helper()
		notice := fe.until("Notice")
		_, rest, ok := strings.Cut(notice, "ApprovalRequest ")
		if !ok || !strings.Contains(notice, "CDA-3001") {
			t.Fatalf("got %s", notice)
		}
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	approve := func(name string, d v1alpha1.DecisionValue) {
		g.requests.Decide(name, "dora", []string{"dba"}, d, time.Now())
	}

	t.Run("simple", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id < 3"))
		name := request(t, fe)
		if strings.Contains(executed(t, server), "id < 3") {
			t.Error("a held command reached the target")
		}
		approve(name, v1alpha1.DecisionApproved)
		if got := fe.untilReady(); got != "Complete(DELETE 2) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("extended, holding no lock", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("s", "delete from orders where id = $1"), &pgproto3.Describe{ObjectType: 'S', Name: "s"}, sync())
		if got := fe.untilReady(); got != "ParseComplete ParameterDescription NoData Ready(I)" {
			t.Errorf("got %s", got)
		}
		fe.send(bind("", "s", 0, "7"), execute("", 0), sync())
		name := request(t, fe)
		locks := server.Query(t, "postgres", "select count(*) from pg_locks l join pg_class c on c.oid = l.relation where c.relname = 'orders'")
		if locks[0][0] != "0" {
			t.Errorf("%s locks are held", locks[0][0])
		}
		approve(name, v1alpha1.DecisionApproved)
		if got := fe.untilReady(); got != "BindComplete Complete(DELETE 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("denied", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id = 50"))
		approve(request(t, fe), v1alpha1.DecisionDenied)
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(42501 CDA-3002") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("cancelled by the client", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id = 51"))
		name := request(t, fe)
		b, _ := (&pgproto3.CancelRequest{ProcessID: fe.h.PID, SecretKey: fe.h.SecretKey}).Encode(nil)
		secure(t, g, "", b)
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014") {
			t.Errorf("got %s", got)
		}
		approve(name, v1alpha1.DecisionApproved)
		fe.send(query("select 1"))
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(1)") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("the client goes away, having sent more", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id = 52"), query("select 'ahead'"))
		name := request(t, fe)
		fe.h.Conn.Close()
		eventually(t, "the request is withdrawn", func() bool {
			r, err := g.requests.Get(context.Background(), name)
			return err == nil && r.Status.WithdrawnAt != nil
		})
		if log := executed(t, server); strings.Contains(log, "ahead") || strings.Contains(log, "id = 52") {
			t.Error("something reached the target")
		}
	})
	t.Run("messages sent ahead are answered in order", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("delete from orders where id = 53"), query("select 'later'"))
		approve(request(t, fe), v1alpha1.DecisionApproved)
		if got := fe.untilReady() + fe.untilReady(); got != "Complete(DELETE 1) Ready(I)RowDescription DataRow(later) Complete(SELECT 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("in a transaction", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("begin"))
		fe.untilReady()
		fe.send(query("delete from orders where id = 54"))
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(42501 CDA-3001") || !strings.HasSuffix(got, "Ready(E)") {
			t.Errorf("got %s", got)
		}
	})
	if log := executed(t, server); strings.Contains(log, "id = 50") || strings.Contains(log, "id = 51") || strings.Contains(log, "id = 54") {
		t.Error("a command that was not approved reached the target")
	}
}
