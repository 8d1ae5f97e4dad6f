package approval

import (
	"context"
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
)

// Question is one command that a rule wants approved.
type Question struct {
	Admission *policy.Admission
	Session   string
	// Decision asked for approval: its Terms, Rule and Message.
	Decision policy.Decision
	// Engine, Text and Parameters are shown to approvers, already redacted. Digest is what the
	// approval is bound to, InTransaction chooses between the rule's two behaviours.
	Engine        string
	Text          string
	Parameters    []string
	Context       map[string]string
	Digest        string
	InTransaction bool
	// EstimatedRows is shown to approvers where it is known. It is no part of the question:
	// it may be another one when the same command is sent again.
	EstimatedRows *int64
	// Pending is called once, before the client is made to wait, with the request's name and
	// when it lapses. An error from it (the client is gone) withdraws the request.
	Pending func(request string, expires time.Time) error
}

// Answer is an approval that was consumed.
type Answer struct {
	Request   string
	Approvers []string
}

// Gate holds commands.
type Gate interface {
	// Await returns nil only if enough approvers approved and the approval was consumed for
	// this very call; otherwise a *policy.Refusal or ctx's error.
	Await(ctx context.Context, q Question) (Answer, error)
}
