package credentials

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Held returns the credential of g that lies in the content of a Secret, if it is whole and one
// of the verifiers is of it and still good at now; nil otherwise.
func Held(g *v1alpha1.AccessGrant, content map[string][]byte, verifiers []v1alpha1.CredentialVerifier, now time.Time) *Minted {
	if g.Spec.SSH != nil {
		return heldSSH(content, verifiers, now)
	}
	m := &Minted{Password: string(content[KeyPassword]), CertPEM: content[KeyCert], KeyPEM: content[KeyKey]}
	pair, err := tls.X509KeyPair(m.CertPEM, m.KeyPEM)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(pair.Certificate[0])
	v := verifierOf(verifiers, now, hex.EncodeToString(sum[:]), func(v *v1alpha1.CredentialVerifier) string { return v.CertificateSHA256 })
	if v == nil {
		return nil
	}
	again, err := NewSCRAM(m.Password, Salt(g.UID), Iterations)
	if err != nil || subtle.ConstantTimeCompare([]byte(again.String()), []byte(v.SCRAMSHA256)) != 1 {
		return nil
	}
	m.Verifier = *v
	return m
}

func heldSSH(content map[string][]byte, verifiers []v1alpha1.CredentialVerifier, now time.Time) *Minted {
	m := &Minted{SSHKey: content[KeySSHKey], SSHCert: content[KeySSHCert]}
	key, err := ssh.ParsePrivateKey(m.SSHKey)
	if err != nil {
		return nil
	}
	cert, err := parseCertificate(m.SSHCert)
	if err != nil || string(cert.Key.Marshal()) != string(key.PublicKey().Marshal()) {
		return nil
	}
	v := verifierOf(verifiers, now, SSHDigest(cert), func(v *v1alpha1.CredentialVerifier) string { return v.SSHCertificateSHA256 })
	if v == nil {
		return nil
	}
	m.Verifier = *v
	return m
}

// verifierOf returns a copy of the first verifier with a digest that is still good.
func verifierOf(verifiers []v1alpha1.CredentialVerifier, now time.Time, digest string, of func(*v1alpha1.CredentialVerifier) string) *v1alpha1.CredentialVerifier {
	for _, v := range verifiers {
		if now.Before(v.ExpiresAt.Time) && subtle.ConstantTimeCompare([]byte(of(&v)), []byte(digest)) == 1 {
			return &v
		}
	}
	return nil
}

// SignedBy reports whether an authority signed the certificate of a credential, and it has not
// ended at now.
func (m *Minted) SignedBy(a *Authority, now time.Time) bool {
	if len(m.SSHCert) > 0 {
		return m.signedSSH(a, now)
	}
	return a.signed(m.CertPEM, now)
}

func (m *Minted) signedSSH(a *Authority, now time.Time) bool {
	cert, err := parseCertificate(m.SSHCert)
	signer, serr := a.SSH()
	if err != nil || serr != nil || len(cert.ValidPrincipals) == 0 {
		return false
	}
	checker := &ssh.CertChecker{Clock: func() time.Time { return now }}
	return string(cert.SignatureKey.Marshal()) == string(signer.PublicKey().Marshal()) && checker.CheckCert(cert.ValidPrincipals[0], cert) == nil
}
