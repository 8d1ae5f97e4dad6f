package recording_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/recorder"
)

// parsePEM returns the DER of the first block.
func parsePEM(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

func trust(t testing.TB, bundle []byte) *recording.Trust {
	t.Helper()
	trust, err := recording.NewTrust(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// TestSigners: whatever else signs a segment is found, whether or not the reader knows the
// gate's authorities.
func TestSigners(t *testing.T) {
	good := makeShelf(t, "s1", "select 1")
	now := time.Now()
	gate, other := recorder.NewAuthority(), recorder.NewAuthority()
	signed := func(k *recording.Key, at time.Time) shelf {
		s := good.clone()
		for i := range s {
			if i > 0 {
				s[i].Previous = s[i-1].Digest
			}
			k.Sign(&s[i], at)
		}
		return s
	}
	withCertificate := func(s shelf, certPEM []byte) shelf {
		s[1].Certificate = parsePEM(t, certPEM)
		return s
	}
	serving, _, err := gate.Serving([]string{"gate"}, nil, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	another, _, err := gate.Recorder(recorder.Namespace, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	own := recorder.KeyOf(gate, recorder.Namespace, now)
	cases := map[string]struct {
		shelf   shelf
		want    string // in the first problem; empty for none
		trusted string // the same, where the reader knows the authorities
	}{
		"recorder of the gate":           {signed(own, now), "", ""},
		"recorder of another gate":       {signed(recorder.KeyOf(other, recorder.Namespace, now), now), "", "authorities do not know"},
		"recorder of another namespace":  {signed(recorder.KeyOf(gate, "other-gate", now), now), `the recorder that signed it is of "other-gate"`, `the recorder that signed it is of "other-gate"`},
		"after its end":                  {signed(own, now.Add(48*time.Hour)), "the recorder's certificate is good from", "the recorder's certificate is good from"},
		"before its beginning":           {signed(own, now.Add(-48*time.Hour)), "the recorder's certificate is good from", "the recorder's certificate is good from"},
		"client's certificate":           {withCertificate(signed(own, now), clientCertificate(t)), "not one of a recorder", "not one of a recorder"},
		"serving certificate":            {withCertificate(signed(own, now), serving), "not one of a recorder", "not one of a recorder"},
		"authority":                      {withCertificate(signed(own, now), gate.CertPEM()), "not one of a recorder", "not one of a recorder"},
		"certificate of another key":     {withCertificate(signed(own, now), another), "was altered: its signature", "was altered: its signature"},
		"no certificate":                 {func() shelf { s := signed(own, now); s[1].Certificate = nil; return s }(), "cannot be read", "cannot be read"},
		"no signature":                   {func() shelf { s := signed(own, now); s[1].Signature = nil; return s }(), "was altered: its signature", "was altered: its signature"},
		"signature of another segment":   {func() shelf { s := signed(own, now); s[1].Signature = s[2].Signature; return s }(), "was altered: its signature", "was altered: its signature"},
		"a certificate that nobody made": {signed(selfMade(t), now), "", "authorities do not know"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for want, anchor := range map[*string]recording.Anchor{&c.want: {}, &c.trusted: {Trust: trust(t, gate.CertPEM())}} {
				r := verify(t, c.shelf, anchor)
				if *want == "" && r.Intact() {
					continue
				}
				if r.Intact() || *want == "" || !strings.Contains(r.Problems[0].String(), *want) {
					t.Errorf("%+v, want %q", r.Problems, *want)
				}
			}
		})
	}
}

// clientCertificate is one as a grant's Secret holds it.
func clientCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{{Scheme: "cardea", Host: "shop-gate", Path: "/g/uid"}}, Subject: pkix.Name{CommonName: "g"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// selfMade is the key of somebody with this format at hand: a copy of a recorder's
// certificate that signs itself.
func selfMade(t *testing.T) *recording.Key {
	t.Helper()
	certPEM, _, err := recorder.NewAuthority().Recorder(recorder.Namespace, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(parsePEM(t, certPEM))
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SignatureAlgorithm, c.PublicKey = x509.UnknownSignatureAlgorithm, public
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := recording.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestAuthoritiesThatEnded: what an authority signed in its time counts after its end.
func TestAuthoritiesThatEnded(t *testing.T) {
	s := makeShelf(t, "s1", "select 1")
	year := time.Now().Add(-2 * 365 * 24 * time.Hour)
	old, err := credentials.NewAuthority("old gate", year, year.Add(365*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	key := recorder.KeyOf(old, recorder.Namespace, year)
	for i := range s {
		if i > 0 {
			s[i].Previous = s[i-1].Digest
		}
		key.Sign(&s[i], year.Add(time.Hour))
	}
	if r := verify(t, s, recording.Anchor{Trust: trust(t, append(recorder.NewAuthority().CertPEM(), old.CertPEM()...))}); !r.Intact() {
		t.Errorf("%+v", r.Problems)
	}
	if r := verify(t, s, recording.Anchor{Trust: trust(t, recorder.NewAuthority().CertPEM())}); r.Intact() {
		t.Error("the authorities of now alone vouch for it")
	}
}

func TestNewTrustRefuses(t *testing.T) {
	certPEM, keyPEM, err := recorder.NewAuthority().Recorder(recorder.Namespace, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, bundle := range map[string][]byte{"nothing": nil, "no PEM": []byte("x"), "a recorder": certPEM, "a key": keyPEM,
		"broken": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")} {
		if _, err := recording.NewTrust(bundle); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	a := recorder.NewAuthority()
	cert, key, err := a.Recorder(recorder.Namespace, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := a.Recorder(recorder.Namespace, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ cert, key []byte }{
		"nothing": {}, "no key": {cert, nil}, "no certificate": {nil, key}, "another key": {cert, otherKey}, "swapped": {key, cert},
		"the authority": {a.CertPEM(), a.KeyPEM()}, "a client": {clientCertificate(t), key},
	} {
		if _, err := recording.ParseKey(c.cert, c.key); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := recording.ParseKey(cert, key); err != nil {
		t.Error(err)
	}
}
