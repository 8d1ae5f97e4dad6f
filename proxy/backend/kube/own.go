package kube

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/cardea-dev/cardea/proxy/session"
)

// ownLogin is what the proxy proves its identity by to the API server of its own cluster. The
// token is read again each time: the kubelet replaces it.
func (b *Backend) ownLogin() (session.Login, error) {
	c := b.c.REST
	login := session.Login{Server: c.Host, Token: c.BearerToken}
	if !strings.HasPrefix(login.Server, "https://") {
		return session.Login{}, errors.New("the address of the API server is not https")
	}
	if c.BearerTokenFile != "" {
		token, err := os.ReadFile(c.BearerTokenFile)
		if err != nil {
			return session.Login{}, fmt.Errorf("read the proxy's token: %w", err)
		}
		login.Token = strings.TrimSpace(string(token))
	}
	full := rest.CopyConfig(c)
	if err := rest.LoadTLSFiles(full); err != nil {
		return session.Login{}, fmt.Errorf("read the proxy's certificate: %w", err)
	}
	if len(full.CertData) > 0 {
		pair, err := tls.X509KeyPair(full.CertData, full.KeyData)
		if err != nil {
			return session.Login{}, errors.New("the proxy's certificate does not go with its key")
		}
		login.Certificate = &pair
	}
	if login.Token == "" && login.Certificate == nil {
		return session.Login{}, errors.New("the proxy has no credential of its cluster")
	}
	return login, nil
}

// ownAuthorities sign for the API server of the proxy's own cluster.
func (b *Backend) ownAuthorities() ([]byte, error) {
	full := rest.CopyConfig(b.c.REST)
	if err := rest.LoadTLSFiles(full); err != nil {
		return nil, fmt.Errorf("read the cluster's authorities: %w", err)
	}
	return full.CAData, nil
}
