package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// smuggled is a statement that must never be read as one.
var smuggled = withLength('Q', 4+21, "drop table smuggled\x00\x00")

// wrongBytes are what is no message of a session.
func wrongBytes(t testing.TB) map[string][]byte {
	wrong := map[string][]byte{
		"a second start-up":        startup(3<<16, "user", "agent"),
		"SSLRequest":               sslRequest,
		"GSSENCRequest":            {0, 0, 0, 8, 4, 210, 22, 48},
		"a request to cancel":      cancelRequest(t, 1, []byte{1, 2, 3, 4}),
		"TLS again":                {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0},
		"a message without a kind": {0, 0, 0, 0, 4},
	}
	for _, kind := range []byte("QBdpX") {
		for _, length := range []uint32{0, 3, 1<<31 - 1, 1<<32 - 1} {
			wrong[fmt.Sprintf("%c of length %d", kind, int32(length))] = withLength(kind, length, "") //nolint:gosec // as the server reads it
		}
	}
	return wrong
}

// held waits for the request that a command is held for.
func (r *raw) held() string {
	r.t.Helper()
	notice := r.until("Notice")
	_, rest, ok := strings.Cut(notice, "ApprovalRequest ")
	if !ok {
		r.t.Fatalf("nothing is held: %s", notice)
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// TestWrongInEveryPhase sends what is no message in every phase of a session. The connection
// ends with an error, and nothing that follows reaches the target.
func TestWrongInEveryPhase(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t(id int)")
	g := start(t, server, rule("destructive", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Truncate"}}))
	c := g.grant("agent", v1alpha1.AccessFull)
	for phase, enter := range map[string]func(*raw) (leave func()){
		"idle": func(*raw) func() { return nil },
		"in a pipeline": func(fe *raw) func() {
			fe.send(parse("", "insert into t values (1)"), bind("", "", 0), execute("", 0), &pgproto3.Flush{})
			fe.until("Complete")
			return nil
		},
		"in a failed transaction": func(fe *raw) func() {
			fe.send(query("begin; insert into t values (1); select 1/0"))
			fe.untilReady()
			return nil
		},
		"in COPY in": func(fe *raw) func() {
			fe.send(query("copy t from stdin"))
			fe.until("CopyInResponse")
			fe.send(&pgproto3.CopyData{Data: []byte("1\n")})
			return nil
		},
		"in COPY out": func(fe *raw) func() {
			fe.send(query("copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout"))
			fe.until("CopyData")
			return nil
		},
		"while a statement is held": func(fe *raw) func() {
			fe.send(query("truncate t"))
			name := fe.held()
			return func() { g.requests.Decide(name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now()) }
		},
	} {
		for name, b := range wrongBytes(t) {
			fe := frontend(t, g, c, "postgres")
			leave := enter(fe)
			if err := fe.bytes(append(bytes.Clone(b), smuggled...)); err != nil {
				t.Fatal(err)
			}
			if leave != nil {
				leave()
			}
			// A client that reads nothing of a COPY that streams may find the connection closed.
			if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01 CDA-1013") && (phase != "in COPY out" || !strings.HasSuffix(got, "closed")) {
				t.Errorf("%s %s: %s", name, phase, got[max(0, len(got)-500):])
			}
			if got := fe.until("Ready"); got != "closed" {
				t.Errorf("%s %s: the connection goes on with %s", name, phase, got)
			}
		}
	}
	if strings.Contains(server.Log(t), "smuggled") {
		t.Error("what follows reached the target")
	}
	if rows := server.Query(t, "postgres", "select * from t"); len(rows) > 0 {
		t.Error("what was not ended was committed")
	}
}

// A message that is longer than what comes, and what comes after Terminate, is not executed.
func TestCutMessagesAndThoseAfterTerminate(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t(id int)")
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessFull)
	end := []byte{'X', 0, 0, 0, 4}
	pipeline := func(messages ...pgproto3.FrontendMessage) (all []byte) {
		for _, m := range messages {
			b, err := m.Encode(nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return all
	}
	for name, b := range map[string][]byte{
		"a Query that is cut":            withLength('Q', 100, "drop table smuggled\x00"),
		"a Query after Terminate":        append(bytes.Clone(end), smuggled...),
		"Terminate with a body":          append([]byte{'X', 0, 0, 0, 9}, smuggled...),
		"a pipeline without its Sync":    pipeline(parse("", "insert into t values (1)"), bind("", "", 0), execute("", 0)),
		"a pipeline ended by Terminate":  append(pipeline(parse("", "insert into t values (1)"), bind("", "", 0), execute("", 0)), end...),
		"a COPY ended by Terminate":      append(pipeline(query("copy t from stdin"), &pgproto3.CopyData{Data: []byte("1\n")}), end...),
		"a COPY ended by CopyDone's cut": append(pipeline(query("copy t from stdin"), &pgproto3.CopyData{Data: []byte("1\n")}), 'c', 0, 0, 0),
		"a Sync after Terminate":         append(append(pipeline(parse("", "insert into t values (1)"), bind("", "", 0), execute("", 0)), end...), 'S', 0, 0, 0, 4),
	} {
		fe := frontend(t, g, c, "postgres")
		if err := fe.bytes(b); err != nil {
			t.Fatal(err)
		}
		if tls, ok := fe.h.Conn.(interface{ CloseWrite() error }); ok {
			_ = tls.CloseWrite()
		}
		_ = fe.until("never")
		_ = g.over(t)
		if rows := server.Query(t, "postgres", "select * from t"); len(rows) > 0 {
			t.Fatalf("%s: it was committed", name)
		}
	}
	if strings.Contains(server.Log(t), "smuggled") {
		t.Error("what is cut or late reached the target")
	}
}
