// Package session is one client's admitted session as an engine sees it: what it may do,
// and the order in which it must do it. A command is forwarded with a Permit alone, and
// only Authorize makes one, after the decision, the approval and the record.
package session

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// Login is a login to a target. It is never logged or recorded.
type Login struct {
	Username string
	Password string
	// Token is a bearer token, and Server the address it is for where the Target names none:
	// https://HOST:PORT. Both are of Kubernetes.
	Token  string
	Server string
	// Key is of SSH: of the Target's userCA, or of its logins.
	Key ssh.Signer
	// Certificate is shown to the target in TLS; nil for none.
	Certificate *tls.Certificate
}

// Secrets reads what the proxy needs to reach a target. Implementations read the named
// objects alone, refuse a Secret without its owner's consent, and are safe for
// concurrent use.
type Secrets interface {
	// Login returns the login for a target.
	Login(ctx context.Context, t *v1alpha1.Target) (Login, error)
	// CA returns the PEM bundle that the target's caRef names; nil without one.
	CA(ctx context.Context, t *v1alpha1.Target) ([]byte, error)
}

// Counters count the commands of a session by what became of them.
type Counters struct {
	Forwarded, Denied, Held atomic.Int64
}

// Config is what a Session is made of. Every field is required.
type Config struct {
	Name       string // of the Session object
	Connection uint32 // counts the session's connections from 1
	Admission  *policy.Admission
	Recorder   recording.Recorder
	Approvals  approval.Gate
	Secrets    Secrets
	Dial       func(ctx context.Context, network, address string) (net.Conn, error)
	Reachable  func(t *v1alpha1.Target, err error)
	Counters   *Counters
	Commands   *atomic.Uint64 // counts the session's commands over its connections
	RedactKey  []byte         // keys the hashes that stand for commands and constants; 32 bytes
	// End ends the connection with a cause that the client is told.
	End func(cause error)
}

// Session is one connection's admitted session. An engine uses it from any goroutine.
type Session struct {
	c         Config
	admission atomic.Pointer[policy.Admission]
	stopped   atomic.Pointer[stop]
}

type stop struct{ cause error }

// New returns a session.
func New(c Config) *Session {
	s := &Session{c: c}
	s.admission.Store(c.Admission)
	return s
}

// Name returns the name of the Session object.
func (s *Session) Name() string { return s.c.Name }

// Admission returns what the session may do now. It changes with the policy; a caller
// that needs one consistent view keeps the result.
func (s *Session) Admission() *policy.Admission { return s.admission.Load() }

// Update puts a new admission in force for every command decided from now on.
func (s *Session) Update(a *policy.Admission) { s.admission.Store(a) }

// Stop makes every later Authorize fail with cause, also for commands that are held now. It
// does not end the connection. The first cause stays.
func (s *Session) Stop(cause error) { s.stopped.CompareAndSwap(nil, &stop{cause}) }

// End ends the connection with a cause that the client is told, and permits nothing more.
func (s *Session) End(cause error) {
	s.Stop(cause)
	s.c.End(cause)
}

func (s *Session) stopCause() error {
	if p := s.stopped.Load(); p != nil {
		return p.cause
	}
	return nil
}

// Login returns the login for the session's target.
func (s *Session) Login(ctx context.Context) (Login, error) {
	return s.c.Secrets.Login(ctx, s.Admission().Target)
}

// CA returns the PEM bundle that signs for the session's target; nil for the system's.
func (s *Session) CA(ctx context.Context) ([]byte, error) {
	return s.c.Secrets.CA(ctx, s.Admission().Target)
}

// Dial connects to the session's target.
func (s *Session) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return s.c.Dial(ctx, network, address)
}

// Reachable reports the outcome of signing in to the target; nil is success.
func (s *Session) Reachable(err error) { s.c.Reachable(s.Admission().Target, err) }
