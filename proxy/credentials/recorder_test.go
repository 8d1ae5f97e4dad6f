package credentials

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"
)

func TestRecorderIsGoodForNothingElse(t *testing.T) {
	a := authority(t)
	certPEM, _, err := a.Recorder("shop-gate", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, certPEM)
	if namespace, _, err := RecorderOf(cert); err != nil || namespace != "shop-gate" {
		t.Errorf("%q, %v", namespace, err)
	}
	if !a.Signed(cert, now, x509.ExtKeyUsageAny) {
		t.Error("the authority did not sign it")
	}
	for name, usage := range map[string]x509.ExtKeyUsage{"client": x509.ExtKeyUsageClientAuth, "server": x509.ExtKeyUsageServerAuth, "code": x509.ExtKeyUsageCodeSigning} {
		if a.Signed(cert, now, usage) {
			t.Errorf("good for %s", name)
		}
	}
	if want := now.Add(time.Hour); !cert.NotAfter.Equal(want) {
		t.Errorf("ends at %s, want %s", cert.NotAfter, want)
	}
	long, _, err := a.Recorder("shop-gate", now, 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got := leaf(t, long).NotAfter; !got.Equal(a.NotAfter()) {
		t.Errorf("ends at %s, after its authority", got)
	}
}

// TestNothingElseIsARecorder: no other certificate of a gate is taken for one of a recorder,
// nor one that is a recorder's in part.
func TestNothingElseIsARecorder(t *testing.T) {
	a := authority(t)
	serving, _, err := a.Serving([]string{"gate"}, nil, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]*x509.Certificate{
		"authority": a.cert,
		"serving":   leaf(t, serving),
		"client":    leaf(t, mint(t, a, grant("*")).CertPEM),
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*x509.Certificate){
		"URI of a grant":    func(c *x509.Certificate) { c.URIs = []*url.URL{GrantURI(grant())} },
		"URI with a path":   func(c *x509.Certificate) { c.URIs[0].Path = "/x" },
		"URI without host":  func(c *x509.Certificate) { c.URIs[0].Host = "" },
		"two URIs":          func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		"no URI":            func(c *x509.Certificate) { c.URIs = nil },
		"DNS name too":      func(c *x509.Certificate) { c.DNSNames = []string{"gate"} },
		"client too":        func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"no extended usage": func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"another usage":     func(c *x509.Certificate) { c.UnknownExtKeyUsage[0] = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 99} },
		"signs others":      func(c *x509.Certificate) { c.IsCA = true },
		"encipherment too":  func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment },
	} {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cardea-recorder"}, NotBefore: now, NotAfter: now.Add(time.Hour),
			URIs: []*url.URL{{Scheme: recorderScheme, Host: "shop-gate"}}, KeyUsage: x509.KeyUsageDigitalSignature,
			UnknownExtKeyUsage: []asn1.ObjectIdentifier{documentSigning}, BasicConstraintsValid: true}
		spoil(c)
		der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
		if err != nil {
			t.Fatal(name, err)
		}
		if cases[name], err = x509.ParseCertificate(der); err != nil {
			t.Fatal(name, err)
		}
	}
	for name, cert := range cases {
		t.Run(name, func(t *testing.T) {
			if namespace, _, err := RecorderOf(cert); !errors.Is(err, ErrNotRecorder) {
				t.Errorf("taken for the recorder of %q: %v", namespace, err)
			}
		})
	}
}
