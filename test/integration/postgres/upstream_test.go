package postgres

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/test/pgtest"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// authority makes an authority for client certificates and has the server trust it.
func authority(t *testing.T, server *pgtest.Server) *credentials.Authority {
	t.Helper()
	now := time.Now()
	ca, err := credentials.NewAuthority("clients of the test server", now.Add(-time.Hour), now.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(server.Dir, "clients.crt")
	if err := os.WriteFile(file, ca.CertPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "alter system set ssl_ca_file = '"+file+"'")
	return ca
}

// certificate returns a client's certificate for the name.
func certificate(t *testing.T, ca *credentials.Authority, name string) *tls.Certificate {
	t.Helper()
	now := time.Now()
	grant := wrappers.MakeGrant("ns", name).Postgres(v1alpha1.AccessFull, "*").Obj()
	grant.UID = "uid"
	m, err := credentials.Mint(grant, ca, now.Add(-time.Minute), now.Add(time.Hour), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(m.CertPEM, m.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// admitBy makes the server admit users in the given ways, and everybody else as before.
func admitBy(t *testing.T, server *pgtest.Server, lines ...string) {
	t.Helper()
	file := filepath.Join(server.Dir, "data", "pg_hba.conf")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"+string(before)), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "select pg_reload_conf()")
	eventually(t, "the server has read its configuration", func() bool {
		rows := server.Query(t, "postgres", "select count(*) filter (where error is not null), count(*) filter (where 'bycert' = any(user_name)) from pg_hba_file_rules")
		return rows[0][0] == "0" && rows[0][1] != "0" && server.Query(t, "postgres", "show ssl_ca_file")[0][0] != ""
	})
}

func TestUpstreamSignIn(t *testing.T) {
	server := pgtest.Start(t)
	ca := authority(t, server)
	server.Exec(t, "postgres", `create role bycert login; create role byboth login password 'both';
		create role bytext login password 'text'; set password_encryption = 'md5'; create role bymd5 login password 'md5'`)
	admitBy(t, server, "hostssl all bycert 127.0.0.1/32 cert", "hostssl all byboth 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
		"host all bytext 127.0.0.1/32 password", "host all bymd5 127.0.0.1/32 md5")
	stranger, err := credentials.NewAuthority("somebody else", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		login  session.Login
		noTLS  bool
		reason string // why it is refused; empty if it is not
	}{
		"a certificate":                     {login: session.Login{Username: "bycert", Certificate: certificate(t, ca, "bycert")}},
		"no certificate":                    {login: session.Login{Username: "bycert", Password: "x"}, reason: "SQLSTATE 28000"},
		"the certificate of another":        {login: session.Login{Username: "bycert", Certificate: certificate(t, ca, "byboth")}, reason: "SQLSTATE 28000"},
		"a certificate of nobody":           {login: session.Login{Username: "bycert", Certificate: certificate(t, stranger, "bycert")}, reason: "SQLSTATE 28000"},
		"a certificate and a password":      {login: session.Login{Username: "byboth", Password: "both", Certificate: certificate(t, ca, "byboth")}},
		"a password without certificate":    {login: session.Login{Username: "byboth", Password: "both"}, reason: "SQLSTATE 28000"},
		"a certificate without password":    {login: session.Login{Username: "byboth", Certificate: certificate(t, ca, "byboth")}, reason: "the login has none"},
		"a clear text password in TLS":      {login: session.Login{Username: "bytext", Password: "text"}},
		"a clear text password without TLS": {login: session.Login{Username: "bytext", Password: "text"}, noTLS: true, reason: "clear text without TLS"},
		"an MD5 password in TLS":            {login: session.Login{Username: "bymd5", Password: "md5"}},
		"an MD5 password without TLS":       {login: session.Login{Username: "bymd5", Password: "md5"}, noTLS: true, reason: "MD5 password without TLS"},
		"SCRAM without TLS":                 {login: session.Login{Username: "postgres", Password: server.Password}, noTLS: true},
		"a wrong password":                  {login: session.Login{Username: "postgres", Password: "wrong"}, reason: "SQLSTATE 28P01"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, server)
			g.login = test.login
			if test.noTLS {
				g.input.Targets[0].Spec.Postgres.TLS = v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSDisable}
			}
			c := g.grant("agent", v1alpha1.AccessReadOnly)
			conn, err := pgx.Connect(context.Background(), g.uri(c, "postgres", ""))
			if test.reason != "" {
				if err == nil {
					conn.Close(context.Background())
				}
				if sqlState(err) != "08006" || !strings.Contains(err.Error(), "CDA-1008") || strings.Contains(err.Error(), "by") {
					t.Errorf("the client is told %v", err)
				}
				if g.reached() == nil || !strings.Contains(g.reached().Error(), test.reason) {
					t.Errorf("the condition says %v", g.reached())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			var who string
			if err := conn.QueryRow(context.Background(), "select current_user").Scan(&who); err != nil || who != test.login.Username {
				t.Errorf("signed in as %q: %v", who, err)
			}
		})
	}
}

func (g *gate) reached() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reachable
}

// Whoever has a certificate that the gate trusts, and stands between it and the target, can
// still not relay the sign-in: it is bound to the certificate that the gate was shown.
func TestUpstreamChannelBinding(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	now := time.Now()
	middle, err := credentials.NewAuthority("in the middle", now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := middle.Serving([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	relayed := make(chan error, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { relayed <- between(c, server, pair) }()
		}
	}()
	g.upstream = middle.CertPEM()
	g.input.Targets[0].Spec.Postgres.Port = int32(l.Addr().(*net.TCPAddr).Port)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	if _, err := pgx.Connect(context.Background(), g.uri(c, "postgres", "")); sqlState(err) != "08006" {
		t.Errorf("err = %v", err)
	}
	eventually(t, "the server has refused it", func() bool { return strings.Contains(server.Log(t), "SCRAM channel binding check failed") })
	l.Close()
	if err := <-relayed; err != nil {
		t.Error(err)
	}
}

// between carries bytes between a client and the server, in TLS with both.
func between(c net.Conn, server *pgtest.Server, pair tls.Certificate) error {
	defer c.Close()
	up, err := net.Dial("tcp", net.JoinHostPort(server.Host, strconv.Itoa(server.Port)))
	if err != nil {
		return err
	}
	defer up.Close()
	var request [8]byte
	var answer [1]byte
	if _, err := io.ReadFull(c, request[:]); err != nil {
		return err
	}
	if _, err := up.Write(request[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(up, answer[:]); err != nil {
		return err
	}
	if _, err := c.Write(answer[:]); err != nil {
		return err
	}
	client := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"postgresql"}})
	pem, err := os.ReadFile(server.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("no authority")
	}
	target := tls.Client(up, &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"postgresql"}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(target, client)
		target.Close()
	}()
	_, _ = io.Copy(client, target)
	client.Close()
	<-done
	return nil
}
