package authority

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/cardea-dev/cardea/proxy/credentials"
)

// Lifetimes. An authority and a certificate are replaced after two thirds of theirs.
const (
	Lifetime        = 365 * 24 * time.Hour
	ServingLifetime = 30 * 24 * time.Hour
	// Publication is how long a successor is published before it signs.
	Publication = 7 * 24 * time.Hour
)

// Keys of a Secret that holds an authority.
const (
	keyCurrentCert = "tls.crt"
	keyCurrentKey  = "tls.key"
	keyNextCert    = "next.crt"
	keyNextKey     = "next.key"
	keyPrevious    = "previous.crt"
)

// Keys is an authority with its successor, if that is published already, and its
// predecessors, as long as what they signed may be in use. It is immutable.
type Keys struct {
	current  *credentials.Authority
	next     *credentials.Authority
	previous []byte
}

// New makes an authority.
func New(name string, now time.Time) (*Keys, error) {
	a, err := credentials.NewAuthority(name, now, now.Add(Lifetime))
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return &Keys{current: a}, nil
}

// Parse reads an authority from the data of its Secret.
func Parse(data map[string][]byte) (*Keys, error) {
	current, err := credentials.ParseAuthority(data[keyCurrentCert], data[keyCurrentKey])
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	k := &Keys{current: current, previous: data[keyPrevious]}
	if len(data[keyNextCert]) > 0 {
		if k.next, err = credentials.ParseAuthority(data[keyNextCert], data[keyNextKey]); err != nil {
			return nil, fmt.Errorf("read the authority's successor: %w", err)
		}
	}
	return k, nil
}

// Data returns the data of the authority's Secret. It is secret.
func (k *Keys) Data() map[string][]byte {
	out := map[string][]byte{keyCurrentCert: k.current.CertPEM(), keyCurrentKey: k.current.KeyPEM()}
	if k.next != nil {
		out[keyNextCert], out[keyNextKey] = k.next.CertPEM(), k.next.KeyPEM()
	}
	if len(k.previous) > 0 {
		out[keyPrevious] = k.previous
	}
	return out
}

// Signer returns the authority that signs now.
func (k *Keys) Signer() *credentials.Authority { return k.current }

// Bundle returns the certificates, in PEM, of all authorities whose signatures may be met.
func (k *Keys) Bundle() []byte {
	out := bytes.Clone(k.current.CertPEM())
	if k.next != nil {
		out = append(out, k.next.CertPEM()...)
	}
	return append(out, k.previous...)
}

// Rotated returns k as it should be at now, and whether that differs from k.
func (k *Keys) Rotated(name string, now time.Time) (*Keys, bool, error) {
	previous := unexpired(k.previous, now)
	out := &Keys{current: k.current, next: k.next, previous: previous}
	changed := len(previous) != len(k.previous)
	if out.next == nil && !now.Before(issued(k.current).Add(Lifetime*2/3)) {
		next, err := credentials.NewAuthority(name, now, now.Add(Lifetime))
		if err != nil {
			return nil, false, fmt.Errorf("make the authority's successor: %w", err)
		}
		out.next, changed = next, true
	}
	if out.next != nil && (!now.Before(issued(out.next).Add(Publication)) || !now.Before(k.current.NotAfter())) {
		out.previous = unexpired(append(bytes.Clone(k.current.CertPEM()), previous...), now)
		out.current, out.next, changed = out.next, nil, true
	}
	return out, changed, nil
}

func issued(a *credentials.Authority) time.Time { return a.NotAfter().Add(-Lifetime) }

func unexpired(bundle []byte, now time.Time) []byte {
	var out []byte
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && now.Before(cert.NotAfter) {
			out = append(out, pem.EncodeToMemory(block)...)
		}
	}
	return out
}
