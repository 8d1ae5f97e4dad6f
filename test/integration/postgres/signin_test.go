package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// plain sends bytes without TLS and returns what comes back until the connection closes.
func plain(t testing.TB, g *gate, b []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(b)
	answer, _ := io.ReadAll(c)
	return answer
}

var sslRequest = []byte{0, 0, 0, 8, 4, 210, 22, 47}

// secure sends bytes inside TLS, negotiated as named ("direct" or not), and returns what
// comes back until the connection closes.
func secure(t testing.TB, g *gate, how string, b []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	config := &tls.Config{RootCAs: g.pool, ServerName: "localhost"}
	if how == "direct" {
		config.NextProtos = []string{"postgresql"}
	} else if how != "direct without ALPN" {
		_, _ = c.Write(sslRequest)
		var answer [1]byte
		if _, err := io.ReadFull(c, answer[:]); err != nil || answer[0] != 'S' {
			t.Fatal(answer, err)
		}
	}
	s := tls.Client(c, config)
	_, _ = s.Write(b)
	answer, _ := io.ReadAll(s)
	return answer
}

func startup(version uint32, parameters ...string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), version)
	for _, p := range parameters {
		b = append(append(b, p...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestSignIn(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	other := g.grant("other", v1alpha1.AccessReadOnly)
	ctx := context.Background()
	before := server.Log(t)

	for name, test := range map[string]struct {
		send func() []byte
		want string
	}{
		"no TLS": {func() []byte { return plain(t, g, startup(3<<16, "user", "agent")) }, "sslmode=verify-full"},
		"GSS encryption": {func() []byte {
			return plain(t, g, append([]byte{0, 0, 0, 8, 4, 210, 22, 48}, startup(3<<16, "user", "agent")...))
		}, "NE"},
		"bytes before TLS": {func() []byte { return plain(t, g, append(bytes.Clone(sslRequest), startup(3<<16, "user", "agent")...)) }, ""},
		"garbage":          {func() []byte { return plain(t, g, []byte("GET / HTTP/1.1\r\n\r\n")) }, ""},
		"too long":         {func() []byte { return plain(t, g, []byte{0, 1, 0, 0, 0, 3, 0, 0}) }, ""},
		"protocol 2":       {func() []byte { return secure(t, g, "", startup(2<<16, "user", "agent")) }, "CDA-1013"},
		"no user":          {func() []byte { return secure(t, g, "", startup(3<<16, "database", "postgres")) }, "CDA-1013"},
		"a long database name": {func() []byte {
			return secure(t, g, "", startup(3<<16, "user", "agent", "database", strings.Repeat("x", 64)))
		}, "CDA-1013"},
		"a control character": {func() []byte {
			return secure(t, g, "", startup(3<<16, "user", "agent", "database", "postgres\nhost=evil"))
		}, "CDA-1013"},
		"the same setting twice": {func() []byte { return secure(t, g, "", startup(3<<16, "user", "agent", "user", "other")) }, "CDA-1013"},
		"replication":            {func() []byte { return secure(t, g, "", startup(3<<16, "user", "agent", "replication", "database")) }, "no replication"},
		"another SSLRequest":     {func() []byte { return secure(t, g, "", sslRequest) }, "CDA-1013"},
		"direct TLS":             {func() []byte { return secure(t, g, "direct", startup(2<<16, "user", "agent")) }, "CDA-1013"},
		"direct without ALPN":    {func() []byte { return secure(t, g, "direct without ALPN", startup(3<<16, "user", "agent")) }, ""},
		"SASL too long":          {func() []byte { return secure(t, g, "", append(startup(3<<16, "user", "agent"), 'p', 0, 1, 0, 0)) }, "CDA-1013"},
		"a query at once": {func() []byte {
			return secure(t, g, "", append(startup(3<<16, "user", "agent"), 'Q', 0, 0, 0, 9, 'x', 'x', 'x', 'x', 0))
		}, "CDA-1013"},
		"a newer minor version": {func() []byte {
			return secure(t, g, "", append(startup(3<<16|9, "user", "agent", "_pq_.new", "1"), 'p', 0, 0, 0, 4))
		}, "v\x00\x00\x00\x15\x00\x03\x00\x02\x00\x00\x00\x01_pq_.new\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(test.send())
			if !strings.Contains(got, test.want) || test.want == "" && got != "" && !strings.HasPrefix(got, "S") {
				t.Errorf("got %q", got)
			}
			if strings.Contains(got, "Z\x00\x00\x00\x05") {
				t.Error("the client was let in")
			}
		})
	}
	refuse := func(name, uri, state, code string) {
		t.Run(name, func(t *testing.T) {
			conn, err := pgx.Connect(ctx, uri)
			if err == nil {
				conn.Close(ctx)
			}
			if sqlState(err) != state || !strings.Contains(err.Error(), code) {
				t.Errorf("err = %v", err)
			}
		})
	}
	wrong := c
	wrong.password = "cda_wrong"
	refuse("wrong password", g.uri(wrong, "postgres", ""), "28P01", "CDA-1001")
	wrong.grant = "nobody"
	refuse("no such grant", g.uri(wrong, "postgres", ""), "28P01", "CDA-1001")
	wrong = other
	wrong.grant = "agent"
	refuse("the password of another grant", g.uri(wrong, "postgres", ""), "28P01", "CDA-1001")
	refuse("another grant's certificate", g.uri(wrong, "postgres", "&sslcert="+other.certFile+"&sslkey="+other.keyFile), "28P01", "CDA-1001")
	refuse("a setting", g.uri(c, "postgres", "&session_replication_role=replica"), "22023", "CDA-1013")
	refuse("options", g.uri(c, "postgres", "&options=-crole%3Dx"), "22023", "CDA-1013")
	refuse("an encoding", g.uri(c, "postgres", "&client_encoding=LATIN1"), "22023", "CDA-1013")
	if server.Log(t) != before {
		t.Error("something reached the target")
	}
	refuse("no such database", g.uri(c, "nothing", ""), "3D000", "no such database")

	t.Run("certificate", func(t *testing.T) {
		bare := c
		bare.password = ""
		conn := connect(t, g.uri(bare, "postgres", "&sslcert="+c.certFile+"&sslkey="+c.keyFile))
		if _, err := conn.Exec(ctx, "select 1"); err != nil {
			t.Error(err)
		}
	})
	t.Run("channel binding", func(t *testing.T) {
		for _, binding := range []string{"require", "disable"} {
			if out, errs := psql(t, g.uri(c, "postgres", "&channel_binding="+binding), "select 5"); out != "5\n" {
				t.Errorf("%s: %q %q", binding, out, errs)
			}
		}
	})
	t.Run("direct TLS, signed in", func(t *testing.T) {
		if _, err := connect(t, g.uri(c, "postgres", "&sslnegotiation=direct")).Exec(ctx, "select 1"); err != nil {
			t.Error(err)
		}
	})
	t.Run("TLS after GSS encryption was refused", func(t *testing.T) {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		for _, step := range []struct {
			request []byte
			want    byte
		}{{[]byte{0, 0, 0, 8, 4, 210, 22, 48}, 'N'}, {sslRequest, 'S'}} {
			var answer [1]byte
			_, _ = conn.Write(step.request)
			if _, err := io.ReadFull(conn, answer[:]); err != nil || answer[0] != step.want {
				t.Fatalf("got %q, %v", answer, err)
			}
		}
		s := tls.Client(conn, &tls.Config{RootCAs: g.pool, ServerName: "localhost"})
		_, _ = s.Write(startup(3<<16, "user", "agent"))
		var answer [1]byte
		if _, err := io.ReadFull(s, answer[:]); err != nil || answer[0] != 'R' {
			t.Fatalf("got %q, %v", answer, err)
		}
	})
	t.Run("pg_isready", func(t *testing.T) {
		for _, mode := range []string{"prefer", "require", "disable"} {
			cmd := exec.Command(pgtest.Bin(t, "pg_isready"), "-h", "127.0.0.1", "-p", strconv.Itoa(g.port))
			cmd.Env = append(os.Environ(), "PGSSLMODE="+mode)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "accepting connections") {
				t.Errorf("%s: %q, %v", mode, out, err)
			}
		}
	})
	t.Run("settings as options", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", "&options=-c%20statement_timeout%3D1234%20--search-path%3Dpg_catalog,\\%20public&application_name=o"))
		for name, want := range map[string]string{"statement_timeout": "1234ms", "search_path": "pg_catalog, public"} {
			var got string
			if err := conn.QueryRow(ctx, "show "+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v", name, got, err)
			}
		}
	})
	t.Run("application_name", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", "&application_name=report%20%5Bx%5D"))
		told := func() string { return conn.PgConn().ParameterStatus("application_name") }
		shown := func(want string) {
			t.Helper()
			rows := server.Query(t, "postgres", "select application_name from pg_stat_activity where pid <> pg_backend_pid() and application_name like 'report%'")
			if len(rows) != 1 || rows[0][0] != want {
				t.Errorf("the target sees %v", rows)
			}
		}
		if told() != "report [x]" {
			t.Errorf("the client is told %q", told())
		}
		shown("report (x) [cardea agent/agent-abcde]")
		for _, step := range [][2]string{{"set application_name = 'report 2'", "report 2"}, {"reset application_name", "report [x]"}} {
			if _, err := conn.Exec(ctx, step[0]); err != nil || told() != step[1] {
				t.Errorf("%s: %q, %v", step[0], told(), err)
			}
		}
	})
	t.Run("while a rotation overlaps both passwords hold", func(t *testing.T) {
		older := g.grant("twin", v1alpha1.AccessReadOnly)
		newer := older
		g.apply(func(in *policy.Input) {
			twin := in.Grants[len(in.Grants)-1].DeepCopy()
			m, err := credentials.Mint(twin, g.ca, time.Now().Add(-time.Minute), time.Now().Add(time.Hour), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			newer.password = m.Password
			twin.Status.Verifiers = append([]v1alpha1.CredentialVerifier{m.Verifier}, twin.Status.Verifiers...)
			in.Grants[len(in.Grants)-1] = twin
		})
		for _, c := range []credential{older, newer} {
			if _, err := connect(t, g.uri(c, "postgres", "")).Exec(ctx, "select 1"); err != nil {
				t.Error(err)
			}
		}
		g.apply(func(in *policy.Input) {
			twin := in.Grants[len(in.Grants)-1].DeepCopy()
			twin.Status.Verifiers[1].ExpiresAt = metav1.NewTime(time.Now().Add(-time.Second))
			in.Grants[len(in.Grants)-1] = twin
		})
		if _, err := pgx.Connect(ctx, g.uri(older, "postgres", "")); sqlState(err) != "28P01" {
			t.Errorf("the expired one: %v", err)
		}
		if _, err := connect(t, g.uri(newer, "postgres", "")).Exec(ctx, "select 1"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a second start-up message", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		if err := fe.bytes(startup(3<<16, "user", "agent", "database", "postgres")); err != nil {
			t.Fatal(err)
		}
		if got := fe.untilReady(); !strings.Contains(got, "FATAL(08P01 CDA-1013") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a silent client", func(t *testing.T) {
		g := start(t, server, signInWithin(100*time.Millisecond))
		begun := time.Now()
		if got := plain(t, g, nil); len(got) != 0 || time.Since(begun) > patience/2 {
			t.Errorf("got %q after %s", got, time.Since(begun))
		}
	})
	t.Run("the target is gone", func(t *testing.T) {
		g.apply(func(in *policy.Input) {
			target := in.Targets[0].DeepCopy()
			target.Spec.Postgres.Port = 1
			in.Targets[0] = target
		})
		_, err := pgx.Connect(ctx, g.uri(c, "postgres", ""))
		if sqlState(err) != "08006" || !strings.Contains(err.Error(), "CDA-1008") || g.reachable == nil {
			t.Errorf("err = %v, reachable = %v", err, g.reachable)
		}
	})
}
