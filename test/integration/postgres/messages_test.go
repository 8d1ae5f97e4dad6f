package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// said returns what is recorded of what the target said without being asked.
func (g *gate) said() []recording.Message {
	var all []recording.Message
	for _, e := range g.recorder.Events() {
		if e.Message != nil {
			all = append(all, *e.Message)
		}
	}
	return all
}

// What goes by that is neither a command nor its answer.
func TestAsides(t *testing.T) {
	server := pgtest.Start(t)
	t.Run("notifications", func(t *testing.T) { notifications(t, server) })
	t.Run("notices are recorded", func(t *testing.T) { noticesAreRecorded(t, server) })
	t.Run("G6 copied data are recorded", func(t *testing.T) { copiedDataAreRecorded(t, server) })
}

func notifications(t *testing.T, server *pgtest.Server) {
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	ctx := context.Background()
	conn := connect(t, g.uri(c, "postgres", ""))
	if _, err := conn.Exec(ctx, "listen jobs"); err != nil {
		t.Fatal(err)
	}
	t.Run("while idle", func(t *testing.T) {
		server.Exec(t, "postgres", "notify jobs, 'from outside'")
		n, err := conn.WaitForNotification(ctx)
		if err != nil || n.Channel != "jobs" || n.Payload != "from outside" {
			t.Fatal(n, err)
		}
	})
	t.Run("one's own", func(t *testing.T) {
		if _, err := conn.Exec(ctx, "notify jobs, 'own'"); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.WaitForNotification(ctx); err != nil || n.Payload != "own" {
			t.Error(n, err)
		}
	})
	t.Run("no more", func(t *testing.T) {
		if _, err := conn.Exec(ctx, "unlisten *"); err != nil {
			t.Error(err)
		}
	})
	said := g.said()
	if len(said) != 2 || said[0] != (recording.Message{Kind: "Notification", Channel: "jobs", Text: "from outside"}) || said[1].Text != "own" {
		t.Errorf("the recording has %+v", said)
	}

	t.Run("a target that gets masks", func(t *testing.T) {
		if _, err := conn.Exec(ctx, "listen jobs"); err != nil {
			t.Fatal(err)
		}
		server.Exec(t, "postgres", "create table people(id int, email text)")
		apply(g, masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.people.email"))
		server.Exec(t, "postgres", "notify jobs, 'dora@example.com'")
		var one int
		if err := conn.QueryRow(ctx, "select 1").Scan(&one); err != nil {
			t.Error(err)
		}
		if n, err := conn.WaitForNotification(ctx); err != nil || n.Channel != "jobs" || n.Payload != "" {
			t.Errorf("the client is told %+v, %v", n, err)
		}
		if strings.Contains(g.events(t), "dora") {
			t.Error("the recording has what the client may not see")
		}
	})
	t.Run("a target with masks", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", ""))
		if _, err := conn.Exec(ctx, "listen jobs; listen news; notify jobs, 'own'"); err != nil {
			t.Fatal(err)
		}
		server.Exec(t, "postgres", "select pg_notify('news', 'dora@example.com')")
		for _, channel := range []string{"jobs", "news"} {
			if n, err := conn.WaitForNotification(ctx); err != nil || n.Channel != channel || n.Payload != "" {
				t.Errorf("the client is told %+v, %v", n, err)
			}
		}
		if _, err := conn.Exec(ctx, "select pg_notify('jobs', email) from people"); sqlState(err) != "42501" {
			t.Errorf("err = %v", err)
		}
		if strings.Contains(g.events(t), "dora") {
			t.Error("the recording has what the client may not see")
		}
	})
}

func noticesAreRecorded(t *testing.T, server *pgtest.Server) {
	server.Exec(t, "postgres", `create function shout(n int) returns int language plpgsql as
		$$ begin for i in 1..n loop raise notice 'word % %', i, repeat('x', case when i = 2 then 2000 else 0 end); end loop; return n; end $$`)
	g := start(t, server, func(g *gate, _ *engpg.Config) {
		g.input.Targets[0].Spec.Baseline = &v1alpha1.Baseline{Disable: []string{"postgres-function-call"}}
	})
	c := g.grant("agent", v1alpha1.AccessFull)
	fe := frontend(t, g, c, "postgres")
	fe.send(query("select shout(250)"))
	if got := fe.untilReady(); strings.Count(got, "Notice(word ") != 250 {
		t.Fatalf("got %s", got)
	}
	said := g.said()
	if len(said) != 101 {
		t.Fatalf("%d are recorded", len(said))
	}
	if said[0] != (recording.Message{Kind: "Notice", Severity: "NOTICE", SQLState: "00000", Text: "word 1 "}) {
		t.Errorf("the first is %+v", said[0])
	}
	if len(said[1].Text) != 1024 || !said[1].Truncated {
		t.Errorf("the long one is %+v", said[1])
	}
	if said[100] != (recording.Message{Kind: "Notice", Cut: 1, Truncated: true}) {
		t.Errorf("the last is %+v", said[100])
	}
	t.Run("an unrecorded notice does not reach the client", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query("begin; savepoint a; select shout(0)"))
		fe.untilReady()
		g.recorder.Fail(errors.New("disk full"))
		fe.send(query("commit; commit"))
		if got := fe.untilReady(); strings.Contains(got, "Notice") || !strings.Contains(got, "CDA-1011") {
			t.Errorf("got %s", got)
		}
	})
}

