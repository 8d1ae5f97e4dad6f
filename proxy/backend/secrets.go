package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// Missing is the error of a Finder for an object that cannot be had. It completes a sentence
// that begins with the object's name, as in "is missing", and is for clients too.
type Missing string

func (m Missing) Error() string { return string(m) }

// Finder finds objects of the gate namespace by name. It fails with Missing, or with an
// error that is not for clients.
type Finder interface {
	Secret(ctx context.Context, name string) (*corev1.Secret, error)
	ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error)
}

// Login returns the login for a Target and the certificate that the gate shows it. It uses
// no Secret without its owner's consent.
func Login(ctx context.Context, f Finder, t *v1alpha1.Target) (session.Login, error) {
	if t.Spec.Kubernetes != nil {
		return serverLogin(ctx, f, t)
	}
	if t.Spec.SSH != nil {
		return sshLogin(ctx, f, t)
	}
	if t.Spec.Postgres == nil || t.Spec.Postgres.LoginSecret() == "" {
		return session.Login{}, unusable(t, "it names no login")
	}
	name := t.Spec.Postgres.LoginSecret()
	what := fmt.Sprintf("Secret %s with its login", name)
	s, err := consented(ctx, f, t, name, what, corev1.SecretTypeBasicAuth)
	if err != nil {
		return session.Login{}, err
	}
	login := session.Login{Username: string(s.Data[corev1.BasicAuthUsernameKey]), Password: string(s.Data[corev1.BasicAuthPasswordKey])}
	if login.Certificate, err = certificate(ctx, f, t); err != nil {
		return session.Login{}, err
	}
	if login.Username == "" || login.Password == "" && login.Certificate == nil {
		return session.Login{}, unusable(t, what+" has no username or no password")
	}
	return login, nil
}

// serverLogin returns what the gate proves its identity by to the API server of another cluster.
func serverLogin(ctx context.Context, f Finder, t *v1alpha1.Target) (session.Login, error) {
	server := t.Spec.Kubernetes.Server
	if server == nil {
		return session.Login{}, unusable(t, "it names no server, and the gate is in no cluster")
	}
	what := fmt.Sprintf("Secret %s with its credential", server.CredentialRef.Name)
	s, err := consented(ctx, f, t, server.CredentialRef.Name, what, "")
	if err != nil {
		return session.Login{}, err
	}
	login := session.Login{Server: server.URL}
	switch s.Type {
	case corev1.SecretTypeTLS:
		pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			return session.Login{}, unusable(t, what+" has no certificate with its key in PEM")
		}
		login.Certificate = &pair
	case corev1.SecretTypeOpaque:
		if login.Token = strings.TrimSpace(string(s.Data[keyToken])); login.Token == "" {
			return session.Login{}, unusable(t, what+" has no key "+keyToken)
		}
	default:
		return session.Login{}, unusable(t, what+fmt.Sprintf(" is not of type %s or %s", corev1.SecretTypeTLS, corev1.SecretTypeOpaque))
	}
	return login, nil
}

// sshLogin returns the private key that the gate holds for an SSH server: an authority of users,
// or a key of theirs.
func sshLogin(ctx context.Context, f Finder, t *v1alpha1.Target) (session.Login, error) {
	name := t.Spec.SSH.KeySecret()
	if name == "" {
		return session.Login{}, unusable(t, "it names no key")
	}
	what := fmt.Sprintf("Secret %s with its key", name)
	s, err := consented(ctx, f, t, name, what, corev1.SecretTypeSSHAuth)
	if err != nil {
		return session.Login{}, err
	}
	key, err := ssh.ParsePrivateKey(s.Data[corev1.SSHAuthPrivateKey])
	if err != nil {
		return session.Login{}, unusable(t, what+" has no private key without a passphrase under the key "+corev1.SSHAuthPrivateKey)
	}
	return session.Login{Key: key}, nil
}

// keyToken is the key of a bearer token.
const keyToken = "token"

// authorities names the bundle that signs for a Target's server; nil for none.
func authorities(t *v1alpha1.Target) *v1alpha1.KeyReference {
	switch {
	case t.Spec.Postgres != nil:
		return t.Spec.Postgres.TLS.CARef
	case t.Spec.Kubernetes != nil && t.Spec.Kubernetes.Server != nil:
		return t.Spec.Kubernetes.Server.CARef
	}
	return nil
}

// certificate returns what the Target's clientCertRef names; nil without one.
func certificate(ctx context.Context, f Finder, t *v1alpha1.Target) (*tls.Certificate, error) {
	ref := t.Spec.Postgres.TLS.ClientCertRef
	if ref == nil {
		return nil, nil
	}
	what := fmt.Sprintf("Secret %s of its clientCertRef", ref.Name)
	s, err := consented(ctx, f, t, ref.Name, what, corev1.SecretTypeTLS)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, unusable(t, what+" has no certificate with its key in PEM")
	}
	return &pair, nil
}

// consented returns a Secret of the given type whose owner lets the Target use it.
func consented(ctx context.Context, f Finder, t *v1alpha1.Target, name, what string, want corev1.SecretType) (*corev1.Secret, error) {
	s, err := f.Secret(ctx, name)
	switch {
	case err != nil:
		return nil, found(t, what, err)
	case s.Labels[v1alpha1.LabelTarget] != t.Name:
		return nil, unusable(t, what+fmt.Sprintf(" lacks the label %s: %s, its owner's consent", v1alpha1.LabelTarget, t.Name))
	case want != "" && s.Type != want:
		return nil, unusable(t, what+fmt.Sprintf(" is not of type %s", want))
	}
	return s, nil
}

// CA returns the PEM bundle that the Target's caRef names; nil without one.
func CA(ctx context.Context, f Finder, t *v1alpha1.Target) ([]byte, error) {
	ref := authorities(t)
	if ref == nil {
		return nil, nil
	}
	what := fmt.Sprintf("%s %s of its caRef", ref.Kind, ref.Name)
	var bundle []byte
	switch ref.Kind {
	case "ConfigMap":
		c, err := f.ConfigMap(ctx, ref.Name)
		if err != nil {
			return nil, found(t, what, err)
		}
		if bundle = []byte(c.Data[ref.Key]); len(bundle) == 0 {
			bundle = c.BinaryData[ref.Key]
		}
	case "Secret":
		s, err := consented(ctx, f, t, ref.Name, what, "")
		if err != nil {
			return nil, err
		}
		bundle = s.Data[ref.Key]
	}
	if !x509.NewCertPool().AppendCertsFromPEM(bundle) {
		return nil, unusable(t, what+fmt.Sprintf(" has no certificate in PEM under the key %s", ref.Key))
	}
	return bundle, nil
}

func found(t *v1alpha1.Target, what string, err error) error {
	if missing := Missing(""); errors.As(err, &missing) {
		return unusable(t, what+" "+string(missing))
	}
	return fmt.Errorf("read %s: %w", what, err)
}

func unusable(t *v1alpha1.Target, why string) error {
	return &policy.Refusal{Code: policy.CodeTargetShut, Rule: "Target/" + t.Namespace + "/" + t.Name,
		Message: fmt.Sprintf("Target %s cannot be used: %s", t.Name, why), Hint: "ask an administrator to correct it"}
}
