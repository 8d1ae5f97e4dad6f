package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Permit lets one command go to the target, once. The zero Permit permits nothing.
type Permit struct{ id uint64 }

// Valid reports whether the permit came from Authorize.
func (p Permit) Valid() bool { return p.id != 0 }

// ErrRecorder ends a session whose events cannot be recorded.
var ErrRecorder = errors.New("recording failed")

// ErrPermit is the error of a response to a command that was never permitted.
var ErrPermit = errors.New("no permit")

// Verdict is the decision of a session on one command as it was then. The zero Verdict is
// none.
type Verdict struct {
	policy.Decision
	admission *policy.Admission
	command   *policy.Command
	facts     *sql.Facts
	within    bool // a transaction
}

// Decide decides on c, for Authorize to act on.
func (s *Session) Decide(c *policy.Command) Verdict {
	a := s.Admission()
	return Verdict{Decision: a.Rules.Decide(c), admission: a, command: c, facts: c.SQL, within: c.InTransaction}
}

// holds reports whether v is what the session would decide on c now.
func (v *Verdict) holds(s *Session, c *policy.Command) bool {
	return v.admission != nil && v.admission == s.Admission() && v.command == c && v.facts == c.SQL && v.within == c.InTransaction
}

// Authorize decides on c, holds it for approval if a rule asks for that, and records it.
// Only a nil error lets the command go on. A *policy.Refusal is for the client and the
// session lives on; any other error ends the session. pending is called when the client
// is made to wait, with the name of the ApprovalRequest; it may be nil if the protocol
// cannot tell the client. v is what Decide said of c; where it does not hold, c is decided
// on again.
//
// refresh, if not nil, is called when a held command is released, to establish again what
// is known of it; the decision is then taken again on the result.
func (s *Session) Authorize(ctx context.Context, c *policy.Command, v Verdict, pending func(request string, expires time.Time) error,
	refresh func(ctx context.Context) (*sql.Facts, error)) (Permit, error) {
	id := s.c.Commands.Add(1)
	rec := s.describe(id, c)
	if err := s.stopCause(); err != nil {
		return Permit{}, s.refuse(rec, err)
	}
	if !v.holds(s, c) {
		v = s.Decide(c)
	}
	d := v.Decision
	rec.Audit = ruleNames(d.Audit)
	switch d.Action {
	case policy.Allow:
		rec.Decision = "Allowed"
	case policy.RequireApproval:
		s.c.Counters.Held.Add(1)
		answer, err := s.hold(ctx, v.admission, c, d, rec, pending)
		rec.Request = answer.Request
		if err == nil {
			err = s.decideAgain(ctx, c, v.admission, d, refresh)
		}
		if err != nil {
			return Permit{}, s.refuse(rec, err)
		}
		// What is known of the command may be new, and so what of it may be shown.
		again := s.describe(id, c)
		rec.Text, rec.Parameters, rec.Digest = again.Text, again.Parameters, again.Digest
		rec.Decision, rec.Approvers = "Approved", answer.Approvers
	default:
		return Permit{}, s.refuse(rec, refusalOf(d))
	}
	rec.Rule = policy.RuleName(d.Rule)
	if err := s.record(rec.asEvent()); err != nil {
		return Permit{}, err
	}
	if err := s.stopCause(); err != nil {
		return Permit{}, s.undo(id, err)
	}
	s.c.Counters.Forwarded.Add(1)
	return Permit{id: id}, nil
}

// undo records that a command whose record says that it goes on did not: the session was
// stopped in between.
func (s *Session) undo(id uint64, cause error) error {
	s.c.Counters.Denied.Add(1)
	if err := s.record(&recording.Event{Kind: recording.KindResponse,
		Response: &recording.Response{ID: id, Final: true, Error: "not forwarded: " + safe(cause)}}); err != nil {
		return err
	}
	return cause
}

// safe returns what a recording may hold of an error: a refusal's own sentence, for
// nothing else is known to be free of values.
func safe(err error) string {
	if refusal := new(policy.Refusal); errors.As(err, &refusal) {
		return refusal.Error()
	}
	return "the session ended"
}

// Refuse records a command that the engine itself refuses, before any rule is asked, and
// returns the refusal, or the error that must end the session.
func (s *Session) Refuse(c *policy.Command, r *policy.Refusal) error {
	return s.refuse(s.describe(s.c.Commands.Add(1), c), r)
}

// Deny records a command that d denies, before it is to go anywhere, and returns the
// refusal, or the error that must end the session. A decision that denies nothing is one
// that says not why.
func (s *Session) Deny(c *policy.Command, d policy.Decision) error {
	rec := s.describe(s.c.Commands.Add(1), c)
	rec.Audit = ruleNames(d.Audit)
	return s.refuse(rec, refusalOf(d))
}

// Respond records a part of the response to the permitted command. A nil error lets the
// part go to the client; any other ends the session.
func (s *Session) Respond(p Permit, r *recording.Response) error {
	if !p.Valid() {
		return ErrPermit
	}
	r.ID = p.id
	e, ok := events.Get().(*recording.Event)
	if !ok {
		e = new(recording.Event)
	}
	*e = recording.Event{Kind: recording.KindResponse, Response: r}
	err := s.record(e)
	*e = recording.Event{}
	events.Put(e)
	return err
}

// events are lent to the recorder.
var events = sync.Pool{New: func() any { return new(recording.Event) }}

// Input records a part of the data that the client sends to the permitted command. A nil
// error lets it go to the target; any other ends the session.
func (s *Session) Input(p Permit, i *recording.Input) error {
	if !p.Valid() {
		return ErrPermit
	}
	i.ID = p.id
	return s.record(&recording.Event{Kind: recording.KindInput, Input: i})
}

// Output records a part of the bytes that come back to the permitted command. A nil error
// lets it go to the client; any other ends the session.
func (s *Session) Output(p Permit, o *recording.Output) error {
	if !p.Valid() {
		return ErrPermit
	}
	o.ID = p.id
	return s.record(&recording.Event{Kind: recording.KindOutput, Output: o})
}

// Told records what the target says without being asked. A nil error lets it go to the
// client; any other ends the session.
func (s *Session) Told(m *recording.Message) error {
	return s.record(&recording.Event{Kind: recording.KindMessage, Message: m})
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

func (s *Session) refuse(rec *noted, err error) error {
	refusal := new(policy.Refusal)
	if !errors.As(err, &refusal) {
		refusal = &policy.Refusal{Code: policy.CodeApprovalFailed, Message: "the session ended before the command was decided"}
	}
	rec.Decision, rec.Code, rec.Rule, rec.Message = "Denied", string(refusal.Code), refusal.Rule, refusal.Message
	if refusal.Request != "" {
		rec.Request = refusal.Request
	}
	if rerr := s.record(rec.asEvent()); rerr != nil {
		return rerr
	}
	s.c.Counters.Denied.Add(1)
	return err
}
