package standalone

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// idle is a session that waits for nothing but its end.
type idle struct {
	t    *testing.T
	conn *pgconn.HijackedConn
	told chan told
}

type told struct {
	fatal *pgproto3.ErrorResponse
	at    time.Time
}

func (g *gate) idle() *idle {
	g.t.Helper()
	i, err := g.begin()
	if err != nil {
		g.t.Fatal(err)
	}
	return i
}

// begin returns a session, or why there is none.
func (g *gate) begin() (*idle, error) {
	g.t.Helper()
	uri, err := os.ReadFile(g.path(".credentials/report-agent/uri"))
	if err != nil {
		return nil, err
	}
	c, err := pgx.Connect(context.Background(), string(uri))
	if err != nil {
		return nil, err
	}
	if _, err := c.Exec(context.Background(), "select 1"); err != nil {
		return nil, err
	}
	h, err := c.PgConn().Hijack()
	if err != nil {
		return nil, err
	}
	i := &idle{t: g.t, conn: h, told: make(chan told, 1)}
	go func() {
		var last *pgproto3.ErrorResponse
		for {
			m, err := h.Frontend.Receive()
			if err != nil {
				i.told <- told{last, time.Now()}
				return
			}
			if e, ok := m.(*pgproto3.ErrorResponse); ok {
				copied := *e
				last = &copied
			}
		}
	}()
	g.t.Cleanup(func() { h.Conn.Close() })
	return i, nil
}

// end waits for the end and returns what the client was told, and when.
func (i *idle) end() told {
	i.t.Helper()
	select {
	case e := <-i.told:
		if e.fatal == nil {
			i.t.Fatal("the session ended without a word")
		}
		return e
	case <-time.After(patience):
		i.t.Fatal("the session goes on")
	}
	return told{}
}

const lock = `apiVersion: access.cardea.dev/v1alpha1
kind: AccessLock
metadata: {name: incident, namespace: NAMESPACE}
spec: {targetSelector: {}, reason: incident 4711}
`

// G2: an expired, revoked, deleted, locked or terminated grant ends its live sessions.
func TestG2LiveSessionsEnd(t *testing.T) {
	db := database(t)
	revoke := func(g *gate) { g.edit("70-grant.yaml", "spec:\n", "spec:\n  desiredState: Revoked\n") }
	remove := func(name string) func(*gate) {
		return func(g *gate) {
			if err := os.Remove(g.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		do   func(*gate)
		want string
	}{
		"revoked":          {revoke, "CDA-1004"},
		"deleted":          {remove("70-grant.yaml"), "CDA-1004"},
		"locked":           {func(g *gate) { g.write("80-lock.yaml", strings.Replace(lock, "NAMESPACE", "shop-gate", 1)) }, "CDA-1005"},
		"locked from root": {func(g *gate) { g.write("80-lock.yaml", strings.Replace(lock, "NAMESPACE", "cardea-system", 1)) }, "CDA-1005"},
		"broken lock":      {func(g *gate) { g.write("80-lock.yaml", strings.Replace(lock, "reason:", "raeson:", 1)) }, "CDA-1005"},
		"terminated": {func(g *gate) {
			// As often as the proxy writes at the same moment what it had read before.
			name := g.only(".sessions")
			g.eventually("the Session ends", func() bool {
				if strings.Contains(g.read(name), "desiredState: Active") {
					g.edit(name, "desiredState: Active", "desiredState: Terminated")
				}
				return strings.Contains(g.read(name), "endedAt")
			})
		}, "CDA-1010"},
		"target deleted":        {remove("30-target.yaml"), "CDA-100"},
		"required rule deleted": {remove("40-masking.yaml"), "CDA-1007"},
		"rule broken":           {func(g *gate) { g.edit("40-masking.yaml", "predicates: Deny", "predicates: Maybe") }, "CDA-1007"},
		"target moved":          {func(g *gate) { g.edit("30-target.yaml", "host: localhost", "host: elsewhere.invalid") }, "CDA-1007"},
		"not YAML any more":     {func(g *gate) { g.write("90-odd.yaml", "{") }, "CDA-1007"},
		"grant's subject edited": {func(g *gate) {
			g.edit("70-grant.yaml", "namespace: shop, name: report-agent}", "namespace: shop, name: other}")
		}, "CDA-100"},
		"proxy stopped": {func(g *gate) { _ = g.cmd.Process.Signal(syscall.SIGTERM) }, "CDA-1014"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, db).start()
			session := g.idle()
			g.only(".sessions")
			tc.do(g)
			e := session.end()
			if !strings.Contains(e.fatal.Message, tc.want) || e.fatal.Severity != "FATAL" {
				t.Errorf("told %s %q, want %s", e.fatal.Severity, e.fatal.Message, tc.want)
			}
		})
	}
}

