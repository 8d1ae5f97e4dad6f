package desired

import (
	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Keys of the Secret with the proxy's serving certificate.
const (
	KeyCert   = "tls.crt"
	KeyKey    = "tls.key"
	KeyCA     = "ca.crt"
	KeyRedact = "redact.key"
	KeySSH    = "ssh-cert.pub"
	// KeyRecorderCert and KeyRecorderKey are what recordings are signed with, and
	// KeyRecordingCA, of the ConfigMap, whom to trust in that: the authorities of now and of
	// before.
	KeyRecorderCert = "recorder.crt"
	KeyRecorderKey  = "recorder.key"
	KeyRecordingCA  = "recording-ca.crt"
)

// TLS is the content of the gate's TLS Secret. Bundle are the authorities that sign for
// the gate; Redact keys the hashes that stand for masked constants; SSH is the certificate of
// OpenSSH for the key; RecorderCert and RecorderKey sign recordings; History are the Bundle and
// the authorities that have ended.
type TLS struct{ Cert, Key, Bundle, Redact, SSH, RecorderCert, RecorderKey, History []byte }

// TLSSecret returns the Secret that the proxy serves with.
func TLSSecret(g Gate, t TLS) *corev1ac.SecretApplyConfiguration {
	return corev1ac.Secret(v1alpha1.ProxyTLSName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithType(corev1.SecretTypeTLS).
		WithData(map[string][]byte{KeyCert: t.Cert, KeyKey: t.Key, KeyCA: t.Bundle, KeyRedact: t.Redact, KeySSH: t.SSH,
			KeyRecorderCert: t.RecorderCert, KeyRecorderKey: t.RecorderKey})
}

// TLSConfigMap returns the ConfigMap by which anybody in the gate namespace can learn whom
// to trust.
func TLSConfigMap(g Gate, t TLS) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(v1alpha1.ProxyTLSName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithData(map[string]string{KeyCA: string(t.Bundle), KeyRecordingCA: string(t.History)})
}

// ServingNames are the names in the proxy's certificate.
func ServingNames(g Gate) []string {
	names := []string{
		Host(g.Namespace), Host(g.Namespace) + ".cluster.local",
		v1alpha1.ProxyName + "." + g.Namespace, v1alpha1.ProxyName,
	}
	if e := g.Proxy.Exposure; e != nil {
		names = append(names, e.Hostnames...)
	}
	return names
}
