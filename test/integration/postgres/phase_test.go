package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// message is one of the given kind whose body is four zero bytes.
func message(kind byte) []byte { return []byte{kind, 0, 0, 0, 8, 0, 0, 0, 0} }

// A message that is out of its phase ends the connection.
func TestOutOfPhase(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t(id int)")
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	before := server.Log(t)
	t.Run("before sign-in nothing but SASL", func(t *testing.T) {
		initial := []byte("p\x00\x00\x00\x36SCRAM-SHA-256\x00\x00\x00\x00\x20n,,n=,r=fyko+d2lbbFgONRv9qkxdawL")
		for phase, earlier := range map[string][]byte{"the first": nil, "the second": initial} {
			for _, kind := range []byte("QPBEDCSHFXdcfpRZ\x00\xff") {
				if kind == 'p' && earlier != nil {
					continue // a wrong proof
				}
				b := append(append(startup(3<<16, "user", "agent"), earlier...), message(kind)...)
				got := string(secure(t, g, "", b))
				if strings.Contains(got, "Z\x00\x00\x00\x05") || strings.Contains(got, "R\x00\x00\x00\x08\x00\x00\x00\x00") {
					t.Errorf("%s, %q: the client is let in: %q", phase, kind, got)
				}
			}
		}
		if server.Log(t) != before {
			t.Error("something reached the target")
		}
	})
	t.Run("in a session", func(t *testing.T) {
		for _, kind := range []byte("pRZTKAGNWVtv1\x00\x01\x7f\x80\xff") {
			fe := frontend(t, g, c, "postgres")
			_ = fe.bytes(message(kind))
			if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01 CDA-1013") {
				t.Errorf("%q: %s", kind, got)
			}
			if _, err := fe.next(); err == nil {
				t.Errorf("%q: the connection goes on", kind)
			}
		}
	})
	for name, test := range map[string]struct {
		send []pgproto3.FrontendMessage
		wait string
		then []pgproto3.FrontendMessage
	}{
		"a Query inside a pipeline":  {send: []pgproto3.FrontendMessage{parse("", "select 1"), query("select 2")}},
		"a Query inside COPY":        {send: []pgproto3.FrontendMessage{query("copy t from stdin")}, wait: "CopyInResponse", then: []pgproto3.FrontendMessage{query("select 2")}},
		"a Parse inside COPY":        {send: []pgproto3.FrontendMessage{query("copy t from stdin")}, wait: "CopyInResponse", then: []pgproto3.FrontendMessage{parse("", "select 2")}},
		"an Execute inside COPY":     {send: []pgproto3.FrontendMessage{query("copy t from stdin")}, wait: "CopyInResponse", then: []pgproto3.FrontendMessage{execute("", 0)}},
		"a call inside a pipeline":   {send: []pgproto3.FrontendMessage{parse("", "select 1"), &pgproto3.FunctionCall{Function: 1598}}},
		"a password after sign-in":   {send: []pgproto3.FrontendMessage{&pgproto3.PasswordMessage{Password: "x"}}},
		"a password inside a COPY":   {send: []pgproto3.FrontendMessage{query("copy t from stdin")}, wait: "CopyInResponse", then: []pgproto3.FrontendMessage{&pgproto3.PasswordMessage{Password: "x"}}},
		"TLS again":                  {send: []pgproto3.FrontendMessage{&pgproto3.SSLRequest{}}},
		"a request to cancel inside": {send: []pgproto3.FrontendMessage{&pgproto3.CancelRequest{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}}},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			fe.send(test.send...)
			if test.wait != "" {
				fe.until(test.wait)
			}
			fe.send(test.then...)
			if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01 CDA-1013") {
				t.Errorf("got %s", got)
			}
			if got, err := fe.next(); err == nil {
				t.Errorf("the connection goes on with %s", got)
			}
		})
	}
	t.Run("data of a COPY that is over are dropped, as the target does", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, query("select 5"))
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(5)") {
			t.Errorf("got %s", got)
		}
	})
}

// A request to cancel hits what runs, at whatever point that is, and nothing that comes
// after it.
func TestCancelHitsWhatRuns(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table people(id int, email text); insert into people values (1, 'dora@example.com')")
	for kind, options := range map[string][]option{"": nil, ", with masks": {masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.people.email")}} {
		g := start(t, server, options...)
		c := g.grant("agent", v1alpha1.AccessReadOnly)
		cancel := func(fe *raw) { secure(t, g, "", cancelRequest(t, fe.h.PID, fe.h.SecretKey)) }
		next := func(t *testing.T, fe *raw) {
			t.Helper()
			fe.send(query("select 'next'"))
			if got := fe.untilReady(); !strings.Contains(got, "DataRow(next)") || strings.Contains(got, "ERROR") {
				t.Errorf("then %s", got)
			}
		}
		t.Run("nothing"+kind, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			for range 5 {
				cancel(fe)
				next(t, fe)
			}
		})
		t.Run("while rows stream"+kind, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			fe.send(query("select repeat('x', 1000) from generate_series(1, 10000000)"))
			fe.until("DataRow")
			// Nothing is read meanwhile: the target is told all the same.
			cancel(fe)
			if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014") || strings.Contains(got, "Complete") {
				t.Errorf("got %.200s", got[max(0, len(got)-200):])
			}
			next(t, fe)
		})
		t.Run("in a pipeline"+kind, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			fe.send(parse("", "select 1"), bind("", "", 0), execute("", 0), parse("", "select pg_sleep(102)"), bind("", "", 0), execute("", 0),
				parse("", "select 3"), bind("", "", 0), execute("", 0), sync())
			eventually(t, "the second statement runs", func() bool {
				return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where wait_event = 'PgSleep'")) == 1
			})
			cancel(fe)
			if got := fe.untilReady(); strings.Count(got, "DataRow") != 1 || !strings.Contains(got, "ERROR(57014") {
				t.Errorf("got %s", got)
			}
			next(t, fe)
		})
		t.Run("while the gate asks for definitions"+kind, func(t *testing.T) {
			// The relation is locked: the gate's questions, or the statement, wait.
			locker := connect(t, server.URI("postgres", "postgres", server.Password))
			if _, err := locker.Exec(context.Background(), "begin; lock table people in access exclusive mode"); err != nil {
				t.Fatal(err)
			}
			fe := frontend(t, g, c, "postgres")
			fe.send(query("select id from people"))
			eventually(t, "something waits for the lock", func() bool {
				return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where wait_event_type = 'Lock'")) == 1
			})
			cancel(fe)
			if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014") {
				t.Errorf("got %s", got)
			}
			if _, err := locker.Exec(context.Background(), "rollback"); err != nil {
				t.Fatal(err)
			}
			next(t, fe)
		})
	}
}
