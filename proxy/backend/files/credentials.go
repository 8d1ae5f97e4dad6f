package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// deliver sees to it that an open grant has its credential in .credentials/GRANT. One that
// is there and still good stays, so that clients survive a restart of the proxy.
func (b *Backend) deliver(g *v1alpha1.AccessGrant, r *record, now, expires time.Time) error {
	dir := filepath.Join(b.c.Dir, ".credentials", g.Name)
	minted := b.delivered(dir, g, r, now, expires)
	if minted == nil {
		var err error
		if minted, err = credentials.Mint(g, b.authority, now, expires, rand.Reader); err != nil {
			return err
		}
		r.Verifiers = []v1alpha1.CredentialVerifier{minted.Verifier}
	}
	content := b.content(minted, dir, g)
	if b.written[g.Name] == string(content[credentials.KeyURI]) {
		return nil
	}
	if err := private(dir); err != nil {
		return fmt.Errorf("write credential of AccessGrant %s: %w", g.Name, err)
	}
	for name, value := range content {
		if err := writeFile(filepath.Join(dir, name), value, 0o600); err != nil {
			return fmt.Errorf("write credential of AccessGrant %s: %w", g.Name, err)
		}
	}
	b.written[g.Name] = string(content[credentials.KeyURI])
	return nil
}

// content is what the operator would write into the grant's Secret.
func (b *Backend) content(m *credentials.Minted, dir string, g *v1alpha1.AccessGrant) map[string][]byte {
	e := credentials.Endpoint{Host: b.host(), Port: b.c.Port, CAPEM: b.authority.CertPEM(), MountPath: dir}
	switch {
	case g.Spec.Kubernetes != nil:
		e.Port = b.c.KubernetesPort
	case g.Spec.SSH != nil:
		e.Port = b.c.SSHPort
	}
	return credentials.Secret(m, e, g)
}

// delivered returns the credential that lies in dir, if it is the grant's only one, ends
// when the grant does and was signed by the authority of now; nil otherwise.
func (b *Backend) delivered(dir string, g *v1alpha1.AccessGrant, r *record, now, expires time.Time) *credentials.Minted {
	if len(r.Verifiers) != 1 {
		return nil
	}
	v := r.Verifiers[0]
	if !v.ExpiresAt.Time.Equal(expires.Truncate(time.Second)) || now.Before(v.NotBefore.Time) {
		return nil
	}
	content := map[string][]byte{}
	for _, name := range []string{credentials.KeyPassword, credentials.KeyCert, credentials.KeyKey, credentials.KeySSHKey, credentials.KeySSHCert} {
		part, err := recording.ReadWhole(filepath.Join(dir, name), 64<<10)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil
		}
		content[name] = part
	}
	m := credentials.Held(g, content, r.Verifiers, now)
	if m == nil || !m.SignedBy(b.authority, now) {
		return nil
	}
	return m
}

// withdraw removes the credentials of every grant that is not open.
func (b *Backend) withdraw() error {
	root := filepath.Join(b.c.Dir, ".credentials")
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("remove credentials: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !b.open[e.Name()] {
			delete(b.written, e.Name())
			failed = append(failed, os.RemoveAll(filepath.Join(root, e.Name())))
		}
	}
	return errors.Join(failed...)
}
