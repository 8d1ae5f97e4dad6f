package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/xdg-go/scram"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/sql"
)

const (
	// maxSmall bounds a message of the target that is neither a row nor a description.
	maxSmall = 64 << 10
	// maxSignInMessages bounds what a target may say before it is ready.
	maxSignInMessages = 200
)

// upstream is the connection to the target.
type upstream struct {
	conn    net.Conn
	in      *frames
	secure  bool
	pid     uint32
	secret  []byte
	status  byte
	reports []parameter // ParameterStatus at sign-in, in order

	finished  atomic.Uint64 // statements and pipelines
	pipelines atomic.Uint64 // that are finished
	overdue   atomic.Pointer[overdue]
	asides    asides // guarded by relay.mu
	role      *role  // made for this connection; nil for a lasting login
}

// report returns what the target reported of a parameter.
func (u *upstream) report(name string) string {
	for _, p := range u.reports {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// errTarget is what a client is told whose target cannot be used; the cause is for the
// Target's condition and names no secret.
type errTarget struct {
	sentence string
	cause    error
	client   bool // the client's choice, not the target, is at fault
}

func (e *errTarget) Error() string { return e.sentence + ": " + e.cause.Error() }
func (e *errTarget) Unwrap() error { return e.cause }

func (e *errTarget) refusal() *policy.Refusal {
	// A backend that cannot use a Target says so in a sentence that is for clients too.
	if r := new(policy.Refusal); errors.As(e.cause, &r) {
		return r
	}
	if e.client {
		return &policy.Refusal{Code: policy.CodeUpstream, Message: e.sentence, Fault: sql.FaultNoDatabase,
			Hint: "name one that it has: psql -d NAME, or /NAME at the end of the URI's host; a client that names none asks for a database with the name of its user"}
	}
	return &policy.Refusal{Code: policy.CodeUpstream, Message: e.sentence, Hint: "an administrator finds the cause in the Target's conditions"}
}

func target(sentence string, cause error) error { return &errTarget{sentence: sentence, cause: cause} }

// dial connects to the session's target and encrypts the connection as the Target says.
// cert is shown to the target; it may be nil.
func dial(ctx context.Context, s *session.Session, cert *tls.Certificate) (net.Conn, error) {
	t := s.Admission().Target.Spec.Postgres
	if t == nil {
		return nil, target("the target is no PostgreSQL server", errors.New("no postgres block"))
	}
	port := t.Port
	if port == 0 {
		port = 5432
	}
	c, err := s.Dial(ctx, "tcp", net.JoinHostPort(t.Host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, target("the target cannot be reached", err)
	}
	c = newSocket(c)
	if t.TLS.Mode == v1alpha1.TLSDisable {
		return c, nil
	}
	secure, err := encryptUpstream(ctx, s, c, t, cert)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return secure, nil
}

func encryptUpstream(ctx context.Context, s *session.Session, c net.Conn, t *v1alpha1.PostgresTarget, cert *tls.Certificate) (net.Conn, error) {
	pem, err := s.CA(ctx)
	if err != nil {
		return nil, target("the target's authority cannot be read", err)
	}
	config, err := upstreamTLS(t, pem)
	if err != nil {
		return nil, err
	}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	stop := guard(ctx, c)
	defer stop()
	var request [8]byte
	binary.BigEndian.PutUint32(request[:], 8)
	binary.BigEndian.PutUint32(request[4:], codeSSL)
	if _, err := c.Write(request[:]); err != nil {
		return nil, target("the target cannot be reached", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return nil, target("the target cannot be reached", err)
	}
	if answer[0] != 'S' {
		return nil, target("the target offers no TLS", errors.New("SSLRequest was refused"))
	}
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, target("the target's certificate is not accepted", err)
	}
	return secure, nil
}

// upstreamTLS is the configuration for a Target. An unknown mode is the strictest.
func upstreamTLS(t *v1alpha1.PostgresTarget, pem []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Host, NextProtos: []string{alpn}}
	if t.TLS.ServerName != "" {
		config.ServerName = t.TLS.ServerName
	}
	if pem != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, target("the target's authority is no certificate", errors.New("no PEM certificate in caRef"))
		}
	}
	if t.TLS.Mode == v1alpha1.TLSVerifyCA {
		config.InsecureSkipVerify = true //nolint:gosec // the chain is verified below, the name is not wanted
		config.VerifyConnection = func(state tls.ConnectionState) error {
			intermediates := x509.NewCertPool()
			for _, c := range state.PeerCertificates[1:] {
				intermediates.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: config.RootCAs, Intermediates: intermediates})
			return err
		}
	}
	return config, nil
}

