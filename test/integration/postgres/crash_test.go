package postgres

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// signal sends a signal to the server's first process.
func signal(t testing.TB, server *pgtest.Server, s syscall.Signal) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(server.Dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// backend returns the process that serves the gate's session which runs something.
func backend(t testing.TB, server *pgtest.Server, runs string) int {
	t.Helper()
	pid := 0
	eventually(t, "it runs: "+runs, func() bool {
		rows := server.Query(t, "postgres", "select pid from pg_stat_activity where pid <> pg_backend_pid() and state = 'active' and query ~* '"+runs+"'")
		if len(rows) == 1 {
			pid, _ = strconv.Atoi(rows[0][0])
		}
		return pid != 0
	})
	return pid
}

// G2: a session ends at once, also one whose target does not answer a request to cancel what it runs.
func TestG2EndsThoughTheTargetHangs(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server, func(_ *gate, c *engpg.Config) { c.Limits.Farewell = 10 * patience })
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadOnly), "postgres")
	fe.send(query("select pg_sleep(600)"))
	backend(t, server, "^select pg_sleep")
	signal(t, server, syscall.SIGSTOP)
	t.Cleanup(func() { signal(t, server, syscall.SIGCONT) })
	g.apply(func(in *policy.Input) {
		revoked := in.Grants[0].DeepCopy()
		revoked.Spec.DesiredState = v1alpha1.GrantRevoked
		in.Grants[0] = revoked
	})
	if got := fe.until("FATAL"); !strings.Contains(got, "CDA-1004") {
		t.Errorf("told %s", got)
	}
	signal(t, server, syscall.SIGCONT)
	_ = g.over(t)
	eventually(t, "the statement is cancelled", func() bool {
		return len(server.Query(t, "postgres", "select 1 from pg_stat_activity where query ~ '^select pg_sleep'")) == 0
	})
}

// A target that dies under a command ends the session, and the recording says that what
// became of the command is unknown.
func TestTargetDies(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+`; create table t(id int);
		create function late() returns trigger language plpgsql as $$ begin perform pg_sleep(600); return null; end $$;
		create table slow(id int); create constraint trigger late after insert on slow deferrable initially deferred for each row execute function late()`)
	for kind, options := range map[string][]option{"unmasked": nil, "masked": {masking(keepLast4(), "*.*.ssn")}} {
		for when, test := range map[string]struct {
			send []pgproto3.FrontendMessage
			wait string
			runs string
			text string // of the command in the recording
		}{
			"in a result":   {[]pgproto3.FrontendMessage{query("select repeat('x', 1000) from generate_series(1, 200000)")}, "DataRow", "^select repeat", "select repeat"},
			"in COMMIT":     {[]pgproto3.FrontendMessage{query("begin"), query("insert into slow values (1)"), query("commit")}, "Complete(INSERT", "^commit", "commit"},
			"in COPY in":    {[]pgproto3.FrontendMessage{query("copy t from stdin"), &pgproto3.CopyData{Data: []byte("1\n")}}, "CopyInResponse", "^copy t", "copy t"},
			"in COPY out":   {[]pgproto3.FrontendMessage{query("copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout")}, "CopyData", "^copy \\(", "copy (select"},
			"in a pipeline": {[]pgproto3.FrontendMessage{parse("", "insert into t values (1)"), bind("", "", 0), execute("", 0), parse("", "select repeat('x', 1000) from generate_series(1, 200000)"), bind("", "", 0), execute("", 0), sync()}, "DataRow", "^select repeat", "select repeat"},
		} {
			t.Run(kind+" "+when, func(t *testing.T) {
				g := start(t, server, options...)
				fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
				fe.send(test.send...)
				fe.until(test.wait)
				const ready = "database system is ready to accept connections"
				before := strings.Count(server.Log(t), ready)
				if err := syscall.Kill(backend(t, server, test.runs), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				got := fe.until("FATAL")
				// Inside a row there is no place for an error.
				if !strings.Contains(got, "CDA-1008") && !strings.HasSuffix(got, "closed") {
					t.Errorf("told %s", got[max(0, len(got)-300):])
				}
				if err := g.over(t); !strings.Contains(err.Error(), "CDA-1008") {
					t.Errorf("it ended with %v", err)
				}
				var id uint64
				var last *recording.Response
				for _, e := range g.recorder.Events() {
					if e.Command != nil && strings.HasPrefix(e.Command.Text, test.text) {
						id = e.Command.ID
					}
					if e.Response != nil && e.Response.ID == id && id != 0 {
						last = e.Response
					}
				}
				if last == nil || !last.Final || !last.Unknown {
					t.Errorf("recorded %+v", last)
				}
				eventually(t, "the server is back", func() bool { return strings.Count(server.Log(t), ready) > before })
				if rows := server.Query(t, "postgres", "select id from t union all select id from slow"); len(rows) > 0 {
					t.Errorf("committed %v", rows)
				}
			})
		}
	}
}
