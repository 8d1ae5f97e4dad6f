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

// Minted is a new credential. Password, KeyPEM and SSHKey are secret and exist nowhere else.
type Minted struct {
	Password string
	CertPEM  []byte
	KeyPEM   []byte
	// SSHKey, in the format of OpenSSH, and SSHCert, a line of an authorized_keys file, are all
	// that a credential for an SSH Target has.
	SSHKey, SSHCert []byte
	Verifier        v1alpha1.CredentialVerifier
}

// Mint makes a credential for g that begins at now and ends at expires: a password of 256
// bits from random and a client certificate signed by a, or, for an SSH Target, a key and a
// certificate of OpenSSH.
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
	verifier := v1alpha1.CredentialVerifier{
		ID: hex.EncodeToString(secret[32:]), NotBefore: metav1.NewTime(now.Truncate(time.Second)), ExpiresAt: metav1.NewTime(expires.Truncate(time.Second)),
	}
	if g.Spec.SSH != nil {
		return mintSSH(g, a, verifier, now, expires, random)
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
	verifier.SCRAMSHA256, verifier.CertificateSHA256 = scram.String(), hex.EncodeToString(sum[:])
	return &Minted{Password: password, CertPEM: cert, KeyPEM: key, Verifier: verifier}, nil
}
