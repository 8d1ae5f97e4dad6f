package kubernetes

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Name is the engine's name in policy and recordings.
const Name = "kubernetes"

// Limits bound what one connection may use. A zero field takes its default.
type Limits struct {
	// Header is the most bytes of a request's headers; 64 KiB.
	Header int
	// Body is the most bytes of a request's body, which is held whole; 3 MiB, as the API server.
	Body int64
	// Object is the most bytes of one object, element of a list or event of a watch that is
	// masked; 8 MiB. Converted is the most of an answer that is masked and sent in another form
	// than JSON; 8 MiB.
	Object, Converted int64
	// Requests is how many requests a connection may have at a time; 100. LargeBodies is how
	// many of them may hold more than 64 KiB; 8.
	Requests, LargeBodies int
	// Idle is how long a connection without a request stays; 5 min.
	Idle time.Duration
	// Answer is how long the API server may take to begin its answer; 90 s.
	Answer time.Duration
	// Farewell is how long an ending session waits for a slow client; 2 s.
	Farewell time.Duration
	// Quiet is how long there is no output on a terminal until what may be the beginning of a value
	// to be masked is shown; 50 ms.
	Quiet time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		limit *time.Duration
		is    time.Duration
	}{{&l.Idle, 5 * time.Minute}, {&l.Answer, 90 * time.Second}, {&l.Farewell, 2 * time.Second}, {&l.Quiet, 50 * time.Millisecond}} {
		if *d.limit <= 0 {
			*d.limit = d.is
		}
	}
	for _, n := range []struct {
		limit *int
		is    int
	}{{&l.Header, 64 << 10}, {&l.Requests, 100}, {&l.LargeBodies, 8}} {
		if *n.limit <= 0 {
			*n.limit = n.is
		}
	}
	for _, n := range []struct {
		limit *int64
		is    int64
	}{{&l.Body, 3 << 20}, {&l.Object, 8 << 20}, {&l.Converted, 8 << 20}} {
		if *n.limit <= 0 {
			*n.limit = n.is
		}
	}
	return l
}

// Config is what an Engine is made of.
type Config struct {
	// Directory knows the credentials. Required.
	Directory engine.Directory
	// TLS holds the serving certificate and the authority of client certificates. Required.
	TLS *tls.Config
	// Now is the clock that credentials are judged by; time.Now if nil.
	Now func() time.Time
	// Limits of each connection.
	Limits Limits
}

// Engine serves Kubernetes clients. It is safe for concurrent use.
type Engine struct{ c Config }

var _ engine.Engine = (*Engine)(nil)

// New returns an engine.
func New(c Config) (*Engine, error) {
	if c.Directory == nil || c.TLS == nil {
		return nil, errors.New("kubernetes engine needs a directory and a TLS configuration")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Limits = c.Limits.withDefaults()
	return &Engine{c: c}, nil
}

// Handshake implements engine.Engine.
func (e *Engine) Handshake(ctx context.Context, c net.Conn) (engine.Conn, error) {
	secure := tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: e.serving})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with the client: %w", err)
	}
	conn := &conn{engine: e, tls: secure}
	verifier := e.identify(secure.ConnectionState())
	if verifier == nil {
		refusal := &policy.Refusal{Code: policy.CodeAuthentication, Message: "the client certificate is none of an open grant",
			Hint: "use the kubeconfig of the grant's Secret, and read it again if it was rotated or has expired"}
		conn.Deny(ctx, refusal)
		return nil, refusal
	}
	conn.request = policy.Request{Engine: Name, Grant: verifier.Grant, GrantUID: verifier.GrantUID, CredentialID: verifier.ID, Client: remote(c)}
	return conn, nil
}

// serving is the configuration with which the gate serves one client now.
func (e *Engine) serving(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	base := e.c.TLS
	if base.GetConfigForClient != nil {
		current, err := base.GetConfigForClient(hello)
		if err != nil {
			return nil, fmt.Errorf("find the serving configuration: %w", err)
		}
		if current != nil {
			base = current
		}
	}
	if base.ClientCAs == nil {
		return nil, errors.New("there is no authority of client certificates")
	}
	config := base.Clone()
	config.GetConfigForClient = nil
	config.MinVersion = max(base.MinVersion, tls.VersionTLS12)
	config.NextProtos = []string{"h2", "http/1.1"}
	// A resumed connection would be that of a certificate that was shown before.
	config.SessionTicketsDisabled = true
	// Who shows none is told so in HTTP.
	config.ClientAuth = tls.VerifyClientCertIfGiven
	return config, nil
}

// identify returns the verifier that the client's certificate matches; nil if there is none.
func (e *Engine) identify(state tls.ConnectionState) *policy.Verifier {
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf, now := state.PeerCertificates[0], e.c.Now()
	sum := sha256.Sum256(leaf.Raw)
	digest := []byte(hex.EncodeToString(sum[:]))
	verifiers := e.c.Directory.Verifiers(leaf.Subject.CommonName, now)
	for i := range verifiers {
		v := &verifiers[i]
		if v.Grant == leaf.Subject.CommonName && !now.Before(v.NotBefore.Time) && now.Before(v.ExpiresAt.Time) &&
			subtle.ConstantTimeCompare(digest, []byte(v.CertificateSHA256)) == 1 {
			return v
		}
	}
	return nil
}

// remote is the client's address.
func remote(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
