package postgres

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// replicas starts two replicas of a gate in front of a server. The counters count what each
// passes on.
func replicas(t *testing.T, server *pgtest.Server, options ...option) (first, second *gate, passed [2]*atomic.Int32) {
	t.Helper()
	var listeners [2]net.Listener
	var addresses []netip.AddrPort
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i], passed[i] = l, new(atomic.Int32)
		addresses = append(addresses, netip.MustParseAddrPort(l.Addr().String()))
	}
	replica := func(i int, more ...option) *gate {
		return start(t, server, append(append(more, options...), func(g *gate, c *engpg.Config) {
			g.listener = listeners[i]
			c.Peers = &engpg.Peers{Self: addresses[i], ServerName: "localhost",
				Find: func(context.Context) ([]netip.AddrPort, error) { return addresses, nil },
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					passed[i].Add(1)
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}}
		})...)
	}
	var config *tls.Config
	first = replica(0, func(_ *gate, c *engpg.Config) { config = c.TLS })
	// Replicas share the gate's authority.
	second = replica(1, func(g *gate, c *engpg.Config) { c.TLS, g.pool = config, first.pool })
	return first, second, passed
}

func cancelRequest(t testing.TB, pid uint32, secret []byte) []byte {
	t.Helper()
	b, err := (&pgproto3.CancelRequest{ProcessID: pid, SecretKey: secret}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCancelAcrossReplicas(t *testing.T) {
	server := pgtest.Start(t)
	t.Run("a silent replica", func(t *testing.T) { silentReplica(t, server) })
	t.Run("a long key", func(t *testing.T) { longKey(t, server) })
	server.Exec(t, "postgres", "create table orders(id int)")
	first, second, passed := replicas(t, server, rule("held", v1alpha1.ActionRequireApproval, v1alpha1.PendingWait, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
	c := first.grant("agent", v1alpha1.AccessReadWrite)

	for name, send := range map[string]func(b []byte){
		"with TLS":    func(b []byte) { secure(t, second, "", b) },
		"direct TLS":  func(b []byte) { secure(t, second, "direct", b) },
		"without TLS": func(b []byte) { plain(t, second, b) },
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, first, c, "postgres")
			sleep := "select pg_sleep(100) as \"" + name + "\""
			fe.send(query(sleep))
			eventually(t, "the statement runs", func() bool { return strings.Contains(server.Log(t), sleep) })
			send(cancelRequest(t, fe.h.PID, fe.h.SecretKey))
			if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014") {
				t.Errorf("got %s", got)
			}
			// The request was over before its connection was: what comes next is not hit.
			fe.send(query("select 'next'"))
			if got := fe.untilReady(); !strings.Contains(got, "DataRow(next)") {
				t.Errorf("got %s", got)
			}
		})
	}
	t.Run("a held command", func(t *testing.T) {
		fe := frontend(t, first, c, "postgres")
		fe.send(query("delete from orders"))
		fe.until("Notice")
		secure(t, second, "", cancelRequest(t, fe.h.PID, fe.h.SecretKey))
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a wrong secret", func(t *testing.T) {
		fe := frontend(t, first, c, "postgres")
		fe.send(query("select pg_sleep(1)"))
		secure(t, second, "", cancelRequest(t, fe.h.PID, []byte{1, 2, 3, 4}))
		if got := fe.untilReady(); !strings.Contains(got, "Complete(SELECT 1)") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a key that names nobody is not passed on", func(t *testing.T) {
		before := passed[0].Load() + passed[1].Load()
		fe := frontend(t, first, c, "postgres")
		for i := range uint32(8) {
			secure(t, second, "", cancelRequest(t, fe.h.PID^(1<<16<<i), fe.h.SecretKey))
		}
		if after := passed[0].Load() + passed[1].Load(); after != before {
			t.Errorf("%d were passed on", after-before)
		}
	})
	t.Run("what a replica passed on goes no further", func(t *testing.T) {
		before := passed[1].Load()
		fe := frontend(t, first, c, "postgres")
		fe.send(query("select pg_sleep(0.5)"))
		if got := asPeer(t, second, cancelRequest(t, fe.h.PID, fe.h.SecretKey)); len(got) != 0 {
			t.Errorf("got %q", got)
		}
		if got := fe.untilReady(); !strings.Contains(got, "Complete(SELECT 1)") || passed[1].Load() != before {
			t.Errorf("got %s; %d were passed on", got, passed[1].Load()-before)
		}
	})
	t.Run("a replica can do nothing but cancel", func(t *testing.T) {
		if got := asPeer(t, first, startup(3<<16, "user", "agent", "database", "postgres")); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
}

// asPeer sends what a replica would and returns what comes back.
func asPeer(t testing.TB, g *gate, b []byte) []byte {
	t.Helper()
	c, err := tls.Dial("tcp", g.addr, &tls.Config{RootCAs: g.pool, ServerName: "localhost", NextProtos: []string{"cardea-cancel"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(b)
	got, _ := io.ReadAll(c)
	return got
}

// Many requests to cancel, all with keys of a replica that does not answer, wait for no
// longer than their sign-in, and keep nobody else out.
func silentReplica(t *testing.T, server *pgtest.Server) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var dials atomic.Int32
	other := netip.MustParseAddrPort(silent.Addr().String())
	g := start(t, server, signInWithin(15*time.Second), func(_ *gate, c *engpg.Config) {
		c.Peers = &engpg.Peers{Self: netip.MustParseAddrPort("127.0.0.1:1"), ServerName: "localhost",
			Find: func(context.Context) ([]netip.AddrPort, error) { return []netip.AddrPort{other}, nil },
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}}
	})
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	// Another gate that says it is there tells what its keys look like.
	twin := start(t, server, func(_ *gate, c *engpg.Config) {
		c.Peers = &engpg.Peers{Self: other, ServerName: "localhost", Find: func(context.Context) ([]netip.AddrPort, error) { return nil, nil },
			Dial: (&net.Dialer{}).DialContext}
	})
	key := frontend(t, twin, twin.grant("agent", v1alpha1.AccessReadOnly), "postgres").h.PID
	for range 64 {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(cancelRequest(t, key, []byte{1, 2, 3, 4}))
	}
	eventually(t, "requests are passed on", func() bool { return dials.Load() > 0 })
	fe := frontend(t, g, c, "postgres")
	fe.send(query("select 1"))
	if got := fe.untilReady(); !strings.Contains(got, "DataRow(1)") {
		t.Errorf("got %s", got)
	}
	if n := dials.Load(); n > 32 {
		t.Errorf("%d at a time", n)
	}
	for range 64 {
		_ = g.over(t)
	}
}

// A key of protocol 3.2 is longer, and cancels as well.
func longKey(t *testing.T, server *pgtest.Server) {
	first, second, _ := replicas(t, server)
	c := first.grant("agent", v1alpha1.AccessReadOnly)
	fe := frontend(t, first, c, "postgres", "&max_protocol_version=3.2")
	if len(fe.h.SecretKey) != 32 || binary.BigEndian.Uint32(fe.h.SecretKey) == 0 {
		t.Fatalf("a secret of %d bytes", len(fe.h.SecretKey))
	}
	fe.send(query("select pg_sleep(101)"))
	eventually(t, "the statement runs", func() bool { return strings.Contains(server.Log(t), "pg_sleep(101)") })
	secure(t, second, "", cancelRequest(t, fe.h.PID, fe.h.SecretKey))
	if got := fe.untilReady(); !strings.Contains(got, "ERROR(57014") {
		t.Errorf("got %s", got)
	}
}
