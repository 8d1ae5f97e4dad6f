package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// Faults that other gates and poolers had at sign-in.
func TestSignInRegressions(t *testing.T) {
	server := pgtest.Start(t)
	for name, try := range map[string]func(*testing.T, *pgtest.Server){
		"CVE-2026-107350 second start-up": secondStartup, "CVE-2021-3935 bytes before TLS": bytesBeforeTLS,
		"CVE-2025-2291 expired credential": expiredCredential, "CVE-2021-41395 database name": databaseName,
		"stalled handshakes by the thousand": stalledHandshakes,
	} {
		t.Run(name, func(t *testing.T) { try(t, server) })
	}
}

// CVE-2026-107350: a second start-up message made a pooler forget whom it had authenticated.
func secondStartup(t *testing.T, server *pgtest.Server) {
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	second := startup(3<<16, "user", "postgres", "database", "postgres")
	for name, first := range map[string][]byte{"at once": nil, "after a start-up": startup(3<<16, "user", "agent")} {
		for _, again := range [][]byte{second, sslRequest, cancelRequest(t, 1, []byte{1, 2, 3, 4})} {
			if first == nil && bytes.Equal(again, second) {
				continue // that is the first one
			}
			if got := string(secure(t, g, "", append(bytes.Clone(first), again...))); strings.Contains(got, "R\x00\x00\x00\x08\x00\x00\x00\x00") || strings.Contains(got, "Z\x00\x00\x00\x05") {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
	for name, before := range map[string][]pgproto3.FrontendMessage{
		"in a session": nil, "in a transaction": {query("begin")}, "in a pipeline": {parse("", "select 1")}, "in COPY": {query("copy (select 1) to stdout")},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			fe.send(before...)
			if err := fe.bytes(second); err != nil {
				t.Fatal(err)
			}
			if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01 CDA-1013") {
				t.Errorf("got %s", got)
			}
			if got, err := fe.next(); err == nil {
				t.Errorf("the connection goes on with %s", got)
			}
		})
	}
}

// CVE-2021-3935 and its kin: what was sent before TLS was taken for what was sent in it.
func bytesBeforeTLS(t *testing.T, server *pgtest.Server) {
	g := start(t, server, signInWithin(10*time.Second))
	g.grant("agent", v1alpha1.AccessReadOnly)
	before := server.Log(t)
	for name, early := range map[string][]byte{
		"a start-up message": startup(3<<16, "user", "agent"), "a query": {'Q', 0, 0, 0, 13, 's', 'e', 'l', 'e', 'c', 't', ' ', '1', 0},
		"one byte": {0}, "another request": sslRequest, "the TLS handshake": {0x16, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := plain(t, g, append(bytes.Clone(sslRequest), early...)); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		})
		t.Run(name+", after the answer", func(t *testing.T) {
			c, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write(sslRequest)
			var answer [1]byte
			if _, err := io.ReadFull(c, answer[:]); err != nil || answer[0] != 'S' {
				t.Fatal(answer, err)
			}
			_, _ = c.Write(early)
			s := tls.Client(c, &tls.Config{RootCAs: g.pool, ServerName: "localhost"})
			if err := s.Handshake(); err == nil {
				t.Error("TLS begins")
			}
		})
	}
	if server.Log(t) != before {
		t.Error("something reached the target")
	}
}

// CVE-2025-2291: a pooler went by a password hash alone and not by its VALID UNTIL.
func expiredCredential(t *testing.T, server *pgtest.Server) {
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	before := server.Log(t)
	now := time.Now()
	for name, valid := range map[string][2]time.Time{
		"just expired": {now.Add(-time.Hour), now.Add(-time.Millisecond)}, "long ago": {now.Add(-48 * time.Hour), now.Add(-24 * time.Hour)},
		"not yet valid": {now.Add(time.Hour), now.Add(2 * time.Hour)}, "never valid": {now.Add(time.Hour), now.Add(-time.Hour)}, "without times": {},
	} {
		t.Run(name, func(t *testing.T) {
			g.apply(func(in *policy.Input) {
				grant := in.Grants[0].DeepCopy() // which itself is open
				grant.Status.Verifiers[0].NotBefore, grant.Status.Verifiers[0].ExpiresAt = metav1.NewTime(valid[0]), metav1.NewTime(valid[1])
				in.Grants[0] = grant
			})
			bare := c
			bare.password = ""
			for how, uri := range map[string]string{
				"password": g.uri(c, "postgres", ""), "certificate": g.uri(bare, "postgres", "&sslcert="+c.certFile+"&sslkey="+c.keyFile),
			} {
				conn, err := pgx.Connect(context.Background(), uri)
				if err == nil {
					conn.Close(context.Background())
				}
				if sqlState(err) != "28P01" || !strings.Contains(err.Error(), "CDA-1001") {
					t.Errorf("%s: %v", how, err)
				}
			}
		})
	}
	if server.Log(t) != before {
		t.Error("something reached the target")
	}
}