// guard makes reads and writes on c fail when ctx ends. The returned function ends that.
func guard(ctx context.Context, c net.Conn) func() {
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.SetDeadline(time.Time{})
		}
	}
}

// connect signs in to the target, as a role made for the session where the Target says so.
func connect(ctx context.Context, e *Engine, s *session.Session, parameters []parameter) (*upstream, error) {
	login, err := s.Login(ctx)
	if err != nil {
		return nil, target("the target's login cannot be read", err)
	}
	role, err := e.roles.make(ctx, s, login)
	if err != nil {
		return nil, err
	}
	if role != nil {
		login = role.login
	}
	u, err := connectAs(ctx, e, s, login, s.Admission().Request.Database, parameters)
	if err != nil {
		role.end()
		return nil, err
	}
	u.role = role
	return u, nil
}

// connectAs signs in with a login.
func connectAs(ctx context.Context, e *Engine, s *session.Session, login session.Login, database string, parameters []parameter) (*upstream, error) {
	c, err := dial(ctx, s, login.Certificate)
	if err != nil {
		return nil, err
	}
	u := &upstream{conn: c, in: newFrames(c)}
	_, u.secure = c.(*tls.Conn)
	stop := guard(ctx, c)
	defer stop()
	if err := u.signIn(e, login, database, parameters); err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			err = target("the target does not answer", context.Cause(ctx))
		}
		return nil, err
	}
	return u, nil
}

// close closes the connection, and ends the role that was made for it.
func (u *upstream) close() {
	_ = u.conn.Close()
	u.role.end()
}

func (u *upstream) signIn(e *Engine, login session.Login, database string, parameters []parameter) error {
	m := binary.BigEndian.AppendUint32(make([]byte, 4), protocol30)
	for _, p := range append([]parameter{{"user", login.Username}, {"database", database}}, parameters...) {
		if strings.ContainsRune(p.value, 0) {
			return target("the target's login cannot be used", errors.New("a zero byte in a start-up parameter"))
		}
		m = appendString(appendString(m, p.name), p.value)
	}
	m = append(m, 0)
	binary.BigEndian.PutUint32(m, uint32(len(m)))
	if _, err := u.conn.Write(m); err != nil {
		return target("the target cannot be reached", err)
	}
	if err := u.authenticate(e, login); err != nil {
		return err
	}
	return u.settle()
}

// next reads one small message.
func (u *upstream) next() (kind byte, body []byte, err error) {
	kind, size, err := u.in.head()
	if err == nil && size > maxSmall {
		err = errFrame
	}
	if err != nil {
		return 0, nil, target("the target does not speak PostgreSQL's protocol", err)
	}
	m, err := u.in.whole(size)
	if err != nil {
		return 0, nil, target("the target closed the connection", err)
	}
	return kind, m[headSize:], nil
}

// authenticate proves the login. A password goes to nobody but a server whose certificate
// was verified, unless it is by SCRAM, which does not reveal it.
func (u *upstream) authenticate(e *Engine, login session.Login) error {
	for range maxSignInMessages {
		kind, b, err := u.next()
		if err != nil {
			return err
		}
		switch kind {
		case msgNegotiateVersion, msgNotice:
			continue
		case msgErrorResponse:
			return refusedUpstream(b)
		case msgAuthentication:
		default:
			return target("the target does not speak PostgreSQL's protocol", errProtocol)
		}
		r := body{b: b}
		way := r.int32()
		if r.bad || way == authOK && r.end() != nil {
			return target("the target does not speak PostgreSQL's protocol", errMessage)
		}
		if way != authOK && login.Password == "" {
			return target("the target's way of signing in is refused", errors.New("it asks for a password, and the login has none"))
		}
		switch way {
		case authOK:
			return nil
		case authSASL:
			if err := u.scram(e, login, r.b); err != nil {
				return err
			}
			continue
		case authCleartext:
			if u.secure {
				err = u.send(appendString(nil, login.Password))
				break
			}
			err = errors.New("it asks for a password in clear text without TLS")
		case authMD5:
			salt := r.take(4)
			if u.secure && salt != nil {
				err = u.send(appendString(nil, md5Password(login, salt)))
				break
			}
			err = errors.New("it asks for an MD5 password without TLS")
		default:
			err = errors.New("it asks for a way of authentication that the gate does not have")
		}
		if err != nil {
			return target("the target's way of signing in is refused", err)
		}
	}
	return target("the target does not speak PostgreSQL's protocol", errProtocol)
}

