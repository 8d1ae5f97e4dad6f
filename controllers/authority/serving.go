package authority

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-dev/cardea/proxy/credentials"
)

// Serving is a certificate and its key in PEM.
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

// Recorder returns the key with which the recorders of a gate sign: old if that is still good
// at now, else a new one, and says which. What an old one signed stays good.
func (k *Keys) Recorder(old Serving, namespace string, now time.Time) (Serving, bool, error) {
	if k.goodRecorder(old, namespace, now) {
		return old, false, nil
	}
	cert, key, err := k.current.Recorder(namespace, now, RecorderLifetime)
	if err != nil {
		return Serving{}, false, fmt.Errorf("make recorder key: %w", err)
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
	return err == nil && k.current.Signed(pair.Leaf, now, x509.ExtKeyUsageServerAuth) && now.Before(renewAt(pair.Leaf)) && slices.Equal(pair.Leaf.DNSNames, names)
}

func (k *Keys) goodRecorder(s Serving, namespace string, now time.Time) bool {
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		return false
	}
	of, _, err := credentials.RecorderOf(pair.Leaf)
	return err == nil && of == namespace && k.current.Signed(pair.Leaf, now, x509.ExtKeyUsageAny) && now.Before(renewAt(pair.Leaf))
}