// G2: expiry ends a session, by the proxy's own clock.
func TestG2Expiry(t *testing.T) {
	db := database(t)
	var g *gate
	var session *idle
	var end time.Time
	// On a slow machine a grant may be over before the session begins.
	for lasts := 5 * time.Second; session == nil; lasts *= 2 {
		g = newGate(t, db)
		end = time.Now().Add(lasts).Truncate(time.Second)
		g.edit("70-grant.yaml", "duration: 1h", "expiresAt: "+end.UTC().Format(time.RFC3339))
		g.start()
		var err error
		if session, err = g.begin(); err != nil && (time.Now().Before(end) || lasts > patience) {
			t.Fatal(err)
		}
	}
	e := session.end()
	if e.at.Before(end) {
		t.Errorf("the session ended %s before the grant", end.Sub(e.at))
	}
	if !strings.Contains(e.fatal.Message, "CDA-1003") {
		t.Errorf("told %q", e.fatal.Message)
	}
	g.eventually("the credential is gone", func() bool { return !g.exists(".credentials/report-agent") })
}

// G2: the duration of a grant does not begin anew when the proxy does, nor does a revoked
// grant come back.
func TestG2RestartGivesNothingBack(t *testing.T) {
	g := newGate(t, database(t)).start()
	before := g.credential("password")
	old := g.uri()
	g.signal(syscall.SIGTERM)
	g.output.reset()
	g.start()
	if g.credential("password") != before {
		t.Error("a restart changed the credential")
	}
	g.edit("70-grant.yaml", "duration: 1h", "duration: 1s")
	g.eventually("the grant expires by the time of its first approval", func() bool { return !g.exists(".credentials/report-agent") })
	g.signal(syscall.SIGTERM)
	g.output.reset()
	g.start()
	if g.exists(".credentials/report-agent") {
		t.Error("a restart brought an expired grant back")
	}
	if out, code := g.psql(old, "select 1"); code == 0 {
		t.Errorf("the old credential signs in: %s", out)
	}
	g.edit("70-grant.yaml", "duration: 1s", "duration: 2h")
	g.eventually("the longer duration is refused", func() bool { return strings.Contains(g.output.String(), "duration may only shrink") })
}

// A statement that runs is cancelled in the database when its session ends.
func TestG2RunningStatementIsCancelled(t *testing.T) {
	db := database(t)
	g := newGate(t, db)
	// Without masks, so that pg_sleep is a function like any other.
	if err := errors.Join(os.Remove(g.path("40-masking.yaml")), os.Remove(g.path("50-commands.yaml"))); err != nil {
		t.Fatal(err)
	}
	g.edit("30-target.yaml", "requires: [MaskingRule, CommandRule]", "requires: []")
	g.edit("70-grant.yaml", "access: ReadOnly", "access: Full")
	g.start()
	psql := g.open(g.uri())
	psql.send("select pg_sleep(60);")
	running := func() bool {
		return db.Query(t, "postgres", "select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'")[0][0] == "1"
	}
	g.eventually("the statement runs", running)
	g.edit("70-grant.yaml", "spec:\n", "spec:\n  desiredState: Revoked\n")
	psql.expect("FATAL")
	g.eventually("the statement no longer runs", func() bool { return !running() })
}
