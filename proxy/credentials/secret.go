package credentials

import (
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Endpoint is where and how a client reaches the gate.
type Endpoint struct {
	Host      string // DNS name or IP address
	Port      int
	Database  string // empty for DefaultDatabase of the grant
	CAPEM     []byte // the authority that signed the gate's certificate
	MountPath string // folder in which the client finds the Secret's keys
}

// Keys of a delivered Secret, of the Service Binding specification and of Kubernetes.
const (
	KeyType     = "type"
	KeyProvider = "provider"
	KeyHost     = "host"
	KeyPort     = "port"
	KeyDatabase = "database"
	KeyUsername = "username"
	KeyPassword = "password"
	KeyURI      = "uri"
	KeyCA       = "ca.crt"
	KeyCert     = "tls.crt"
	KeyKey      = "tls.key"
)

// Secret returns the content of the Secret that delivers m for g.
func Secret(m *Minted, e Endpoint, g *v1alpha1.AccessGrant) map[string][]byte {
	switch {
	case g.Spec.SSH != nil:
		return SSHSecret(m, e, g)
	case g.Spec.Kubernetes != nil:
		return KubernetesSecret(m, e, g)
	}
	return PostgresSecret(m, e, g)
}

// PostgresSecret returns the content of the Secret that delivers m for g. Without a
// database it holds neither that key nor a database in the uri: the client says which.
func PostgresSecret(m *Minted, e Endpoint, g *v1alpha1.AccessGrant) map[string][]byte {
	database := e.Database
	if database == "" {
		database = DefaultDatabase(g)
	}
	port := strconv.Itoa(e.Port)
	u := url.URL{
		Scheme: "postgresql", User: url.UserPassword(g.Name, m.Password), Host: net.JoinHostPort(e.Host, port),
		RawQuery: "sslmode=verify-full&sslrootcert=" + queryEscape(path.Join(e.MountPath, KeyCA)),
	}
	out := map[string][]byte{
		KeyType: []byte("postgresql"), KeyProvider: []byte("cardea"),
		KeyHost: []byte(e.Host), KeyPort: []byte(port),
		KeyUsername: []byte(g.Name), KeyPassword: []byte(m.Password),
		KeyCA: e.CAPEM, KeyCert: m.CertPEM, KeyKey: m.KeyPEM,
	}
	u.Path = "/"
	if database != "" {
		u.Path, u.RawPath = "/"+database, "/"+url.PathEscape(database)
		out[KeyDatabase] = []byte(database)
	}
	out[KeyURI] = []byte(u.String())
	return out
}

// DefaultDatabase is the first database of a grant that is a name and not a glob; empty if
// there is none.
func DefaultDatabase(g *v1alpha1.AccessGrant) string {
	if g.Spec.Postgres == nil {
		return ""
	}
	for _, d := range g.Spec.Postgres.Databases {
		if !strings.Contains(d, "*") {
			return d
		}
	}
	return ""
}

// queryEscape escapes a path for the query of a URI as libpq reads it: it takes "+" for
// itself, and slashes are legible.
func queryEscape(p string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(p))
}
