package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// signInBudget is the most bytes a client may send before it is signed in; a TLS
	// handshake with a client certificate fits many times.
	signInBudget = 128 << 10
	// alpn is the protocol that clients name in TLS (PostgreSQL documentation, "SSL Session
	// Encryption").
	alpn = "postgresql"
	// recordHandshake is the first byte of a TLS connection.
	recordHandshake = 0x16
	// negotiations is how often a client may ask for encryption.
	negotiations = 4
)

var (
	errBudget   = errors.New("too many bytes before sign-in")
	errEarly    = errors.New("bytes before TLS")
	errNoTLS    = errors.New("the client uses no TLS")
	errNoALPN   = errors.New("direct TLS without ALPN")
	errProtocol = errors.New("protocol violation")
)

// wire is the client's connection below TLS. Before sign-in it has a budget; what was read
// of it to find out what the client speaks is read again.
type wire struct {
	net.Conn
	socket net.Conn // the same connection
	early  []byte
	budget int // left; negative is no limit

	reads   atomic.Uint64 // that were begun
	waiting atomic.Bool   // one is under way
}

func (w *wire) Read(b []byte) (int, error) {
	if w.budget == 0 {
		return 0, errBudget
	}
	if len(w.early) > 0 {
		n := copy(b, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	if w.budget > 0 {
		b = b[:min(len(b), w.budget)]
	}
	w.reads.Add(1)
	w.waiting.Store(true)
	n, err := w.socket.Read(b)
	w.waiting.Store(false)
	if w.budget > 0 {
		w.budget -= n
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) { return w.socket.Write(b) }

// Handshake implements engine.Engine.
func (e *Engine) Handshake(ctx context.Context, c net.Conn) (engine.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, fmt.Errorf("set deadline: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	w := &wire{Conn: c, socket: newSocket(c), budget: signInBudget}
	secure, cert, err := e.encrypt(ctx, w)
	if err != nil {
		return nil, err
	}
	code, body, err := readPacket(secure)
	if err != nil {
		return nil, err
	}
	peer := secure.ConnectionState().NegotiatedProtocol == alpnPeer
	if code == codeCancel {
		return nil, e.serveCancel(ctx, body, !peer)
	}
	if peer {
		return nil, errStartup
	}
	k := &conn{engine: e, tls: secure, wire: w}
	k.start, err = parseStartup(code, body)
	if err != nil {
		k.fatal(&failure{state: stateProtocol, message: string(policy.CodeProtocol) + ": the start-up message is not one of protocol 3.0 to 3.2"})
		return nil, err
	}
	if err := k.signIn(cert); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	w.budget = -1
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clear deadline: %w", err)
	}
	return k, nil
}

// encrypt negotiates TLS in one of the two ways and returns the certificate that the
// client was shown.
func (e *Engine) encrypt(ctx context.Context, w *wire) (*tls.Conn, *x509.Certificate, error) {
	var first [1]byte
	if _, err := io.ReadFull(w, first[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil, engine.ErrServed
		}
		return nil, nil, fmt.Errorf("read the first byte: %w", err)
	}
	w.early = append(w.early, first[0])
	if first[0] == recordHandshake {
		return e.startTLS(ctx, w, true)
	}
	for range negotiations {
		code, body, err := readPacket(w)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case code == codeSSL && len(body) == 0:
			if err := nothingMore(w.Conn); err != nil {
				return nil, nil, err
			}
			if _, err := w.Write([]byte{'S'}); err != nil {
				return nil, nil, fmt.Errorf("answer SSLRequest: %w", err)
			}
			return e.startTLS(ctx, w, false)
		case code == codeGSSENC && len(body) == 0:
			if _, err := w.Write([]byte{'N'}); err != nil {
				return nil, nil, fmt.Errorf("answer GSSENCRequest: %w", err)
			}
		case code == codeCancel:
			return nil, nil, e.serveCancel(ctx, body, true)
		case code>>16 == protocolMajor:
			f := &failure{state: stateAuthorization, message: string(policy.CodeProtocol) + ": this gate takes connections with TLS only",
				hint: "connect with sslmode=verify-full and the gate's CA certificate in sslrootcert, or at least with sslmode=require"}
			_, _ = w.Write(f.response(msgErrorResponse, "FATAL"))
			return nil, nil, errNoTLS
		default:
			return nil, nil, errStartup
		}
	}
	return nil, nil, errProtocol
}

// nothingMore fails if the client sent anything after its SSLRequest without waiting for
// the answer: somebody in between may have put it there (CVE-2021-3935 and its kin).
func nothingMore(c net.Conn) error {
	waiting, err := pending(c)
	if err != nil {
		return fmt.Errorf("look for early bytes: %w", err)
	}
	if waiting {
		return errEarly
	}
	return nil
}

func (e *Engine) startTLS(ctx context.Context, w *wire, direct bool) (*tls.Conn, *x509.Certificate, error) {
	var shown *tls.Certificate
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		base, err := e.serving(hello)
		if err != nil {
			return nil, err
		}
		return forClient(base, func(c *tls.Certificate) { shown = c }), nil
	}}
	secure := tls.Server(w, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	if direct && secure.ConnectionState().NegotiatedProtocol == "" {
		return nil, nil, errNoALPN
	}
	leaf, err := leafOf(shown)
	if err != nil {
		return nil, nil, err
	}
	return secure, leaf, nil
}

// serving is the configuration with which the gate serves now.
func (e *Engine) serving(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	base := e.c.TLS
	if base.GetConfigForClient == nil {
		return base, nil
	}
	current, err := base.GetConfigForClient(hello)
	if err != nil {
		return nil, fmt.Errorf("find the serving configuration: %w", err)
	}
	if current != nil {
		base = current
	}
	return base, nil
}

// forClient returns base as it is used for one connection. seen is told the certificate
// that is shown, for channel binding.
func forClient(base *tls.Config, seen func(*tls.Certificate)) *tls.Config {
	config := base.Clone()
	config.GetConfigForClient = nil
	config.MinVersion = max(base.MinVersion, tls.VersionTLS12)
	config.NextProtos = []string{alpn, alpnPeer}
	config.SessionTicketsDisabled = true
	if config.ClientCAs != nil {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	} else {
		config.ClientAuth = tls.NoClientCert
	}
	config.Certificates = nil
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		var cert *tls.Certificate
		var err error
		if base.GetCertificate != nil {
			cert, err = base.GetCertificate(hello)
		}
		if cert == nil && err == nil && len(base.Certificates) > 0 {
			cert = &base.Certificates[0]
		}
		if err != nil || cert == nil {
			return nil, errors.Join(errors.New("no serving certificate"), err)
		}
		seen(cert)
		return cert, nil
	}
	return config
}

func leafOf(c *tls.Certificate) (*x509.Certificate, error) {
	if c == nil || len(c.Certificate) == 0 {
		return nil, errors.New("no serving certificate")
	}
	if c.Leaf != nil {
		return c.Leaf, nil
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("parse serving certificate: %w", err)
	}
	return leaf, nil
}

// serveCancel serves a CancelRequest; pass says whether it may be passed on to the replica
// that its key names. Nothing is answered, whatever the key.
func (e *Engine) serveCancel(ctx context.Context, body []byte, pass bool) error {
	pid, secret, ok := parseCancel(body)
	if !ok {
		return errStartup
	}
	if !e.cancels.cancel(ctx, pid, secret) && pass && e.peers != nil {
		e.peers.forward(ctx, pid, body)
	}
	return engine.ErrServed
}

// remote is the client's address.
func remote(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// badName reports whether a name could mean something else to the target than to the
// policy: PostgreSQL itself cuts names, and drivers split connection strings.
func badName(s string) bool {
	return s == "" || len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
