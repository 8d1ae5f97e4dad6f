package policy

import (
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Snapshot is one immutable state of the policy. The zero Snapshot admits nobody.
type Snapshot struct{}

// Compile compiles in. It never fails: what cannot be compiled shuts what it governs.
func Compile(in Input) *Snapshot { return &Snapshot{} }

// Verifiers returns what a credential of the named grant is checked against at now.
func (s *Snapshot) Verifiers(grant string, now time.Time) []Verifier { return nil }

// Admit returns what a session may do that asks for r at now, or a *Refusal. Calling it
// again on a newer snapshot with the same request tells whether the session may live on.
func (s *Snapshot) Admit(r Request, now time.Time) (*Admission, error) {
	return nil, &Refusal{Code: CodeGrantInactive, Message: "the grant is not open"}
}

// Terminated reports whether an administrator ended the named session.
func (s *Snapshot) Terminated(session string) bool { return true }

// Assessment says whether an object can take effect, for its conditions.
type Assessment struct {
	OK      bool
	Reason  string // a Reason constant of the API
	Message string // what is wrong and what to do about it
}

// AssessTarget judges a Target by its rules, store and requirements.
func AssessTarget(in Input, t *v1alpha1.Target) Assessment { return Assessment{} }

// AssessGrant judges whether a grant is acceptable: its Target is there and of the kind
// that its permissions are for. It does not judge the time.
func AssessGrant(in Input, g *v1alpha1.AccessGrant) Assessment { return Assessment{} }

// AssessMaskingRule judges whether a rule compiles.
func AssessMaskingRule(r *v1alpha1.MaskingRule) Assessment { return Assessment{} }

// AssessCommandRule judges whether a rule compiles.
func AssessCommandRule(r *v1alpha1.CommandRule) Assessment { return Assessment{} }
