package postgres

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/xdg-go/scram"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// maxSASL bounds a SASL message of a client; PostgreSQL's own bound is 1024.
const maxSASL = 4096

// conn is a client that has proven its identity.
type conn struct {
	engine  *Engine
	tls     *tls.Conn
	wire    *wire
	start   *startup
	request policy.Request
}

// Request implements engine.Conn.
func (c *conn) Request() policy.Request { return c.request }

// fatal tells the client that the connection ends. A client that does not listen is not
// waited for longer than the connection's deadline.
func (c *conn) fatal(f *failure) {
	_, _ = c.tls.Write(f.response(msgErrorResponse, "FATAL"))
	_ = c.tls.CloseWrite()
}

// refused is what a client is told whose credential is not accepted, whatever is wrong
// with it.
func refused() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeAuthentication, Message: "the credential is not accepted",
		Hint: "the user name is the grant's name and the password that of its current credential; it may have expired or been rotated"}
}

// signIn establishes who the client is. The client has been told if it fails.
func (c *conn) signIn(cert *x509.Certificate) error {
	if err := c.acceptable(); err != nil {
		c.fatal(failureOf(err, duringSignIn))
		return err
	}
	if c.start.negotiate {
		if _, err := c.tls.Write(c.start.negotiation()); err != nil {
			return fmt.Errorf("negotiate the version: %w", err)
		}
	}
	now := c.engine.c.Now()
	verifiers := c.engine.c.Directory.Verifiers(c.start.user, now)
	matched := c.byCertificate(verifiers, now)
	if matched == nil {
		var err error
		if matched, err = c.byPassword(verifiers, now, cert); err != nil {
			if errors.Is(err, errSCRAM) {
				err = refused()
				c.fatal(failureOf(err, duringSignIn))
			}
			return err
		}
	}
	c.request = policy.Request{Engine: Name, Grant: matched.Grant, GrantUID: matched.GrantUID, CredentialID: matched.ID,
		Database: c.start.database, Application: policy.Printable(c.start.get("application_name"), maxName), Client: remote(c.wire.Conn)}
	return nil
}

// acceptable judges the start-up message before anything is looked up.
func (c *conn) acceptable() error {
	if badName(c.start.user) || badName(c.start.database) {
		return &failure{state: stateProtocol, message: string(policy.CodeProtocol) + ": the user or database name is not a name"}
	}
	switch c.start.get("replication") {
	case "", "0", "false", "off", "no":
		return nil
	}
	return &failure{state: stateProtocol, message: string(policy.CodeProtocol) + ": this gate carries no replication"}
}

func valid(v policy.Verifier, now time.Time) bool {
	return !now.Before(v.NotBefore.Time) && now.Before(v.ExpiresAt.Time)
}

// byCertificate returns the verifier of this very grant that the client's certificate
// matches.
func (c *conn) byCertificate(verifiers []policy.Verifier, now time.Time) *policy.Verifier {
	state := c.tls.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	digest := []byte(hex.EncodeToString(sum[:]))
	for i := range verifiers {
		v := &verifiers[i]
		if v.Grant == c.start.user && valid(*v, now) && subtle.ConstantTimeCompare(digest, []byte(v.CertificateSHA256)) == 1 {
			return v
		}
	}
	return nil
}

// byPassword runs SCRAM. A grant that does not exist goes through the same exchange.
func (c *conn) byPassword(verifiers []policy.Verifier, now time.Time, cert *x509.Certificate) (*policy.Verifier, error) {
	server := c.exchange(verifiers, now, cert)
	offer := appendString(nil, mechanism)
	if len(server.binding) > 0 {
		offer = appendString(appendString(nil, mechanismPlus), mechanism)
	}
	if _, err := c.tls.Write(authentication(authSASL, append(offer, 0))); err != nil {
		return nil, fmt.Errorf("offer SCRAM: %w", err)
	}
	body, err := c.sasl()
	if err != nil {
		return nil, err
	}
	chosen, first, ok := initialResponse(body)
	server.plus = chosen == mechanismPlus
	if !ok || (chosen != mechanism && !server.plus) {
		return nil, errSCRAM
	}
	answer, err := server.first(first, c.engine.c.Random)
	if err != nil {
		return nil, err
	}
	if _, err := c.tls.Write(authentication(authSASLContinue, []byte(answer))); err != nil {
		return nil, fmt.Errorf("continue SCRAM: %w", err)
	}
	if body, err = c.sasl(); err != nil {
		return nil, err
	}
	answer, id, err := server.final(string(body))
	if err != nil {
		return nil, err
	}
	if _, err := c.tls.Write(authentication(authSASLFinal, []byte(answer))); err != nil {
		return nil, fmt.Errorf("finish SCRAM: %w", err)
	}
	for i := range verifiers {
		if verifiers[i].ID == id {
			return &verifiers[i], nil
		}
	}
	return nil, errSCRAM
}

// exchange prepares SCRAM with the credentials that share the first one's salt: a salt has
// to be sent before it is known which of them the client has.
func (c *conn) exchange(verifiers []policy.Verifier, now time.Time, cert *x509.Certificate) *scramServer {
	s := &scramServer{iterations: credentials.Iterations}
	for _, v := range verifiers {
		if v.Grant != c.start.user || !valid(v, now) {
			continue
		}
		parsed, err := credentials.ParseSCRAM(v.SCRAMSHA256)
		if err != nil || (s.salt != nil && (string(parsed.Salt) != string(s.salt) || parsed.Iterations != s.iterations)) {
			continue
		}
		s.salt, s.iterations = parsed.Salt, parsed.Iterations
		s.candidates = append(s.candidates, candidate{id: v.ID, scram: parsed})
	}
	if s.salt == nil {
		m := hmac.New(sha256.New, c.engine.ghost[:])
		m.Write([]byte(c.start.user))
		s.salt = m.Sum(nil)[:16]
	}
	// A certificate whose signature algorithm names no hash has no binding to offer.
	if b, err := scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}); err == nil {
		s.binding = b.Data
	}
	return s
}

// sasl reads one SASL message.
func (c *conn) sasl() ([]byte, error) {
	f := make([]byte, headSize)
	if _, err := io.ReadFull(c.tls, f); err != nil {
		return nil, fmt.Errorf("read SASL message: %w", err)
	}
	n := uint32(f[1])<<24 | uint32(f[2])<<16 | uint32(f[3])<<8 | uint32(f[4])
	if f[0] != msgPassword || n < 4 || n-4 > maxSASL {
		err := &policy.Refusal{Code: policy.CodeProtocol, Message: "a SASL message was expected"}
		c.fatal(failureOf(err, duringSignIn))
		return nil, errProtocol
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(c.tls, body); err != nil {
		return nil, fmt.Errorf("read SASL message: %w", err)
	}
	return body, nil
}

// initialResponse parses a SASLInitialResponse.
func initialResponse(body []byte) (name, first string, ok bool) {
	name, rest, ok := cutString(body)
	if !ok || len(rest) < 4 {
		return "", "", false
	}
	n := uint32(rest[0])<<24 | uint32(rest[1])<<16 | uint32(rest[2])<<8 | uint32(rest[3])
	if int64(n) != int64(len(rest)-4) {
		return "", "", false
	}
	return name, string(rest[4:]), true
}