func copiedDataAreRecorded(t *testing.T, server *pgtest.Server) {
	server.Exec(t, "postgres", "create table t(id int, note text); create table p(id int, email text)")
	type input struct {
		data      string
		final     bool
		bytes     int64
		truncated bool
	}
	// copied returns what is recorded of the data of the last command.
	copied := func(g *gate) (in input) {
		var id uint64
		for _, e := range g.recorder.Events() {
			if i := e.Input; i != nil {
				if i.ID != id {
					id, in = i.ID, input{}
				}
				in.data += string(i.Data)
				in.final, in.bytes, in.truncated = i.Final, i.ByteCount, i.Truncated
			}
		}
		return in
	}
	ctx := context.Background()
	t.Run("as they are", func(t *testing.T) {
		g := start(t, server)
		c := g.grant("agent", v1alpha1.AccessReadWrite)
		conn := connect(t, g.uri(c, "postgres", ""))
		const data = "1\tä\n2\t\\N\n"
		if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(data), "copy t from stdin"); err != nil {
			t.Fatal(err)
		}
		if got := copied(g); got != (input{data, true, int64(len(data)), false}) {
			t.Errorf("recorded %+v", got)
		}
		n, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "note"}, pgx.CopyFromSlice(20000, func(i int) ([]any, error) { return []any{i, "note"}, nil }))
		if err != nil || n != 20000 {
			t.Fatal(n, err)
		}
		if got := copied(g); !got.final || got.bytes != 360019 || !got.truncated || len(got.data) != 64<<10 || !strings.HasPrefix(got.data, "PGCOPY") {
			t.Errorf("recorded %d of %d bytes, final %t, truncated %t", len(got.data), got.bytes, got.final, got.truncated)
		}
	})
	t.Run("in the order of events", func(t *testing.T) {
		g := start(t, server)
		fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadWrite), "postgres")
		fe.send(query("copy t from stdin"), &pgproto3.CopyData{Data: []byte("1\t")}, &pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyDone{})
		fe.untilReady()
		var kinds []string
		for _, e := range g.recorder.Events() {
			kinds = append(kinds, string(e.Kind))
		}
		if got := strings.Join(kinds, " "); got != "command input response" {
			t.Errorf("recorded %s", got)
		}
	})
	t.Run("data that cannot be recorded do not reach the target", func(t *testing.T) {
		g := start(t, server)
		fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadWrite), "postgres")
		fe.send(query("copy t from stdin"))
		fe.until("CopyInResponse")
		g.recorder.Fail(errors.New("disk full"))
		fe.send(&pgproto3.CopyData{Data: []byte("999999\tx\n")}, &pgproto3.CopyDone{})
		if got := fe.untilReady(); !strings.Contains(got, "FATAL(58000 CDA-1011") {
			t.Errorf("got %s", got)
		}
		if rows := server.Query(t, "postgres", "select count(*) from t where id = 999999"); rows[0][0] != "0" {
			t.Error("they did")
		}
	})
	t.Run("not where values are masked", func(t *testing.T) {
		g := start(t, server, masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.p.email"))
		conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessReadWrite), "postgres", ""))
		tag, err := conn.PgConn().CopyFrom(ctx, strings.NewReader("1\tdora@example.com\n"), "copy t from stdin")
		events, _ := json.Marshal(g.recorder.Events())
		if strings.Contains(string(events), "ZG9yYUBleGFtcGxl") || strings.Contains(g.events(t), "dora") {
			t.Error("the recording has the data")
		}
		if got := copied(g); err == nil && got != (input{"", true, 19, true}) {
			t.Errorf("recorded %+v after %s", got, tag)
		}
	})
}
