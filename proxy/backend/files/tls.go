package files

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// Lifetimes of certificates. The serving certificate is made anew at every start and
// before it ends.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	authorityMargin   = 365 * 24 * time.Hour
	servingLifetime   = 90 * 24 * time.Hour
	servingMargin     = 30 * 24 * time.Hour
	redactKeySize     = 32
)

// loadAuthority reads the authority of .tls, or makes it.
func loadAuthority(dir string, now time.Time) (*credentials.Authority, error) {
	certPath, keyPath := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	cert, certErr := recording.ReadWhole(certPath, 64<<10)
	key, keyErr := recording.ReadWhole(keyPath, 64<<10)
	switch {
	case certErr == nil && keyErr == nil:
		a, err := credentials.ParseAuthority(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read .tls/ca.crt: %w; remove .tls to make a new authority", err)
		}
		if a.NotAfter().Sub(now) > authorityMargin {
			return a, nil
		}
	case !errors.Is(certErr, os.ErrNotExist) && certErr != nil:
		return nil, certErr
	case !errors.Is(keyErr, os.ErrNotExist) && keyErr != nil:
		return nil, keyErr
	}
	a, err := credentials.NewAuthority("Cardea standalone gate", now, now.Add(authorityLifetime))
	if err != nil {
		return nil, err
	}
	if err := writeFile(keyPath, a.KeyPEM(), 0o600); err != nil {
		return nil, err
	}
	return a, writeFile(certPath, a.CertPEM(), 0o644)
}

// maxHistory bounds recording-ca.crt in bytes: some hundred authorities of ten years each.
const maxHistory = 64 << 10

// keepHistory adds the authority to recording-ca.crt, which lists every authority whose
// signatures recordings may bear: those of one that was replaced still count.
func keepHistory(dir string, a *credentials.Authority) error {
	path := filepath.Join(dir, "recording-ca.crt")
	old, err := recording.ReadWhole(path, maxHistory)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if bytes.Contains(old, a.CertPEM()) {
		return nil
	}
	return writeFile(path, append(bytes.Clone(a.CertPEM()), old...), 0o644)
}

// recorder holds the key that recordings are signed with and renews it. It lies in memory
// alone: whoever verifies a recording needs the certificate, which travels with it.
type recorder struct {
	namespace string
	mu        sync.Mutex
	key       *recording.Key
	ends      time.Time
}

// Recorder implements backend.Backend.
func (b *Backend) Recorder() *recording.Key {
	r := &b.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := b.renewRecorder(); err != nil {
		b.c.Log.Error(err, "The recorder key was not renewed")
	}
	return r.key
}

// renewRecorder makes a key if there is none or it ends soon. b.recorder.mu is held.
func (b *Backend) renewRecorder() error {
	now := b.c.Clock.Now()
	if b.recorder.key != nil && b.recorder.ends.Sub(now) > servingMargin {
		return nil
	}
	cert, key, err := b.authority.Recorder(b.recorder.namespace, now, servingLifetime)
	if err != nil {
		return err
	}
	made, err := recording.ParseKey(cert, key)
	if err != nil {
		return err
	}
	b.recorder.key, b.recorder.ends = made, now.Add(servingLifetime)
	return nil
}

// loadRedactKey reads the key of .tls that keys the hashes in recordings, or makes it.
func loadRedactKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, "redact.key")
	key, err := recording.ReadWhole(path, redactKeySize)
	switch {
	case err == nil && len(key) == redactKeySize:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf(".tls/redact.key has not %d bytes; remove it to make a new one", redactKeySize)
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	key = make([]byte, redactKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make redaction key: %w", err)
	}
	return key, writeFile(path, key, 0o600)
}

// serving holds the serving certificate and renews it.
type serving struct {
	b    *Backend
	mu   sync.Mutex
	cert *tls.Certificate
	host ssh.Signer
}

func (s *serving) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.b.c.Clock.Now()
	if s.cert != nil && s.cert.Leaf.NotAfter.Sub(now) > servingMargin {
		return s.cert, nil
	}
	names := []string{"localhost"}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if ip := net.ParseIP(s.b.c.Address); ip == nil {
		names = append(names, s.b.c.Address)
	} else if !ip.IsUnspecified() {
		ips = append(ips, ip)
	}
	if h, err := os.Hostname(); err == nil {
		names = append(names, h)
	}
	certPEM, keyPEM, err := s.b.authority.Serving(names, ips, now, servingLifetime)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	line, err := s.b.authority.HostCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	host, err := credentials.HostSigner(keyPEM, line)
	if err != nil {
		return nil, err
	}
	s.cert, s.host = &cert, host
	return s.cert, nil
}

// SSH implements backend.Backend.
func (b *Backend) SSH() (ssh.Signer, []ssh.PublicKey, error) {
	if _, err := b.serving.certificate(nil); err != nil {
		return nil, nil, err
	}
	authorities, err := credentials.SSHAuthorities(b.authority.CertPEM())
	b.serving.mu.Lock()
	defer b.serving.mu.Unlock()
	return b.serving.host, authorities, err
}

// TLS implements backend.Backend.
func (b *Backend) TLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.authority.CertPEM())
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: b.serving.certificate, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
}

// host is what clients connect to.
func (b *Backend) host() string {
	if ip := net.ParseIP(b.c.Address); b.c.Address == "" || ip != nil && ip.IsUnspecified() {
		return "localhost"
	}
	return b.c.Address
}
