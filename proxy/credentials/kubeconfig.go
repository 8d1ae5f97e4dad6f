package credentials

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"strconv"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// KeyKubeconfig is the key of a delivered Secret with all that a Kubernetes client needs.
const KeyKubeconfig = "kubeconfig"

// KubernetesSecret returns the content of the Secret that delivers m for g. The kubeconfig
// holds certificate and key, so that it can be copied anywhere; its default namespace is the
// grant's first.
func KubernetesSecret(m *Minted, e Endpoint, g *v1alpha1.AccessGrant) map[string][]byte {
	port := strconv.Itoa(e.Port)
	server := "https://" + net.JoinHostPort(e.Host, port)
	return map[string][]byte{
		KeyType: []byte("kubernetes"), KeyProvider: []byte("cardea"),
		KeyHost: []byte(e.Host), KeyPort: []byte(port), KeyUsername: []byte(g.Name), KeyPassword: []byte(m.Password), KeyURI: []byte(server),
		KeyCA: e.CAPEM, KeyCert: m.CertPEM, KeyKey: m.KeyPEM,
		KeyKubeconfig: kubeconfig(m, e, g, server),
	}
}

// kubeconfig returns a kubeconfig, as JSON, which YAML includes.
func kubeconfig(m *Minted, e Endpoint, g *v1alpha1.AccessGrant, server string) []byte {
	type named map[string]any
	name := g.Namespace + "/" + g.Name
	place := named{"cluster": name, "user": name}
	if p := g.Spec.Kubernetes; p != nil && len(p.Namespaces) > 0 {
		place["namespace"] = p.Namespaces[0]
	}
	encoded := base64.StdEncoding.EncodeToString
	b, err := json.MarshalIndent(named{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []named{{"name": name, "cluster": named{"server": server, "certificate-authority-data": encoded(e.CAPEM)}}},
		"users":    []named{{"name": name, "user": named{"client-certificate-data": encoded(m.CertPEM), "client-key-data": encoded(m.KeyPEM)}}},
		"contexts": []named{{"name": name, "context": place}},
	}, "", "  ")
	if err != nil {
		return nil // strings are always encoded
	}
	return append(b, '\n')
}
