package credentials

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Keys of a delivered Secret with what OpenSSH's client needs.
const (
	KeySSHKey     = "id_ed25519"
	KeySSHCert    = "id_ed25519-cert.pub"
	KeyKnownHosts = "known_hosts"
	KeySSHConfig  = "config"
)

// SSH returns what signs OpenSSH certificates (PROTOCOL.certkeys): the authority's own key, so
// that whoever has its certificate knows it. No bytes are a certificate of both kinds: those of
// X.509 begin with a SEQUENCE, those of OpenSSH with a length.
func (a *Authority) SSH() (ssh.Signer, error) {
	signer, err := ssh.NewSignerFromKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("use the authority for SSH: %w", err)
	}
	return signer, nil
}

// SSHAuthorities returns the keys by which the authorities of a PEM bundle sign OpenSSH
// certificates.
func SSHAuthorities(bundle []byte) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse authority: %w", err)
		}
		key, err := ssh.NewPublicKey(cert.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("use the authority for SSH: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// HostCertificate makes an OpenSSH host certificate, as a line, for the key of a serving
// certificate in PEM. It holds the names of that certificate, and ends when that does.
func (a *Authority) HostCertificate(servingPEM []byte) ([]byte, error) {
	block, _ := pem.Decode(servingPEM)
	if block == nil {
		return nil, errors.New("make host certificate: no certificate in PEM")
	}
	serving, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("make host certificate: %w", err)
	}
	key, err := ssh.NewPublicKey(serving.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("make host certificate: %w", err)
	}
	names := append([]string{}, serving.DNSNames...)
	for _, ip := range serving.IPAddresses {
		names = append(names, ip.String())
	}
	cert := &ssh.Certificate{Key: key, CertType: ssh.HostCert, KeyId: "cardea gate", ValidPrincipals: names,
		ValidAfter: uint64(serving.NotBefore.Unix()), ValidBefore: uint64(serving.NotAfter.Unix())}
	return a.signSSH(cert, rand.Reader)
}

// HostSigner returns the gate's host key: the key of a serving certificate in PEM, with the
// line that HostCertificate made for it.
func HostSigner(keyPEM, hostCertificate []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(keyPEM)
	if err != nil {
		return nil, errors.New("read host key: no private key in PEM")
	}
	cert, err := parseCertificate(hostCertificate)
	if err != nil {
		return nil, fmt.Errorf("read host certificate: %w", err)
	}
	if cert.CertType != ssh.HostCert {
		return nil, errors.New("read host certificate: it is not one of a host")
	}
	host, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, fmt.Errorf("read host certificate: %w", err)
	}
	return host, nil
}

func (a *Authority) signSSH(cert *ssh.Certificate, random io.Reader) ([]byte, error) {
	signer, err := a.SSH()
	if err != nil {
		return nil, err
	}
	var serial [8]byte
	if _, err := io.ReadFull(random, serial[:]); err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	cert.Serial = binary.BigEndian.Uint64(serial[:])
	if err := cert.SignCert(random, signer); err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return ssh.MarshalAuthorizedKey(cert), nil
}

// mintSSH makes an Ed25519 key and a certificate whose key id is the grant's name and whose
// principals are its logins.
func mintSSH(g *v1alpha1.AccessGrant, a *Authority, v v1alpha1.CredentialVerifier, now, expires time.Time, random io.Reader) (*Minted, error) {
	if len(g.Spec.SSH.Logins) == 0 {
		return nil, errors.New("mint credential: the grant names no login")
	}
	public, private, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, g.Namespace+"/"+g.Name)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	// What it permits is the gate's to say; without extensions no other server that trusts the
	// authority would give it a terminal or a forward.
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: g.Name, ValidPrincipals: g.Spec.SSH.Logins,
		ValidAfter: uint64(now.Add(-skew).Unix()), ValidBefore: uint64(min(expires.Unix(), a.NotAfter().Unix()))}
	line, err := a.signSSH(cert, random)
	if err != nil {
		return nil, err
	}
	v.SSHCertificateSHA256 = SSHDigest(cert)
	return &Minted{SSHKey: pem.EncodeToMemory(block), SSHCert: line, Verifier: v}, nil
}

// SSHDigest is what a verifier holds of a certificate.
func SSHDigest(cert *ssh.Certificate) string {
	sum := sha256.Sum256(cert.Marshal())
	return hex.EncodeToString(sum[:])
}

func parseCertificate(line []byte) (*ssh.Certificate, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("no single certificate of OpenSSH")
	}
	return cert, nil
}

// SSHSecret returns the content of the Secret that delivers m for g: files among which ssh -F
// config needs no more than the name of the Target.
func SSHSecret(m *Minted, e Endpoint, g *v1alpha1.AccessGrant) map[string][]byte {
	port, login := strconv.Itoa(e.Port), g.Spec.SSH.Logins[0]
	return map[string][]byte{
		KeyType: []byte("ssh"), KeyProvider: []byte("cardea"),
		KeyHost: []byte(e.Host), KeyPort: []byte(port), KeyUsername: []byte(login), KeyURI: []byte("ssh://" + login + "@" + net.JoinHostPort(e.Host, port)),
		KeySSHKey: m.SSHKey, KeySSHCert: m.SSHCert, KeyKnownHosts: knownHosts(e), KeySSHConfig: sshConfig(e, g),
	}
}

// knownHosts trusts the gate's authorities for the gate alone.
func knownHosts(e Endpoint) []byte {
	keys, err := SSHAuthorities(e.CAPEM)
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	for _, key := range keys {
		out.WriteString("@cert-authority [" + e.Host + "]:" + strconv.Itoa(e.Port) + "," + e.Host + " ")
		out.Write(ssh.MarshalAuthorizedKey(key))
	}
	return out.Bytes()
}

// sshConfig returns an ssh_config(5) with one host: the Target.
func sshConfig(e Endpoint, g *v1alpha1.AccessGrant) []byte {
	var out strings.Builder
	out.WriteString("Host " + g.Spec.TargetRef.Name + "\n")
	for _, o := range [][2]string{
		{"HostName", e.Host}, {"Port", strconv.Itoa(e.Port)}, {"User", g.Spec.SSH.Logins[0]},
		{"IdentityFile", quote(path.Join(e.MountPath, KeySSHKey))}, {"CertificateFile", quote(path.Join(e.MountPath, KeySSHCert))},
		{"IdentitiesOnly", "yes"}, {"PreferredAuthentications", "publickey"},
		{"UserKnownHostsFile", quote(path.Join(e.MountPath, KeyKnownHosts))}, {"GlobalKnownHostsFile", "none"},
		{"StrictHostKeyChecking", "yes"}, {"UpdateHostKeys", "no"}, {"CheckHostIP", "no"},
	} {
		out.WriteString("    " + o[0] + " " + o[1] + "\n")
	}
	return []byte(out.String())
}

// quote keeps a path with spaces, or with what ssh_config(5) expands, together.
func quote(p string) string { return `"` + strings.ReplaceAll(p, "%", "%%") + `"` }