// CVE-2021-41395: a database name was put into a connection string.
func databaseName(t *testing.T, server *pgtest.Server) {
	g := start(t, server)
	names := []string{
		"postgres host=evil.example", "postgres?sslmode=disable", "postgres' user='postgres", "postgres user=postgres", "postgres&options=-c%20role%3Dpostgres",
		"host=evil dbname=postgres", "postgresql://evil/postgres", "../postgres", `postgres\`, "postgres;drop", "POSTGRES", " postgres", "postgres ",
	}
	everything, one := g.grant("everything", v1alpha1.AccessReadOnly), g.grant("one", v1alpha1.AccessReadOnly)
	g.apply(func(in *policy.Input) {
		grant := in.Grants[1].DeepCopy()
		grant.Spec.Postgres.Databases = []string{"postgres"}
		in.Grants[1] = grant
	})
	sign := func(c credential, database string) error {
		config, err := pgx.ParseConfig(g.uri(c, "postgres", ""))
		if err != nil {
			t.Fatal(err)
		}
		config.Database = database
		conn, err := pgx.ConnectConfig(context.Background(), config)
		if err == nil {
			conn.Close(context.Background())
		}
		return err
	}
	for _, name := range names {
		// To a grant for every database it is a name like any other, and arrives as it is.
		if err := sign(everything, name); sqlState(err) != "3D000" || !strings.Contains(err.Error(), "no such database") {
			t.Errorf("%q: %v", name, err)
		}
		if !strings.Contains(server.Log(t), fmt.Sprintf("database \"%s\" does not exist", name)) {
			t.Errorf("%q did not arrive as it is", name)
		}
		if err := sign(one, name); sqlState(err) != "28000" || !strings.Contains(err.Error(), "CDA-1006") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"postgres\nhost=evil", "postgres\x7f", "postgres\t", strings.Repeat("x", 64)} {
		if err := sign(everything, name); sqlState(err) != "08P01" {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Handshakes that stall at every step, by the thousand, keep nobody out and end by
// themselves.
func stalledHandshakes(t *testing.T, server *pgtest.Server) {
	g := start(t, server, signInWithin(30*time.Second))
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	hello := []byte{0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3}
	stall := []func(net.Conn){
		func(net.Conn) {},
		func(c net.Conn) { _, _ = c.Write(sslRequest[:5]) },
		func(c net.Conn) { _, _ = c.Write(sslRequest) },
		func(c net.Conn) { _, _ = c.Write(hello) },
		func(c net.Conn) { _, _ = c.Write([]byte{0, 0, 0x27, 0x10, 0, 3, 0, 0, 'u'}) },
		func(c net.Conn) { inTLS(g, c, nil) },
		func(c net.Conn) { inTLS(g, c, startup(3<<16, "user", "agent")[:12]) },
		func(c net.Conn) { inTLS(g, c, startup(3<<16, "user", "agent")) },
		func(c net.Conn) {
			inTLS(g, c, append(startup(3<<16, "user", "agent"), 'p', 0, 0, 0, 40, 'S', 'C'))
		},
		func(c net.Conn) { _, _ = c.Write(cancelRequest(t, 1, []byte{1, 2, 3, 4})[:10]) },
	}
	const many = 1000
	var opened gosync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range many {
		slots <- struct{}{}
		opened.Go(func() {
			defer func() { <-slots }()
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
			stall[i%len(stall)](conn)
		})
	}
	opened.Wait()
	if _, err := connect(t, g.uri(c, "postgres", "")).Exec(context.Background(), "select 1"); err != nil {
		t.Error(err)
	}
	for range many {
		if err := g.over(t); err == nil {
			t.Fatal("a stalled handshake became a session")
		}
	}
}

// inTLS begins TLS on c and sends b in it.
func inTLS(g *gate, c net.Conn, b []byte) {
	var answer [1]byte
	_, _ = c.Write(sslRequest)
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return
	}
	s := tls.Client(c, &tls.Config{RootCAs: g.pool, ServerName: "localhost"})
	if s.Handshake() == nil && len(b) > 0 {
		_, _ = s.Write(b)
	}
}
