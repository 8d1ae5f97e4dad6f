package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// grantNameLength is how many characters tell the requests of one grant apart.
const grantNameLength = 8

// NewGrantRequest returns the request that asks whether a grant may begin, as terms want. Its
// name follows from what is asked, so that several who ask make one request; where a request
// of the name is there already, IsGrantRequest says whether it asks the same.
func NewGrantRequest(g *v1alpha1.AccessGrant, t *v1alpha1.Target, terms policy.Terms, now time.Time, attempt int) (*v1alpha1.ApprovalRequest, error) {
	text, digest, err := policy.Asked(g, t)
	if err != nil {
		return nil, err
	}
	if len(terms.Needs) == 0 || len(terms.AskedBy) == 0 || terms.Timeout <= 0 {
		return nil, errors.New("no policy asks for approval")
	}
	expires := now.Add(terms.Timeout)
	if e := g.Spec.ExpiresAt; e != nil && e.Time.Before(expires) {
		expires = e.Time
	}
	parties := policy.PartiesOf(g)
	r := &v1alpha1.ApprovalRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Labels: map[string]string{
			v1alpha1.LabelGrant: g.Name, v1alpha1.LabelGrantUID: string(g.UID)}},
		Spec: v1alpha1.ApprovalRequestSpec{
			Kind:         v1alpha1.RequestGrant,
			GrantRef:     v1alpha1.ObjectIdentity{Name: g.Name, UID: g.UID, Generation: g.Generation},
			TargetRef:    v1alpha1.ObjectIdentity{Name: t.Name, UID: t.UID, Generation: t.Generation},
			Requester:    requesterOf(g.Spec.Subject),
			GrantCreator: parties.Creator,
			Reason:       g.Spec.Reason,
			Rule:         terms.AskedBy[0],
			Grant:        &v1alpha1.ApprovalGrant{Text: text, Digest: digest, Subject: g.Spec.Subject, Needs: terms.Needs},
			Required:     policy.Least(terms.Needs),
			Approvers:    policy.Approvers(terms.Needs),
			ExpiresAt:    metav1.NewTime(expires.UTC().Truncate(time.Second)),
		},
	}
	return r, name(r, attempt)
}

// name names a request after what it asks, and after how often that was asked and withdrawn
// before.
func name(r *v1alpha1.ApprovalRequest, attempt int) error {
	content, err := json.Marshal([]any{r.Spec.Grant.Digest, r.Spec.Grant.Needs, r.Spec.GrantCreator, attempt})
	if err != nil {
		return fmt.Errorf("name the request: %w", err)
	}
	sum := sha256.Sum256(content)
	r.Name = r.Spec.GrantRef.Name + "-" + hex.EncodeToString(sum[:])[:grantNameLength]
	return nil
}

// MaxAttempts is how often the same is asked about a grant after it was withdrawn: policies
// that change to and fro do not ask for ever.
const MaxAttempts = 8

// AskGrant finds or makes the request that asks whether a grant may begin, with find, which
// returns the stored request of a name and makes it if there is none. A request that was
// withdrawn, because policies wanted something else meanwhile, is not asked again but made
// anew.
func AskGrant(g *v1alpha1.AccessGrant, t *v1alpha1.Target, terms policy.Terms, now time.Time, find func(*v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error)) (*v1alpha1.ApprovalRequest, error) {
	for attempt := range MaxAttempts {
		want, err := NewGrantRequest(g, t, terms, now, attempt)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnaskable, err)
		}
		have, err := find(want)
		switch {
		case err != nil:
			return nil, err
		case !IsGrantRequest(have, want):
			return nil, fmt.Errorf("%w: ApprovalRequest %s is there already and asks something else", ErrUnaskable, want.Name)
		case have.Status.WithdrawnAt == nil:
			return have, nil
		}
	}
	return nil, fmt.Errorf("%w: it was asked and withdrawn %d times", ErrUnaskable, MaxAttempts)
}

// ErrUnaskable says that approvers cannot be asked about a grant as it is.
var ErrUnaskable = errors.New("approvers cannot be asked")

// requesterOf names the subject of a grant.
func requesterOf(s v1alpha1.Subject) string {
	if name := s.Username(); name != "" {
		return name
	}
	return string(s.Kind) + " " + s.Name
}

// IsGrantRequest reports whether a stored request asks exactly what want does, whenever it
// lapses and whichever policy it names.
func IsGrantRequest(stored, want *v1alpha1.ApprovalRequest) bool {
	w := want.Spec.DeepCopy()
	w.ExpiresAt, w.Rule = stored.Spec.ExpiresAt, stored.Spec.Rule
	return stored.Namespace == want.Namespace && stored.Name == want.Name && equality.Semantic.DeepEqual(stored.Spec, *w)
}

// AssessGrant returns what became of a request about a grant, with the decisions that count.
// An approval counts if all of it came before the request lapsed, although nobody looked
// until later.
func AssessGrant(r *v1alpha1.ApprovalRequest, now time.Time) v1alpha1.GrantApproval {
	a := v1alpha1.GrantApproval{Request: r.Name, Outcome: v1alpha1.ApprovalPending}
	if r.Spec.Grant == nil || r.Spec.Kind != v1alpha1.RequestGrant {
		a.Outcome = v1alpha1.ApprovalUnanswered
		return a
	}
	a.Digest = r.Spec.Grant.Digest
	v := tally(r)
	lapsed := !now.Before(r.Spec.ExpiresAt.Time)
	for _, d := range r.Status.Decisions {
		if d.Decision != v1alpha1.DecisionApproved || isCounted(&r.Spec, &d) {
			a.Decisions = append(a.Decisions, d)
		}
	}
	undated := slices.ContainsFunc(a.Decisions, func(d v1alpha1.ApprovalDecision) bool { return d.Time == nil })
	switch {
	case v.denied:
		a.Outcome = v1alpha1.ApprovalDenied
	case v.approved && r.Status.WithdrawnAt == nil && !(lapsed && undated):
		a.Outcome = v1alpha1.ApprovalApproved
	case lapsed || r.Status.WithdrawnAt != nil:
		a.Outcome = v1alpha1.ApprovalUnanswered
	}
	return a
}

// Denial returns who denied a request and why, for a sentence.
func Denial(a *v1alpha1.GrantApproval) string {
	for _, d := range a.Decisions {
		if d.Decision != v1alpha1.DecisionApproved {
			said := policy.Printable(d.Approver, maxUser) + " denied request " + a.Request
			if d.Comment != "" {
				said += ": " + policy.Printable(d.Comment, maxValue)
			}
			return said
		}
	}
	return "request " + a.Request + " was denied"
}

// parties are those of a request about a grant.
func parties(s *v1alpha1.ApprovalRequestSpec) policy.Parties {
	return policy.Parties{Subject: s.Grant.Subject, Creator: s.GrantCreator}
}

// grantApproved reports whether the decisions in time meet every need.
func grantApproved(r *v1alpha1.ApprovalRequest) bool {
	if r.Spec.Grant == nil || len(r.Spec.Grant.Needs) == 0 {
		return false
	}
	var decisions []v1alpha1.ApprovalDecision
	for _, d := range r.Status.Decisions {
		if inTime(&r.Spec, &d) {
			decisions = append(decisions, d)
		}
	}
	return policy.Met(r.Spec.Grant.Needs, decisions, parties(&r.Spec))
}
