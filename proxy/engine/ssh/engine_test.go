package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// trusting knows every certificate of its grant: what is refused is refused for what the
// certificate says, and not because nobody knows it.
type trusting struct {
	cert     *ssh.Certificate
	from, to time.Time
}

func (d *trusting) Verifiers(string, time.Time) []policy.Verifier {
	return []policy.Verifier{{Grant: "g", CredentialVerifier: v1alpha1.CredentialVerifier{
		SSHCertificateSHA256: credentials.SSHDigest(d.cert), NotBefore: metav1.NewTime(d.from), ExpiresAt: metav1.NewTime(d.to)}}}
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestG1Identify(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) uint64 { return uint64(now.Add(d).Unix()) } //nolint:gosec // a time after 1970
	authority, other, user := newSigner(t), newSigner(t), newSigner(t)
	for name, tc := range map[string]struct {
		change   func(*ssh.Certificate)
		by       ssh.Signer
		login    string
		from, to time.Duration
		want     bool
	}{
		"good":                      {want: true},
		"second principal":          {login: "other", want: true},
		"not its principal":         {login: "root"},
		"no login":                  {login: "-"},
		"no principals":             {change: func(c *ssh.Certificate) { c.ValidPrincipals = nil }},
		"an empty principal":        {change: func(c *ssh.Certificate) { c.ValidPrincipals = append(c.ValidPrincipals, "") }},
		"a wildcard":                {change: func(c *ssh.Certificate) { c.ValidPrincipals = append(c.ValidPrincipals, "*") }},
		"part of a wildcard":        {change: func(c *ssh.Certificate) { c.ValidPrincipals = append(c.ValidPrincipals, "roo?") }},
		"of a host":                 {change: func(c *ssh.Certificate) { c.CertType = ssh.HostCert }},
		"of no known type":          {change: func(c *ssh.Certificate) { c.CertType = 0 }},
		"expired":                   {change: func(c *ssh.Certificate) { c.ValidBefore = at(0) }},
		"not yet valid":             {change: func(c *ssh.Certificate) { c.ValidAfter = at(time.Second) }},
		"another key id":            {change: func(c *ssh.Certificate) { c.KeyId = "h" }},
		"no key id":                 {change: func(c *ssh.Certificate) { c.KeyId = "" }},
		"an unknown option":         {change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "id"} }},
		"bound to an address":       {change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "192.0.2.1"} }},
		"another authority":         {by: other},
		"its own key":               {by: user},
		"the grant is not open yet": {from: time.Second},
		"the grant is over":         {to: -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cert := &ssh.Certificate{Key: user.PublicKey(), CertType: ssh.UserCert, KeyId: "g", ValidPrincipals: []string{"deploy", "other"}, ValidAfter: at(-time.Hour), ValidBefore: at(time.Hour)}
			if tc.change != nil {
				tc.change(cert)
			}
			by, login := authority, "deploy"
			if tc.by != nil {
				by = tc.by
			}
			if tc.login != "" {
				login = strings.TrimSuffix(tc.login, "-")
			}
			if err := cert.SignCert(rand.Reader, by); err != nil {
				t.Fatal(err)
			}
			to := time.Hour
			if tc.to != 0 {
				to = tc.to
			}
			e := &Engine{c: Config{Directory: &trusting{cert, now.Add(tc.from), now.Add(to)}, Now: func() time.Time { return now }}}
			v, err := e.identify(login, cert, []ssh.PublicKey{authority.PublicKey()})
			if (err == nil) != tc.want || (v != nil) != tc.want {
				t.Errorf("got %v, %v; want it to be taken: %v", v, err, tc.want)
			}
			// What is signed belongs to it: one bit changed, it is none.
			cert.Signature.Blob[0] ^= 1
			if _, err := e.identify(login, cert, []ssh.PublicKey{authority.PublicKey()}); err == nil {
				t.Error("it is taken with a wrong signature")
			}
		})
	}
	if _, err := (&Engine{c: Config{Directory: &trusting{}, Now: time.Now}}).identify("deploy", user.PublicKey(), []ssh.PublicKey{user.PublicKey()}); err == nil {
		t.Error("a key that is no certificate is taken")
	}
}
