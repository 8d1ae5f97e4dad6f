package credentials

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// PasswordPrefix begins every password, so that scanners for leaked secrets know it.
const PasswordPrefix = "cda_"

// Minted is a new credential. Password and KeyPEM are secret and exist nowhere else.
type Minted struct {
	Password string
	CertPEM  []byte
	KeyPEM   []byte
	Verifier v1alpha1.CredentialVerifier
}

// Mint makes a credential for g that begins at now and ends at expires: a password of 256
// bits from random and a client certificate signed by a.
func Mint(g *v1alpha1.AccessGrant, a *Authority, now, expires time.Time, random io.Reader) (*Minted, error) {
	if g.UID == "" || g.Name == "" || g.Namespace == "" {
		return nil, errors.New("mint credential: the grant has no identity")
	}
	if !expires.After(now) {
		return nil, errors.New("mint credential: it would end before it begins")
	}
	var secret [32 + 8]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return nil, fmt.Errorf("mint credential: read randomness: %w", err)
	}
	password := PasswordPrefix + base64.RawURLEncoding.EncodeToString(secret[:32])
	scram, err := NewSCRAM(password, Salt(g.UID), Iterations)
	if err != nil {
		return nil, err
	}
	cert, key, der, err := a.client(g, now, expires)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &Minted{Password: password, CertPEM: cert, KeyPEM: key, Verifier: v1alpha1.CredentialVerifier{
		ID:                hex.EncodeToString(secret[32:]),
		SCRAMSHA256:       scram.String(),
		CertificateSHA256: hex.EncodeToString(sum[:]),
		NotBefore:         metav1.NewTime(now.Truncate(time.Second)),
		ExpiresAt:         metav1.NewTime(expires.Truncate(time.Second)),
	}}, nil
}
