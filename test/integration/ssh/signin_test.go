package ssh

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/test/sshtest"
)

// authority returns what signs the certificates of the gate's users: what these tests sign
// with it is more than an attacker can.
func (w *world) authority(t testing.TB) ssh.Signer {
	t.Helper()
	tls := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(w.Dir, ".tls", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, err := credentials.ParseAuthority(tls("ca.crt"), tls("ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := a.SSH()
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// connections is how many connections the server has seen.
func (w *world) connections(t testing.TB) int {
	t.Helper()
	return strings.Count(w.server.Log(t), "Connection from")
}

// alike returns a certificate like the grant's, with a key of its own, changed and signed.
func (w *world) alike(t testing.TB, by ssh.Signer, change func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	key, _ := sshtest.NewKey(t)
	cert := *w.certificate(t)
	cert.Key, cert.Serial = key.PublicKey(), cert.Serial+1
	if change != nil {
		change(&cert)
	}
	if err := cert.SignCert(rand.Reader, by); err != nil {
		t.Fatal(err)
	}
	return certified(t, &cert, key)
}

func certified(t testing.TB, cert *ssh.Certificate, key ssh.Signer) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// disguised is a certificate where a key is expected: what signs is one.
type disguised struct{ ssh.Signer }

func (d disguised) PublicKey() ssh.PublicKey { return disguisedKey{d.Signer.PublicKey()} }

type disguisedKey struct{ ssh.PublicKey }

func (disguisedKey) Type() string { return ssh.KeyAlgoED25519 }

// exchanged shows one key while the server is asked about it, and signs with another.
type exchanged struct {
	shown, used ssh.Signer
}

func (e exchanged) PublicKey() ssh.PublicKey {
	return &exchangedKey{PublicKey: e.shown.PublicKey(), used: e.used.PublicKey()}
}

func (e exchanged) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return e.used.Sign(random, data)
}

// exchangedKey is marshalled twice for the question: to ask, and to compare the answer.
type exchangedKey struct {
	ssh.PublicKey
	used  ssh.PublicKey
	times int
}

func (e *exchangedKey) Marshal() []byte {
	if e.times++; e.times <= 2 {
		return e.PublicKey.Marshal()
	}
	return e.used.Marshal()
}

// mismatched proves a certificate by another private key.
type mismatched struct{ certificate, key ssh.Signer }

func (m mismatched) PublicKey() ssh.PublicKey { return m.certificate.PublicKey() }

func (m mismatched) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return m.key.Sign(random, data)
}

// TestG1SignIn tries every way in but the one there is. Where an authority signs, it is the
// gate's own unless the case is about that: only the change that it names may let it fail.
func TestG1SignIn(t *testing.T) {
	w := start(t, setup{more: []string{"apiVersion: access.cardea.dev/v1alpha1\nkind: AccessGrant\nmetadata: {name: other, namespace: gate}\nspec:\n  subject: {kind: User, name: other}\n" +
		"  targetRef: {name: host}\n  duration: 4h\n  reason: a test\n  ssh: {logins: [daemon], channels: [Exec]}"}})
	gate := w.authority(t)
	good := w.signer(t)
	stranger, _ := sshtest.NewKey(t)
	hour := func(n int) uint64 { return uint64(time.Now().Add(time.Duration(n) * time.Hour).Unix()) } //nolint:gosec // times of now
	keys := ssh.PublicKeys
	eventually(t, "the server's own test of its port in its log", func() bool { return w.connections(t) > 0 })
	before := w.connections(t)
	for name, tc := range map[string]struct {
		login string
		auth  []ssh.AuthMethod
	}{
		// CVE-2025-49825: what a certificate signs is taken for what its authority signs.
		"signed by a certificate of the authority": {auth: []ssh.AuthMethod{keys(w.alike(t, disguised{good}, nil))}},
		"signed by the key of a good certificate":  {auth: []ssh.AuthMethod{keys(w.alike(t, w.key(t), nil))}},
		"an authority's certificate by a stranger": {auth: []ssh.AuthMethod{keys(w.alike(t, disguised{certified(t, ownCertificate(t, stranger), stranger)}, nil))}},
		"a certificate signed by itself":           {auth: []ssh.AuthMethod{keys(certified(t, ownCertificate(t, stranger), stranger))}},
		"a certificate of another authority":       {auth: []ssh.AuthMethod{keys(w.alike(t, stranger, nil))}},
		// CVE-2024-45337 and CVE-2026-46595: who signs in is who signed, not who was asked about.
		"a good certificate shown, a key signs":           {auth: []ssh.AuthMethod{keys(exchanged{shown: good, used: stranger})}},
		"a good certificate shown, its bare key signs":    {auth: []ssh.AuthMethod{keys(exchanged{shown: good, used: w.key(t)})}},
		"a good certificate shown, another one signs":     {auth: []ssh.AuthMethod{keys(exchanged{shown: good, used: certified(t, ownCertificate(t, stranger), stranger)})}},
		"a good certificate, signed with another key":     {auth: []ssh.AuthMethod{keys(mismatched{good, stranger})}},
		"a good certificate, signed with the authority's": {auth: []ssh.AuthMethod{keys(mismatched{good, gate})}},
		// What a certificate says.
		"no principals":           {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.ValidPrincipals = nil }))}},
		"an empty principal":      {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.ValidPrincipals = []string{""} }))}},
		"a wildcard principal":    {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*", w.server.Login} }))}},
		"another principal":       {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"daemon"} }))}},
		"a host certificate":      {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }))}},
		"neither host nor user":   {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.CertType = 3 }))}},
		"expired":                 {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = hour(-2), hour(-1) }))}},
		"not yet valid":           {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = hour(1), hour(2) }))}},
		"another grant's key id":  {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.KeyId = "other" }))}},
		"a key id of no grant":    {auth: []ssh.AuthMethod{keys(w.alike(t, gate, func(c *ssh.Certificate) { c.KeyId = "" }))}},
		"the same, issued again":  {auth: []ssh.AuthMethod{keys(w.alike(t, gate, nil))}},
		"force-command":           {auth: []ssh.AuthMethod{keys(w.alike(t, gate, critical("force-command", "id")))}},
		"source-address":          {auth: []ssh.AuthMethod{keys(w.alike(t, gate, critical("source-address", "127.0.0.1/32")))}},
		"an unknown option":       {auth: []ssh.AuthMethod{keys(w.alike(t, gate, critical("unknown@example.com", "")))}},
		"another login":           {login: "daemon", auth: []ssh.AuthMethod{keys(good)}},
		"a login with a NUL":      {login: w.server.Login + "\x00", auth: []ssh.AuthMethod{keys(good)}},
		"a login after a NUL":     {login: "\x00" + w.server.Login, auth: []ssh.AuthMethod{keys(good)}},
		"a login that is a glob":  {login: "*", auth: []ssh.AuthMethod{keys(good)}},
		"a login with a grant":    {login: w.server.Login + "%client", auth: []ssh.AuthMethod{keys(good)}},
		"the key, no certificate": {auth: []ssh.AuthMethod{keys(w.key(t))}},
		"the authority's key":     {auth: []ssh.AuthMethod{keys(gate)}},
		"nothing":                 {},
		"a password":              {auth: []ssh.AuthMethod{ssh.Password("password")}},
		"an empty password":       {auth: []ssh.AuthMethod{ssh.Password("")}},
		"questions": {auth: []ssh.AuthMethod{ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			return make([]string, len(questions)), nil
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			login := tc.login
			if login == "" {
				login = w.server.Login
			}
			c, err := ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), &ssh.ClientConfig{User: login, Auth: tc.auth,
				HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience}) //nolint:gosec // the test is about the other side
			if err == nil {
				_ = c.Close()
				t.Error("the gate lets it in")
			}
		})
	}
	// Nor is another way offered to those that Go has no client for, as hostbased.
	if got := w.run(t, "", "ssh", "-v", "-o", "PreferredAuthentications=hostbased,gssapi-with-mic,none", "host", "true"); got.Code != 255 ||
		!strings.Contains(got.Stderr, "Authentications that can continue: publickey\r\n") {
		t.Errorf("got %+v", got)
	}
	if entries, err := os.ReadDir(filepath.Join(w.Dir, ".recordings")); err == nil && len(entries) > 0 {
		t.Errorf("there are %d sessions of clients that were not let in", len(entries))
	}
	if after := w.connections(t); after != before {
		t.Errorf("the server was connected to %d times", after-before)
	}
	if got := w.ssh(t, "true"); got.Code != 0 {
		t.Errorf("the good certificate: %+v", got)
	}
	if w.connections(t) == before {
		t.Error("a permitted command does not reach the server: the test sees nothing")
	}
}

func critical(option, value string) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{option: value} }
}

// ownCertificate returns a certificate that a key has signed for itself, with all that makes
// the grant's good but who signed it.
func ownCertificate(t testing.TB, key ssh.Signer) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "client", ValidPrincipals: []string{"root", "daemon"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, key); err != nil {
		t.Fatal(err)
	}
	return cert
}
