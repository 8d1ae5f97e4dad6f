package session

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// MaxApprovable is the size of a command in bytes beyond which it cannot be approved,
// only denied: nobody reads more.
const MaxApprovable = 16 << 10

// Bounds of an ApprovalRequest on what it shows of a command.
const (
	maxShown           = 24 << 10
	maxShownParameters = 256
	maxShownParameter  = 4 << 10
)

func (s *Session) hold(ctx context.Context, a *policy.Admission, c *policy.Command, d policy.Decision, rec *noted,
	pending func(string, time.Time) error) (approval.Answer, error) {
	if why := unapprovable(c, &rec.Command); why != "" {
		return approval.Answer{}, &policy.Refusal{Code: policy.CodeApprovalFailed, Rule: policy.RuleName(d.Rule),
			Message: policy.RuleName(d.Rule) + " asks for approval, and " + why, Hint: "send it in smaller, plain commands"}
	}
	return s.c.Approvals.Await(ctx, approval.Question{
		Admission: a, Session: s.c.Name, Decision: d, Engine: c.Engine, Text: rec.Text, Parameters: rec.Parameters,
		Context: c.Context, Digest: s.digest(c), EstimatedRows: c.EstimatedRows, InTransaction: c.InTransaction,
		Pending: func(request string, expires time.Time) error {
			held := &recording.Held{ID: rec.ID, Text: rec.Text, Rule: policy.RuleName(d.Rule), Request: request}
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

// unapprovable says why nobody can approve c, which is described by rec; empty if
// somebody can. What an approver is shown must be all of it.
func unapprovable(c *policy.Command, rec *recording.Command) string {
	switch {
	case len(c.Text) > MaxApprovable:
		return fmt.Sprintf("a command of more than %d KiB cannot be approved", MaxApprovable>>10)
	case len(rec.Text) > maxShown:
		return "a command with so many constants cannot be shown and approved"
	case len(rec.Parameters) > maxShownParameters:
		return fmt.Sprintf("a command with more than %d parameters cannot be approved", maxShownParameters)
	case !utf8.Valid(c.Text):
		return "a command that is not valid UTF-8 cannot be approved"
	}
	for _, p := range rec.Parameters {
		if len(p) > maxShownParameter {
			return fmt.Sprintf("a parameter of more than %d KiB cannot be approved", maxShownParameter>>10)
		}
		if !utf8.ValidString(p) {
			return "a parameter that is not valid UTF-8 cannot be approved"
		}
	}
	return ""
}

// decideAgain takes the decision again when a held command is released: the policy or
// what the command means may have changed meanwhile.
func (s *Session) decideAgain(ctx context.Context, c *policy.Command, held *policy.Admission, d policy.Decision,
	refresh func(context.Context) (*sql.Facts, error)) error {
	if refresh != nil {
		facts, err := refresh(ctx)
		if err != nil {
			return err
		}
		c.SQL = facts
	}
	if err := s.stopCause(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	now := s.Admission()
	if now.Target.UID != held.Target.UID || now.Target.Generation != held.Target.Generation {
		return &policy.Refusal{Code: policy.CodeApprovalFailed, Rule: policy.RuleName(d.Rule),
			Message: "the Target changed while the command was held", Hint: "send it again"}
	}
	again := now.Rules.Decide(c)
	switch {
	case again.Action == policy.Allow:
		return nil
	case again.Action == policy.RequireApproval && again.Rule == d.Rule && equality.Semantic.DeepEqual(again.Terms, d.Terms):
		return nil
	case again.Action == policy.RequireApproval:
		return &policy.Refusal{Code: policy.CodeApprovalFailed, Rule: policy.RuleName(again.Rule),
			Message: "the rules changed while the command was held; it now needs approval under " + policy.RuleName(again.Rule), Hint: "send it again"}
	}
	return refusalOf(again)
}
