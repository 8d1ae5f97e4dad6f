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
	// RecorderLifetime is that of the keys with which recorders sign.
	RecorderLifetime = 30 * 24 * time.Hour
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
	keyEnded       = "ended.crt"
)

// Keys is an authority with its successor, if that is published already, and its
// predecessors, as long as what they signed may be in use. It is immutable.
type Keys struct {
	current  *credentials.Authority
	next     *credentials.Authority
	previous []byte
	ended    []byte // the latest first
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
	k := &Keys{current: current, previous: data[keyPrevious], ended: data[keyEnded]}
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
	if len(k.ended) > 0 {
		out[keyEnded] = k.ended
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

// History returns the certificates, in PEM, of the Bundle and of the authorities that have
// ended, up to 30 of them: what they signed in their time still counts.
func (k *Keys) History() []byte { return append(k.Bundle(), k.ended...) }

// Rotated returns k as it should be at now, and whether that differs from k.
func (k *Keys) Rotated(name string, now time.Time) (*Keys, bool, error) {
	previous, over := unexpired(k.previous, now)
	out := &Keys{current: k.current, next: k.next, previous: previous, ended: latest(append(over, k.ended...))}
	changed := len(over) > 0
	if out.next == nil && !now.Before(issued(k.current).Add(Lifetime*2/3)) {
		next, err := credentials.NewAuthority(name, now, now.Add(Lifetime))
		if err != nil {
			return nil, false, fmt.Errorf("make the authority's successor: %w", err)
		}
		out.next, changed = next, true
	}
	if out.next != nil && (!now.Before(issued(out.next).Add(Publication)) || !now.Before(k.current.NotAfter())) {
		out.previous, over = unexpired(append(bytes.Clone(k.current.CertPEM()), previous...), now)
		out.ended = latest(append(over, out.ended...))
		out.current, out.next, changed = out.next, nil, true
	}
	return out, changed, nil
}

func issued(a *credentials.Authority) time.Time { return a.NotAfter().Add(-Lifetime) }

// unexpired splits a bundle at now; what cannot be read is in neither part.
func unexpired(bundle []byte, now time.Time) (good, over []byte) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
		case now.Before(cert.NotAfter):
			good = append(good, pem.EncodeToMemory(block)...)
		default:
			over = append(over, pem.EncodeToMemory(block)...)
		}
	}
	return good, over
}

// remembered bounds History: at three authorities in two years, twenty years.
const remembered = 30

// latest returns the first certificates of a bundle.
func latest(bundle []byte) []byte {
	var out []byte
	block, rest := pem.Decode(bundle)
	for n := 0; block != nil && n < remembered; n++ {
		out = append(out, pem.EncodeToMemory(block)...)
		block, rest = pem.Decode(rest)
	}
	return out
}
