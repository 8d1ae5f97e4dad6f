package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// skew is by how much a certificate begins earlier than asked for, so that a peer whose
// clock is a little behind accepts it.
const skew = time.Minute

// Authority signs the certificates of one gate. It is immutable and safe for concurrent
// use.
type Authority struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
	keyPEM  []byte
}

// NewAuthority makes an authority with a new ECDSA P-256 key.
func NewAuthority(name string, notBefore, notAfter time.Time) (*Authority, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: notBefore.Add(-skew), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	return &Authority{cert: cert, key: key, certPEM: encode("CERTIFICATE", der), keyPEM: keyPEM}, nil
}

// ParseAuthority returns the authority of a certificate and key in PEM. It fails unless
// the key belongs to the certificate and the certificate may sign others.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("authority: no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	keyBlock, _ := pem.Decode(keyPEM)
	if keyBlock == nil {
		return nil, errors.New("authority: no private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, errors.New("authority: the private key is not in PKCS #8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("authority: the private key does not belong to the certificate")
	}
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("authority: the certificate may not sign others")
	}
	return &Authority{cert: cert, key: key, certPEM: encode("CERTIFICATE", block.Bytes), keyPEM: encode("PRIVATE KEY", keyBlock.Bytes)}, nil
}

// CertPEM returns the authority's certificate.
func (a *Authority) CertPEM() []byte { return a.certPEM }

// KeyPEM returns the authority's private key in PKCS #8. It is secret.
func (a *Authority) KeyPEM() []byte { return a.keyPEM }

// NotAfter is when the authority's certificate ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Serving makes a server certificate for the given names and addresses. It ends after
// lifetime, or with the authority if that is earlier.
func (a *Authority) Serving(dnsNames []string, ips []net.IP, now time.Time, lifetime time.Duration) (certPEM, keyPEM []byte, err error) {
	name := v1alpha1.ProxyName
	if len(dnsNames) > 0 && len(dnsNames[0]) <= 64 {
		name = dnsNames[0]
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: dnsNames, IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certPEM, keyPEM, _, err = a.sign(template, now, now.Add(lifetime))
	return certPEM, keyPEM, err
}

// client makes a client certificate for a grant: its common name is the grant's, its URI
// says which incarnation.
func (a *Authority) client(g *v1alpha1.AccessGrant, now, expires time.Time) (certPEM, keyPEM, der []byte, err error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: g.Name}, URIs: []*url.URL{GrantURI(g)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return a.sign(template, now, expires)
}

// GrantURI is the name of one incarnation of a grant in client certificates:
// cardea://NAMESPACE/GRANT/UID.
func GrantURI(g *v1alpha1.AccessGrant) *url.URL {
	return &url.URL{Scheme: "cardea", Host: g.Namespace, Path: "/" + g.Name + "/" + string(g.UID)}
}

func (a *Authority) sign(template *x509.Certificate, now, expires time.Time) (certPEM, keyPEM, der []byte, err error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, nil, err
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, nil, nil, err
	}
	if expires.After(a.cert.NotAfter) {
		expires = a.cert.NotAfter
	}
	template.NotBefore, template.NotAfter = now.Add(-skew), expires
	template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	return encode("CERTIFICATE", der), keyPEM, der, nil
}

// signed reports whether a signed a client certificate in PEM that is good at now.
func (a *Authority) signed(certPEM []byte, now time.Time) bool {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	return a.Signed(cert, now, x509.ExtKeyUsageClientAuth)
}

// Signed reports whether a signed the certificate, which is good at now for that usage.
func (a *Authority) Signed(cert *x509.Certificate, now time.Time, usage x509.ExtKeyUsage) bool {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err == nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, encode("PRIVATE KEY", der), nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	return n, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
