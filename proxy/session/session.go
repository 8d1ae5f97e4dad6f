// Package session is one client's admitted session as an engine sees it: what it may do,
// and the order in which it must do it. A command is forwarded with a Permit alone, and
// only Authorize makes one, after the decision, the approval and the record.
package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// MaxApprovable is the size of a command in bytes beyond which it cannot be approved,
// only denied: nobody reads more.
const MaxApprovable = 16 << 10

// Login is a login to a target. It is never logged or recorded.
type Login struct {
	Username string
	Password string
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
	RedactKey  []byte         // keys the hashes that stand for redacted constants; 32 bytes
	// End ends the connection with a cause that the client is told.
	End func(cause error)
}

// Session is one connection's admitted session. An engine uses it from any goroutine.
type Session struct {
	c         Config
	admission atomic.Pointer[policy.Admission]
}

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

// Permit lets one command go to the target, once. The zero Permit permits nothing.
type Permit struct{ id uint64 }

// Valid reports whether the permit came from Authorize.
func (p Permit) Valid() bool { return p.id != 0 }

// ErrRecorder ends a session whose events cannot be recorded.
var ErrRecorder = errors.New("recording failed")

// Authorize decides on c, holds it for approval if a rule asks for that, and records it.
// Only a nil error lets the command go on. A *policy.Refusal is for the client and the
// session lives on; any other error ends the session. pending is called when the client
// is made to wait, with the name of the ApprovalRequest; it may be nil if the protocol
// cannot tell the client.
//
// refresh, if not nil, is called when a held command is released, to establish again what
// is known of it; the decision is then taken again on the result.
func (s *Session) Authorize(ctx context.Context, c *policy.Command, pending func(request string, expires time.Time) error,
	refresh func(ctx context.Context) (*sql.Facts, error)) (Permit, error) {
	id := s.c.Commands.Add(1)
	admission := s.Admission()
	d := admission.Rules.Decide(c)
	rec := s.describe(id, c)
	switch d.Action {
	case policy.Allow:
		rec.Decision = "Allowed"
	case policy.RequireApproval:
		s.c.Counters.Held.Add(1)
		answer, err := s.hold(ctx, admission, c, d, rec, pending)
		if err == nil {
			err = s.decideAgain(ctx, c, d, refresh)
		}
		if err != nil {
			return Permit{}, s.refuse(rec, err)
		}
		rec.Decision, rec.Request, rec.Approvers = "Approved", answer.Request, answer.Approvers
	default:
		return Permit{}, s.refuse(rec, refusalOf(d))
	}
	rec.Rule, rec.Audit = ruleName(d.Rule), ruleNames(d.Audit)
	if err := s.record(&recording.Event{Kind: recording.KindCommand, Command: rec}); err != nil {
		return Permit{}, err
	}
	s.c.Counters.Forwarded.Add(1)
	return Permit{id: id}, nil
}

// Refuse records a command that the engine itself refuses, before any rule is asked, and
// returns the refusal, or the error that must end the session.
func (s *Session) Refuse(c *policy.Command, r *policy.Refusal) error {
	return s.refuse(s.describe(s.c.Commands.Add(1), c), r)
}

// Respond records a part of the response to the permitted command. A nil error lets the
// part go to the client; any other ends the session.
func (s *Session) Respond(p Permit, r *recording.Response) error {
	r.ID = p.id
	return s.record(&recording.Event{Kind: recording.KindResponse, Response: r})
}

// record records e; a failure ends the session.
func (s *Session) record(e *recording.Event) error {
	e.Connection = s.c.Connection
	if err := s.c.Recorder.Record(e); err != nil {
		err = fmt.Errorf("%w: %w", ErrRecorder, err)
		s.c.End(&policy.Refusal{Code: policy.CodeRecorder, Message: "the session cannot be recorded and was ended",
			Hint: "try again later; an administrator finds the cause in the proxy's log"})
		return err
	}
	return nil
}

func (s *Session) refuse(rec *recording.Command, err error) error {
	refusal := new(policy.Refusal)
	if !errors.As(err, &refusal) {
		refusal = &policy.Refusal{Code: policy.CodeApprovalFailed, Message: "the session ended before the command was decided"}
	}
	rec.Decision, rec.Code, rec.Rule, rec.Message, rec.Request = "Denied", string(refusal.Code), refusal.Rule, refusal.Message, refusal.Request
	if rerr := s.record(&recording.Event{Kind: recording.KindCommand, Command: rec}); rerr != nil {
		return rerr
	}
	s.c.Counters.Denied.Add(1)
	return err
}

