package policy

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Input is everything that a Snapshot is compiled from. Objects are shared and never
// modified.
type Input struct {
	// Namespace is the gate namespace, RootNamespace the operator's.
	Namespace     string
	RootNamespace string

	Targets []*v1alpha1.Target
	Grants  []*v1alpha1.AccessGrant
	Stores  []*v1alpha1.RecordingStore
	// Rules and locks of both namespaces.
	MaskingRules []*v1alpha1.MaskingRule
	CommandRules []*v1alpha1.CommandRule
	Locks        []*v1alpha1.AccessLock
	// AccessPolicies of both namespaces.
	AccessPolicies []*v1alpha1.AccessPolicy
	// Secret is the gate's, of which keys of masking functions are derived. Without one a
	// function that needs a key compiles and withholds every row.
	Secret []byte
	// Terminated names the Sessions whose desired state is Terminated.
	Terminated []string
	// Undecodable are objects that could not be decoded strictly; each shuts what it governs:
	// a rule or lock of unknown selector every Target, a Target or grant itself.
	Undecodable []Undecodable
}

// Add adds an object of a kind that is policy and reports whether it is one. The object
// must not be modified afterwards.
func (in *Input) Add(o any) bool {
	switch o := o.(type) {
	case *v1alpha1.Target:
		in.Targets = append(in.Targets, o)
	case *v1alpha1.AccessGrant:
		in.Grants = append(in.Grants, o)
	case *v1alpha1.RecordingStore:
		in.Stores = append(in.Stores, o)
	case *v1alpha1.MaskingRule:
		in.MaskingRules = append(in.MaskingRules, o)
	case *v1alpha1.CommandRule:
		in.CommandRules = append(in.CommandRules, o)
	case *v1alpha1.AccessPolicy:
		in.AccessPolicies = append(in.AccessPolicies, o)
	case *v1alpha1.AccessLock:
		in.Locks = append(in.Locks, o)
	default:
		return false
	}
	return true
}

// Undecodable is an object that could not be decoded strictly.
type Undecodable struct {
	Kind      string
	Namespace string
	Name      string
	Err       error
}

// Request is what a client asks for when it signs in.
type Request struct {
	Engine       string // "postgres"
	Grant        string // the grant that the credential names
	GrantUID     types.UID
	CredentialID string // the verifier that matched
	// Exchanged says that the identity was proven by exchange of a token; only then do
	// exemptions from masking hold.
	Exchanged   bool
	Database    string
	Login       string // of an SSH server
	Application string
	Client      netip.AddrPort
}

// Admission is what an admitted session may do, compiled at one snapshot. It is immutable.
type Admission struct {
	Version   string // of the policy; changes whenever rules, grant or target change
	Request   Request
	Grant     *v1alpha1.AccessGrant
	Target    *v1alpha1.Target
	Store     *v1alpha1.RecordingStore // never nil; defaults where the Target names none
	ExpiresAt time.Time                // of the grant or the credential, whichever is first
	// MaxSessions is how many sessions the grant may have open at once at this replica; 0 is
	// no limit but the gate's own.
	MaxSessions int
	// IdleTimeout ends the session when nothing was sent for so long; 0 is never. It is the
	// Target's, or that of a policy where it is shorter.
	IdleTimeout time.Duration
	Rules       Rules
	Masks       Masks
	// Detectors find what is to be replaced in text of columns without a mask; nil for none.
	Detectors *detect.Set
	// Fields are what is masked of objects of an API server; nil for another Target. Without
	// them every value of Secrets is.
	Fields Fields
}

// Rules decides on the commands of one admitted session.
type Rules interface {
	Decide(c *Command) Decision
}

// Masks are the masked columns of one admitted session.
type Masks interface {
	sql.Columns
	// Func returns the function of a mask and the rule it is from; for a MaskRef that is not
	// known it returns a function that withholds every value.
	Func(m sql.MaskRef) (masking.Func, v1alpha1.RuleReference)
}

// Source is where a policy comes from. Implementations are safe for concurrent use.
type Source interface {
	// Current returns the newest snapshot; never nil once the source has started.
	Current() *Snapshot
	// Changed returns a channel that is closed when Current would return another snapshot
	// than at the time of the call.
	Changed() <-chan struct{}
	// ProvenAt is the last time at which Current was proven to be what the API server held.
	ProvenAt() time.Time
}

// Verifier is what one credential is checked against.
type Verifier struct {
	Grant    string
	GrantUID types.UID
	v1alpha1.CredentialVerifier
}
