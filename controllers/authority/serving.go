package authority

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Serving is a server's certificate and key in PEM.
type Serving struct{ Cert, Key []byte }

// Serve returns a certificate for the names: old if that is still good at now, else a new
// one, and says which.
func (k *Keys) Serve(old Serving, names []string, now time.Time) (Serving, bool, error) {
	if k.good(old, names, now) {
		return old, false, nil
	}
	cert, key, err := k.current.Serving(names, nil, now, ServingLifetime)
	if err != nil {
		return Serving{}, false, fmt.Errorf("make serving certificate: %w", err)
	}
	return Serving{Cert: cert, Key: key}, true, nil
}

// RenewAt returns when a certificate is replaced; the zero time for one that cannot be
// read.
func (s Serving) RenewAt() time.Time {
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		return time.Time{}
	}
	return renewAt(pair.Leaf)
}

func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

func (k *Keys) good(s Serving, names []string, now time.Time) bool {
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(k.current.CertPEM())
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	return err == nil && now.Before(renewAt(pair.Leaf)) && slices.Equal(pair.Leaf.DNSNames, names)
}
