package credentials

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// documentSigning is id-kp-documentSigning of RFC 9336: the key signs documents and is good
// for nothing else, for TLS least of all.
var documentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// recorderScheme begins the URI in the certificate of a recorder. Those of grants begin with
// another one.
const recorderScheme = "cardea-recorder"

// Recorder makes the key with which the proxies of a gate sign recordings: Ed25519, with a
// certificate whose extended key usage is documentSigning alone and whose only name is the
// URI cardea-recorder://NAMESPACE. It ends after lifetime, or with the authority if that is
// earlier.
func (a *Authority) Recorder(namespace string, now time.Time, lifetime time.Duration) (certPEM, keyPEM []byte, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate recorder key: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode recorder key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	ends := now.Add(lifetime)
	if ends.After(a.cert.NotAfter) {
		ends = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "cardea-recorder"},
		URIs:      []*url.URL{{Scheme: recorderScheme, Host: namespace}},
		NotBefore: now.Add(-skew), NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{documentSigning},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign recorder certificate: %w", err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8), nil
}

// ErrNotRecorder says that a certificate is not one of a recorder: it was made for something
// else.
var ErrNotRecorder = errors.New("the certificate is not one of a recorder")

// RecorderOf returns the namespace of the gate and the public key of a recorder's
// certificate. It fails with ErrNotRecorder for every other certificate. Who signed the
// certificate is not looked at.
func RecorderOf(cert *x509.Certificate) (namespace string, key ed25519.PublicKey, err error) {
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	switch {
	case !ok, cert.IsCA, cert.KeyUsage != x509.KeyUsageDigitalSignature,
		len(cert.ExtKeyUsage) != 0, len(cert.UnknownExtKeyUsage) != 1 || !cert.UnknownExtKeyUsage[0].Equal(documentSigning),
		len(cert.DNSNames)+len(cert.EmailAddresses)+len(cert.IPAddresses) != 0, len(cert.URIs) != 1:
		return "", nil, ErrNotRecorder
	}
	u := cert.URIs[0]
	if u.Scheme != recorderScheme || u.Host == "" || u.String() != recorderScheme+"://"+u.Host {
		return "", nil, ErrNotRecorder
	}
	return u.Host, key, nil
}
