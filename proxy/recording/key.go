package recording

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/proxy/credentials"
)

// Key is the key of a gate's recorders with the certificate by which everybody can tell
// that it is. It is immutable and safe for concurrent use.
type Key struct {
	private     ed25519.PrivateKey
	certificate []byte // DER
}

// ParseKey returns the key of a recorder's certificate and its private key in PEM (PKCS #8).
// It fails unless they belong together.
func ParseKey(certPEM, keyPEM []byte) (*Key, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("read recorder key: no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read recorder key: %w", err)
	}
	_, public, err := credentials.RecorderOf(cert)
	if err != nil {
		return nil, fmt.Errorf("read recorder key: %w", err)
	}
	keyBlock, _ := pem.Decode(keyPEM)
	if keyBlock == nil {
		return nil, errors.New("read recorder key: no private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, errors.New("read recorder key: the private key is not in PKCS #8")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok || !public.Equal(private.Public()) {
		return nil, errors.New("read recorder key: the private key does not belong to the certificate")
	}
	return &Key{private: private, certificate: block.Bytes}, nil
}

// Sign completes s, whose other fields are set: with the length and digest of its data, the
// time, the digest, the signature and the certificate. It is not held to the lifetime of
// the certificate: a record signed too late, which a reader finds, is better than none.
func (k *Key) Sign(s *Segment, at time.Time) {
	s.Encoding = EncodingZstd
	s.Bytes, s.DataSum = len(s.Data), sumOf(s.Data)
	s.Signed, s.Final = at.UTC().Round(0), s.Manifest != nil
	s.Certificate = k.certificate
	header := s.Header()
	s.Digest = sumOf(header)
	s.Signature = ed25519.Sign(k.private, header)
}

// isDigest reports whether s has the form of a digest.
func isDigest(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, hexDigits) == ""
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Trust is the authorities of a gate: those whose recorders are believed. It is immutable
// and safe for concurrent use.
type Trust struct{ roots *x509.CertPool }

// NewTrust reads the certificates of authorities in PEM. One that has ended counts for what
// was signed before.
func NewTrust(bundle []byte) (*Trust, error) {
	pool := x509.NewCertPool()
	found := false
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("read authorities: the certificate of %q may not sign others", cert.Subject.CommonName)
		}
		pool.AddCert(cert)
		found = true
	}
	if !found {
		return nil, errors.New("read authorities: no certificate in PEM")
	}
	return &Trust{roots: pool}, nil
}

// signer is the certificate that travels with a segment.
type signer struct {
	der       string
	cert      *x509.Certificate
	key       ed25519.PublicKey
	namespace string
	err       error
}

func newSigner(der []byte) *signer {
	s := &signer{der: string(der)}
	if s.cert, s.err = x509.ParseCertificate(der); s.err != nil {
		s.err = fmt.Errorf("its certificate cannot be read: %w", s.err)
		return s
	}
	s.namespace, s.key, s.err = credentials.RecorderOf(s.cert)
	return s
}

// verify says what is wrong with the signature of a segment, which s is said to have made. A
// nil trust leaves open who made the certificate.
func (s *signer) verify(seg *Segment, trust *Trust) error {
	if s.err != nil {
		return fmt.Errorf("is not signed by a recorder: %w", s.err)
	}
	if !ed25519.Verify(s.key, seg.Header(), seg.Signature) {
		return errors.New("was altered: its signature is not one of its header by the key of its certificate")
	}
	if at := seg.Signed; at.Before(s.cert.NotBefore) || at.After(s.cert.NotAfter) {
		return fmt.Errorf("was signed at %s, and the recorder's certificate is good from %s to %s",
			at.Format(time.RFC3339), s.cert.NotBefore.Format(time.RFC3339), s.cert.NotAfter.Format(time.RFC3339))
	}
	if trust == nil {
		return nil
	}
	_, err := s.cert.Verify(x509.VerifyOptions{Roots: trust.roots, CurrentTime: seg.Signed, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("is signed by a recorder that this gate's authorities do not know: %w", err)
	}
	return nil
}
