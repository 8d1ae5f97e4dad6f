package standalone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// G1: nothing reaches a target for a client before identity and grant.
func TestG1NothingReachesTheTargetBeforeIdentityAndGrant(t *testing.T) {
	db := database2(t)
	g := newGate(t, db).start()
	uri := g.uri()
	at := func(db string) string { return strings.Replace(uri, "/orders?", "/"+db+"?", 1) }
	other := strings.Replace(uri, "//report-agent:", "//nobody:", 1)
	for name, tc := range map[string]struct{ uri, want string }{
		"wrong password":     {strings.Replace(uri, g.credential("password"), "cda_"+strings.Repeat("x", 43), 1), "CDA-1001"},
		"empty password":     {strings.Replace(uri, g.credential("password"), "", 1), "password"},
		"unknown grant":      {other, "CDA-1001"},
		"database not ours":  {at("postgres"), "CDA-1006"},
		"database with case": {at("ORDERS"), "CDA-1006"},
		"no such database":   {at("order"), "CDA-1006"},
		"no TLS":             {strings.Replace(uri, "sslmode=verify-full", "sslmode=disable", 1), "TLS"},
		"replication":        {uri + "&replication=database", "CDA-"},
	} {
		t.Run(name, func(t *testing.T) {
			before := connections(t, db)
			out, code := g.psql(tc.uri, "select 1")
			if code == 0 || !strings.Contains(out, tc.want) {
				t.Errorf("psql ended with %d and said, without %q:\n%s", code, tc.want, out)
			}
			if after := connections(t, db); after != before {
				t.Errorf("%d connections reached the database", after-before)
			}
		})
	}
	t.Run("client certificate", func(t *testing.T) {
		withCert := g.uri("sslcert="+g.path(".credentials/report-agent/tls.crt"), "sslkey="+g.path(".credentials/report-agent/tls.key"))
		if out, code := g.psql(withCert, "select 'in'"); code != 0 || !strings.Contains(out, "in") {
			t.Errorf("psql: %s", out)
		}
	})
}

// G9: clients that say nothing, or nothing sensible, delay nobody.
func TestG9SilentClientsDelayNobody(t *testing.T) {
	g := newGate(t, database(t)).start()
	for i := range 300 {
		c := g.dial()
		switch i % 4 {
		case 0: // nothing at all
		case 1:
			fmt.Fprint(c, "GET / HTTP/1.1\r\n\r\n")
		case 2:
			_, _ = c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // an SSLRequest, and then nothing
		case 3:
			_, _ = c.Write([]byte{0xff, 0xff, 0xff, 0xff})
		}
	}
	if out, code := g.psql(g.uri(), "select 'in'"); code != 0 || !strings.Contains(out, "in") {
		t.Fatalf("psql: %s", out)
	}
}

// database2 is database with its connections logged.
func database2(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.Start(t, "log_connections = on")
	s.Exec(t, "postgres", "create role app login password '"+upstreamPassword+"'")
	s.Exec(t, "postgres", "create database orders owner postgres")
	s.Exec(t, "orders", schema)
	return s
}

// connections is how many connections the proxy's login made.
func connections(t *testing.T, s *pgtest.Server) int {
	t.Helper()
	return strings.Count(s.Log(t), "connection authorized: user=app")
}
