package credentials

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/xdg-go/scram"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func grant(databases ...string) *v1alpha1.AccessGrant {
	g := &v1alpha1.AccessGrant{}
	g.Namespace, g.Name, g.UID = "shop-gate", "report-agent", "7f9c"
	if databases != nil {
		g.Spec.Postgres = &v1alpha1.PostgresPermissions{Databases: databases}
	}
	return g
}

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("gate", now, now.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mint(t *testing.T, a *Authority, g *v1alpha1.AccessGrant) *Minted {
	t.Helper()
	m, err := Mint(g, a, now, now.Add(time.Hour), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func leaf(t *testing.T, certPEM []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(certPEM)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMintedPasswordSignsIn(t *testing.T) {
	m := mint(t, authority(t), grant())
	if !regexp.MustCompile(`^cda_[A-Za-z0-9_-]{43}$`).MatchString(m.Password) {
		t.Errorf("password has not the form that scanners know")
	}
	s, err := ParseSCRAM(m.Verifier.SCRAMSHA256)
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{m.Password: true, m.Password + "x": false, "": false} {
		if signIn(t, s, password) != want {
			t.Errorf("password of length %d signs in: %t, want %t", len(password), !want, want)
		}
	}
}

// signIn runs the exchange of RFC 5802 with an implementation that is not ours.
func signIn(t *testing.T, s SCRAM, password string) bool {
	t.Helper()
	client, err := scram.SHA256.NewClient("report-agent", password, "")
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(s.Salt), Iters: s.Iterations},
			StoredKey: s.StoredKey[:], ServerKey: s.ServerKey[:]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c, v := client.NewConversation(), server.NewConversation()
	msg := ""
	for !c.Done() {
		if msg, err = c.Step(msg); err != nil {
			return false
		}
		if v.Done() {
			break
		}
		if msg, err = v.Step(msg); err != nil {
			return false
		}
	}
	return v.Valid() && c.Valid()
}

func TestClientCertificate(t *testing.T) {
	a := authority(t)
	m := mint(t, a, grant())
	c := leaf(t, m.CertPEM)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CertPEM())
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("the client's certificate is good for a server")
	}
	if c.Subject.CommonName != "report-agent" || len(c.URIs) != 1 || c.URIs[0].String() != "cardea://shop-gate/report-agent/7f9c" {
		t.Errorf("names = %s %v", c.Subject, c.URIs)
	}
	if !c.NotAfter.Equal(now.Add(time.Hour)) {
		t.Errorf("it ends at %s, want when the credential does", c.NotAfter)
	}
	if _, err := tls.X509KeyPair(m.CertPEM, m.KeyPEM); err != nil {
		t.Error(err)
	}
}

func TestMintNeverRepeats(t *testing.T) {
	a, g := authority(t), grant()
	one, two := mint(t, a, g), mint(t, a, g)
	if one.Password == two.Password || one.Verifier.ID == two.Verifier.ID || one.Verifier.SCRAMSHA256 == two.Verifier.SCRAMSHA256 {
		t.Error("two credentials share something")
	}
	s1, _ := ParseSCRAM(one.Verifier.SCRAMSHA256)
	s2, _ := ParseSCRAM(two.Verifier.SCRAMSHA256)
	if !bytes.Equal(s1.Salt, s2.Salt) {
		t.Error("credentials of one grant have different salts: a server could not check both during a rotation")
	}
}

func TestMintRefuses(t *testing.T) {
	a := authority(t)
	anonymous := grant()
	anonymous.UID = ""
	for name, f := range map[string]func() (*Minted, error){
		"no identity": func() (*Minted, error) { return Mint(anonymous, a, now, now.Add(time.Hour), rand.Reader) },
		"no time":     func() (*Minted, error) { return Mint(grant(), a, now, now, rand.Reader) },
		"no randomness": func() (*Minted, error) {
			return Mint(grant(), a, now, now.Add(time.Hour), iotest.ErrReader(errors.New("none")))
		},
	} {
		if m, err := f(); err == nil || m != nil {
			t.Errorf("%s: minted", name)
		}
	}
}

func TestAuthority(t *testing.T) {
	a := authority(t)
	again, err := ParseAuthority(a.CertPEM(), a.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, _, err := again.Serving([]string{"cardea-proxy.shop-gate.svc"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, certPEM)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CertPEM())
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, DNSName: "cardea-proxy.shop-gate.svc"}); err != nil {
		t.Error(err)
	}
	if !c.NotAfter.Equal(again.NotAfter()) {
		t.Error("a certificate outlives its authority")
	}
	other := authority(t)
	for name, pair := range map[string][2][]byte{
		"key of another": {a.CertPEM(), other.KeyPEM()},
		"no certificate": {nil, a.KeyPEM()},
		"no key":         {a.CertPEM(), nil},
		"no authority":   {certPEM, a.KeyPEM()},
	} {
		if _, err := ParseAuthority(pair[0], pair[1]); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPostgresSecret(t *testing.T) {
	m := mint(t, authority(t), grant())
	e := Endpoint{Host: "cardea-proxy.shop-gate.svc", Port: 5432, CAPEM: []byte("CA"), MountPath: "/var/run/cardea"}
	for name, tc := range map[string]struct {
		databases []string
		want      string // the uri after the host, and the database
		database  string
	}{
		"first name":  {[]string{"report_*", "orders", "billing"}, "/orders?", "orders"},
		"only globs":  {[]string{"report_*"}, "/?", ""},
		"odd name":    {[]string{"a/b c"}, "/a%2Fb%20c?", "a/b c"},
		"no postgres": {nil, "/?", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := PostgresSecret(m, e, grant(tc.databases...))
			if string(s[KeyDatabase]) != tc.database {
				t.Errorf("database = %q, want %q", s[KeyDatabase], tc.database)
			}
			want := "postgresql://report-agent:" + m.Password + "@cardea-proxy.shop-gate.svc:5432" + tc.want + "sslmode=verify-full&sslrootcert=/var/run/cardea/ca.crt"
			if string(s[KeyURI]) != want {
				t.Errorf("uri is not as expected:\n%s\n%s", s[KeyURI], want)
			}
			if string(s[KeyType]) != "postgresql" || string(s[KeyProvider]) != "cardea" {
				t.Error("it is no Service Binding")
			}
		})
	}
	e.MountPath = "/tmp/a b&c=d+e"
	u, err := url.Parse(string(PostgresSecret(m, e, grant())[KeyURI]))
	if err != nil || u.Query().Get("sslrootcert") != "/tmp/a b&c=d+e/ca.crt" || strings.Contains(u.RawQuery, "+") {
		t.Errorf("uri = %v, %v", u, err)
	}
}

func FuzzParseSCRAM(f *testing.F) {
	f.Add("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy")
	s, err := NewSCRAM("password", []byte("salt"), Iterations)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.String())
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSCRAM(in)
		if err != nil {
			return
		}
		if s.Iterations < Iterations || len(s.Salt) == 0 {
			t.Errorf("%q is accepted", in)
		}
		again, err := ParseSCRAM(s.String())
		if err != nil || again.StoredKey != s.StoredKey || again.ServerKey != s.ServerKey {
			t.Errorf("%q does not survive", in)
		}
	})
}
