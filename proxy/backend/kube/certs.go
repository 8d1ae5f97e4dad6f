package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/crypto/ssh"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// reload is how often the mounted Secret is looked at.
const reload = 10 * time.Second

// certs is the mounted Secret with the gate's serving certificate, authority and recorder key.
type certs struct {
	dir       string
	redactKey []byte
	current   atomic.Pointer[tls.Config]
	ssh       atomic.Pointer[hostKey]
	recorder  atomic.Pointer[recording.Key]
	read      []byte // what current was made of
}

// hostKey is the serving certificate's key as SSH shows it, with the authorities of users.
type hostKey struct {
	host        ssh.Signer
	authorities []ssh.PublicKey
}

func loadCerts(dir string) (*certs, error) {
	c := &certs{dir: dir}
	key, err := os.ReadFile(filepath.Join(dir, "redact.key"))
	if err != nil {
		return nil, fmt.Errorf("read redaction key: %w", err)
	}
	if len(key) < 32 {
		return nil, errors.New("read redaction key: redact.key needs 32 bytes")
	}
	c.redactKey = key
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// load reads the certificate again; what is wrong leaves the one in use.
func (c *certs) load() error {
	var content [6][]byte
	for i, name := range []string{"tls.crt", "tls.key", "ca.crt", "ssh-cert.pub", "recorder.crt", "recorder.key"} {
		b, err := os.ReadFile(filepath.Join(c.dir, name))
		if err != nil {
			return fmt.Errorf("read serving certificate: %w", err)
		}
		content[i] = b
	}
	all := bytes.Join(content[:], nil)
	if bytes.Equal(all, c.read) {
		return nil
	}
	cert, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return fmt.Errorf("read serving certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content[2]) {
		return errors.New("read serving certificate: ca.crt has no certificate in PEM")
	}
	host, err := credentials.HostSigner(content[1], content[3])
	if err != nil {
		return fmt.Errorf("read serving certificate: %w", err)
	}
	authorities, err := credentials.SSHAuthorities(content[2])
	if err != nil {
		return fmt.Errorf("read serving certificate: %w", err)
	}
	recorder, err := recording.ParseKey(content[4], content[5])
	if err != nil {
		return err
	}
	c.recorder.Store(recorder)
	c.ssh.Store(&hostKey{host, authorities})
	c.current.Store(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool})
	c.read = all
	return nil
}

func (c *certs) watch(ctx context.Context, clk clock.WithTicker, log logr.Logger) {
	t := clk.NewTicker(reload)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C():
		}
		if err := c.load(); err != nil {
			log.Error(err, "The certificates were not renewed")
		}
	}
}

// Recorder implements backend.Backend.
func (b *Backend) Recorder() *recording.Key { return b.certs.recorder.Load() }

// SSH implements backend.Backend.
func (b *Backend) SSH() (ssh.Signer, []ssh.PublicKey, error) {
	k := b.certs.ssh.Load()
	return k.host, k.authorities, nil
}

// TLS implements backend.Backend.
func (b *Backend) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return b.certs.current.Load(), nil
	}}
}
