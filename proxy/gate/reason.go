package gate

import (
	"context"
	"errors"
	"fmt"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// Reasons for the end of a session that are not refusals.
const (
	reasonClientClosed = "ClientClosed"
	reasonFailed       = "Failed"
)

// reasons are the ends of sessions by the refusal behind them. They are part of the API:
// status.endReason of a Session.
var reasons = map[policy.Code]string{
	policy.CodeAuthentication: "CredentialInvalid",
	policy.CodeGrantInactive:  "GrantInactive",
	policy.CodeGrantExpired:   "GrantExpired",
	policy.CodeGrantRevoked:   "GrantRevoked",
	policy.CodeLocked:         "Locked",
	policy.CodeNotPermitted:   "NotPermitted",
	policy.CodeTargetShut:     "TargetShut",
	policy.CodeUpstream:       "UpstreamFailed",
	policy.CodeStale:          "PolicyStale",
	policy.CodeTerminated:     "Terminated",
	policy.CodeRecorder:       "RecorderFailed",
	policy.CodeLimit:          "LimitExceeded",
	policy.CodeProtocol:       "ProtocolError",
	policy.CodeShutdown:       "ProxyStopped",
	policy.CodeIdle:           "Idle",
	policy.CodePolicy:         "PolicyViolated",
}

// reasonOf says why a session ended. cause is that of its context, nil while it lives; err
// is what serving it returned.
func reasonOf(cause, err error) string {
	for _, e := range []error{cause, err} {
		if refusal := new(policy.Refusal); errors.As(e, &refusal) {
			if r := reasons[refusal.Code]; r != "" {
				return r
			}
			return "Refused"
		}
	}
	switch {
	case errors.Is(err, session.ErrRecorder):
		return reasons[policy.CodeRecorder]
	case err != nil:
		return reasonFailed
	}
	return reasonClientClosed
}

// Refusals that the gate itself makes.
func stale() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeStale, Message: "the gate could not verify that its policy is current",
		Hint: "try again in a minute; an administrator finds the cause in the proxy's log"}
}

func shutdown() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeShutdown, Message: "the gate is being restarted", Hint: "connect again"}
}

func tooMany(what string, n int) *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeLimit, Message: fmt.Sprintf("%s has %d connections already", what, n), Hint: "close some and try again"}
}

// beyond tells of a session more than policies permit the grant.
func beyond(n int) *policy.Refusal {
	return &policy.Refusal{Code: policy.CodePolicy, Message: fmt.Sprintf("an AccessPolicy permits the grant %d sessions at once", n), Hint: "close some and try again"}
}

func unrecorded() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeRecorder, Message: "the session cannot be recorded and was not opened",
		Hint: "try again later; an administrator finds the cause in the proxy's log"}
}

func terminated() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeTerminated, Message: "an administrator ended the session", Hint: "ask why before you connect again"}
}

func moved() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeTargetShut, Message: "the Target was changed to another server or login", Hint: "connect again"}
}

// alive reports whether ctx goes on, and if not, why.
func alive(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