func (u *upstream) send(body []byte) error {
	_, err := u.conn.Write(appendMessage(nil, msgPassword, body))
	return err
}

// scram runs the client's side of SCRAM, with channel binding if the server offers it.
func (u *upstream) scram(e *Engine, login session.Login, offered []byte) error {
	failed := func(err error) error { return target("the target's SCRAM exchange failed", err) }
	c := &scramClient{password: login.Password}
	var binding []byte
	if u.secure {
		state := u.conn.(*tls.Conn).ConnectionState()
		// A certificate whose signature algorithm names no hash cannot be bound to.
		if b, err := scram.NewTLSServerEndpointBinding(&state); err == nil {
			binding = b.Data
		}
	}
	chosen := ""
	for r := (body{b: offered}); len(r.b) > 1 && !r.bad; {
		switch name := string(r.string()); {
		case name == mechanismPlus && len(binding) > 0:
			chosen, c.binding = name, binding
		case name == mechanism && chosen == "":
			chosen = name
		}
	}
	if chosen == "" {
		return failed(errors.New("no known mechanism"))
	}
	c.unoffered = chosen == mechanism && len(binding) > 0
	first, err := c.first(e.c.Random)
	if err != nil {
		return failed(err)
	}
	m := binary.BigEndian.AppendUint32(appendString(nil, chosen), uint32(len(first))) //nolint:gosec // some 60 bytes
	if err := u.send(append(m, first...)); err != nil {
		return failed(err)
	}
	answer, err := u.saslAnswer(authSASLContinue)
	if err != nil {
		return err
	}
	final, err := c.final(answer)
	if err != nil {
		return failed(err)
	}
	if err := u.send([]byte(final)); err != nil {
		return failed(err)
	}
	if answer, err = u.saslAnswer(authSASLFinal); err != nil {
		return err
	}
	if err := c.verify(answer); err != nil {
		return failed(err)
	}
	return nil
}

func (u *upstream) saslAnswer(code int32) (string, error) {
	kind, b, err := u.next()
	if err != nil {
		return "", err
	}
	r := body{b: b}
	switch {
	case kind == msgErrorResponse:
		return "", refusedUpstream(b)
	case kind != msgAuthentication || r.int32() != code:
		return "", target("the target does not speak PostgreSQL's protocol", errProtocol)
	}
	return string(r.b), nil
}

// settle reads what the target says between authentication and its first ReadyForQuery.
func (u *upstream) settle() error {
	for range maxSignInMessages {
		kind, b, err := u.next()
		if err != nil {
			return err
		}
		r := body{b: b}
		switch kind {
		case msgParameterStatus:
			p := parameter{name: string(r.string()), value: string(r.string())}
			if r.end() != nil {
				return target("the target does not speak PostgreSQL's protocol", errMessage)
			}
			u.reports = append(u.reports, p)
		case msgBackendKeyData:
			u.pid = uint32(r.int32()) //nolint:gosec // the wire's own conversion
			u.secret = append([]byte(nil), r.b...)
		case msgNotice, msgNegotiateVersion:
		case msgErrorResponse:
			return refusedUpstream(b)
		case msgReadyForQuery:
			u.status = r.byte()
			if r.end() != nil || u.status != 'I' {
				return target("the target does not speak PostgreSQL's protocol", errMessage)
			}
			return nil
		default:
			return target("the target does not speak PostgreSQL's protocol", errProtocol)
		}
	}
	return target("the target does not speak PostgreSQL's protocol", fmt.Errorf("%w: too many messages", errProtocol))
}

// refusedUpstream turns the target's refusal into an error: the SQLSTATE says enough, and
// the text may name the login.
func refusedUpstream(b []byte) error {
	state := errorField(b, 'C')
	sentence := "the target refused the gate"
	switch {
	case state == "3D000":
		sentence = "the target has no such database"
	case strings.HasPrefix(state, "28"):
		sentence = "the target does not accept the gate's login"
	case state == "53300":
		sentence = "the target has no connection left"
	case strings.HasPrefix(state, "57P"):
		sentence = "the target takes no connections now"
	}
	return &errTarget{sentence: sentence, cause: fmt.Errorf("SQLSTATE %s", state), client: state == "3D000"}
}
