package ssh

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Name is the engine's name in policy and recordings.
const Name = "ssh"

// version is what the gate calls itself (RFC 4253, section 4.2).
const version = "SSH-2.0-Cardea"

// Limits bound what one connection may use. A zero field takes its default.
type Limits struct {
	// Channels is how many channels a connection may have open at a time; 64.
	Channels int
	// Forwards is how many places the server may listen at for a connection; 16.
	Forwards int
	// SignIn is how long connecting and signing in to the server may take; 15 s.
	SignIn time.Duration
	// Farewell is how long an ending session waits for a slow client; 2 s.
	Farewell time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Channels <= 0 {
		l.Channels = 64
	}
	if l.Forwards <= 0 {
		l.Forwards = 16
	}
	if l.SignIn <= 0 {
		l.SignIn = 15 * time.Second
	}
	if l.Farewell <= 0 {
		l.Farewell = 2 * time.Second
	}
	return l
}

// Config is what an Engine is made of.
type Config struct {
	// Directory knows the credentials. Required.
	Directory engine.Directory
	// Identity returns the gate's host key, with its certificate, and the authorities of the
	// certificates of users, as they are now. Required.
	Identity func() (host ssh.Signer, authorities []ssh.PublicKey, err error)
	// Now is the clock that credentials are judged by; time.Now if nil.
	Now func() time.Time
	// Limits of each connection.
	Limits Limits
}

// Engine serves SSH clients. It is safe for concurrent use.
type Engine struct{ c Config }

var _ engine.Engine = (*Engine)(nil)

// New returns an engine.
func New(c Config) (*Engine, error) {
	if c.Directory == nil || c.Identity == nil {
		return nil, errors.New("ssh engine needs a directory and an identity")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Limits = c.Limits.withDefaults()
	return &Engine{c: c}, nil
}

// algorithms are those of both legs. ChaCha20-Poly1305 and encrypt-then-MAC with CBC are what
// CVE-2023-48795 is about; strict key exchange closes it for the others too.
func algorithms() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR},
		MACs:         []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM, ssh.HMACSHA256, ssh.HMACSHA512},
	}
}

// proven is the key of the verifier in the permissions of who has signed in.
type proven struct{}

// Handshake implements engine.Engine.
func (e *Engine) Handshake(ctx context.Context, c net.Conn) (engine.Conn, error) {
	host, authorities, err := e.c.Identity()
	if err != nil {
		return nil, fmt.Errorf("find the host key: %w", err)
	}
	config := &ssh.ServerConfig{
		Config: algorithms(), ServerVersion: version, MaxAuthTries: 6, PublicKeyAuthAlgorithms: []string{ssh.KeyAlgoED25519},
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			v, err := e.identify(meta.User(), key, authorities)
			if err != nil {
				return nil, err
			}
			// What a key is worth goes with the key: another one may be shown after it.
			return &ssh.Permissions{ExtraData: map[any]any{proven{}: v}}, nil
		},
	}
	config.AddHostKey(host)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	server, channels, requests, err := ssh.NewServerConn(c, config)
	if !stop() && err == nil {
		_ = server.Close()
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("SSH with the client: %w", err)
	}
	v, ok := server.Permissions.ExtraData[proven{}].(*policy.Verifier)
	if !ok {
		_ = server.Close()
		return nil, errors.New("SSH with the client: nobody has signed in")
	}
	return &conn{engine: e, ssh: server, channels: channels, requests: requests, request: policy.Request{
		Engine: Name, Grant: v.Grant, GrantUID: v.GrantUID, CredentialID: v.ID, Login: server.User(), Client: remote(c),
		Application: policy.Printable(strings.TrimPrefix(string(server.ClientVersion()), "SSH-2.0-"), 64),
	}}, nil
}

var (
	errNoCertificate = errors.New("the key is no certificate of the gate")
	errOther         = errors.New("the certificate is not one for this login")
)

// identify returns the verifier that a certificate matches: one of a user, for the login by
// name, signed by an authority of the gate, that a grant knows now.
func (e *Engine) identify(login string, key ssh.PublicKey, authorities []ssh.PublicKey) (*policy.Verifier, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert || !signedByOne(cert, authorities) {
		return nil, errNoCertificate
	}
	// CheckCert takes a certificate without principals for one of everybody.
	if len(cert.ValidPrincipals) == 0 || slices.ContainsFunc(cert.ValidPrincipals, isWild) || !slices.Contains(cert.ValidPrincipals, login) {
		return nil, &ssh.BannerError{Err: errOther, Message: "cardea: " + string(policy.CodeAuthentication) +
			": the certificate is not one for this login: use a login that the grant names\n"}
	}
	now := e.c.Now()
	checker := &ssh.CertChecker{Clock: func() time.Time { return now }}
	if err := checker.CheckCert(login, cert); err != nil {
		return nil, stranger(err)
	}
	digest := []byte(credentials.SSHDigest(cert))
	verifiers := e.c.Directory.Verifiers(cert.KeyId, now)
	for i := range verifiers {
		v := &verifiers[i]
		if v.Grant == cert.KeyId && !now.Before(v.NotBefore.Time) && now.Before(v.ExpiresAt.Time) &&
			subtle.ConstantTimeCompare(digest, []byte(v.SSHCertificateSHA256)) == 1 {
			return v, nil
		}
	}
	return nil, stranger(errors.New("no verifier matches"))
}

// stranger tells the holder of a certificate that was once good.
func stranger(err error) error {
	return &ssh.BannerError{Err: err, Message: "cardea: " + string(policy.CodeAuthentication) +
		": the certificate is none of an open grant (read the grant's Secret again, if it was rotated or has expired)\n"}
}

func isWild(principal string) bool { return principal == "" || strings.ContainsAny(principal, "*?") }

// signedByOne reports whether an authority, and nothing that one has signed, signed a certificate.
func signedByOne(cert *ssh.Certificate, authorities []ssh.PublicKey) bool {
	if cert.SignatureKey == nil {
		return false
	}
	by := cert.SignatureKey.Marshal()
	return slices.ContainsFunc(authorities, func(a ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), by) })
}

// remote is the client's address.
func remote(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