func (s *Session) hold(ctx context.Context, a *policy.Admission, c *policy.Command, d policy.Decision, rec *recording.Command,
	pending func(string, time.Time) error) (approval.Answer, error) {
	if len(c.Text) > MaxApprovable {
		return approval.Answer{}, &policy.Refusal{Code: policy.CodeApprovalFailed, Rule: ruleName(d.Rule),
			Message: fmt.Sprintf("%s asks for approval, and a command of more than %d KiB cannot be approved", ruleName(d.Rule), MaxApprovable>>10),
			Hint:    "send it in smaller commands"}
	}
	return s.c.Approvals.Await(ctx, approval.Question{
		Admission: a, Session: s.c.Name, Decision: d, Engine: c.Engine, Text: rec.Text, Parameters: rec.Parameters,
		Context: c.Context, Digest: digest(c), InTransaction: c.InTransaction,
		Pending: func(request string, expires time.Time) error {
			held := &recording.Held{ID: rec.ID, Text: rec.Text, Rule: ruleName(d.Rule), Request: request}
			if err := s.record(&recording.Event{Kind: recording.KindHeld, Held: held}); err != nil {
				return err
			}
			if pending == nil {
				return nil
			}
			return pending(request, expires)
		},
	})
}

// decideAgain takes the decision again when a held command is released: the policy or
// what the command means may have changed meanwhile.
func (s *Session) decideAgain(ctx context.Context, c *policy.Command, held policy.Decision, refresh func(context.Context) (*sql.Facts, error)) error {
	if refresh != nil {
		facts, err := refresh(ctx)
		if err != nil {
			return err
		}
		c.SQL = facts
	}
	d := s.Admission().Rules.Decide(c)
	switch {
	case d.Action == policy.Deny:
		return refusalOf(d)
	case d.Action == policy.RequireApproval && d.Rule != held.Rule:
		return &policy.Refusal{Code: policy.CodeApprovalFailed, Rule: ruleName(d.Rule),
			Message: "the rules changed while the command was held; it now needs approval under " + ruleName(d.Rule), Hint: "send it again"}
	}
	return nil
}

func (s *Session) describe(id uint64, c *policy.Command) *recording.Command {
	rec := &recording.Command{ID: id}
	var changed bool
	rec.Text, changed = sql.Redact(c.Text, c.SQL, s.hash)
	if changed {
		sum := sha256.Sum256(c.Text)
		rec.Digest = hex.EncodeToString(sum[:])
	}
	sensitive := c.SQL == nil || !c.SQL.Known || c.SQL.Sensitive || c.SQL.SensitiveParameters
	for _, p := range c.Parameters {
		switch {
		case p.Null:
			rec.Parameters = append(rec.Parameters, "NULL")
		case sensitive:
			rec.Parameters = append(rec.Parameters, "#"+s.hash([]byte(p.Text)))
		default:
			rec.Parameters = append(rec.Parameters, p.Text)
		}
	}
	return rec
}

// hash stands for a redacted constant: 64 bits of a keyed hash, so that equal constants
// can be recognised and nobody without the key can try values.
func (s *Session) hash(b []byte) string {
	m := hmac.New(sha256.New, s.c.RedactKey)
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// digest is the SHA-256 over the exact command, its parameters and its context, each
// part preceded by its length so that no two commands share an input.
func digest(c *policy.Command) string {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part([]byte(c.Engine))
	part(c.Text)
	for _, p := range c.Parameters {
		part(fmt.Appendf(nil, "%d %t %t", p.Type, p.Null, p.Binary))
		part([]byte(p.Text))
	}
	for _, k := range slices.Sorted(maps.Keys(c.Context)) {
		part([]byte(k))
		part([]byte(c.Context[k]))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func refusalOf(d policy.Decision) *policy.Refusal {
	if d.Refusal != nil {
		return d.Refusal
	}
	return &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "the command is denied", Hint: "ask an administrator"}
}

func ruleName(r v1alpha1.RuleReference) string {
	switch {
	case r.Name == "":
		return ""
	case r.Namespace == "":
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

func ruleNames(rs []v1alpha1.RuleReference) []string {
	var names []string
	for _, r := range rs {
		names = append(names, ruleName(r))
	}
	return names
}
