package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// maxAskedText is how long the text of a request may be, in bytes.
const maxAskedText = 32768

// asked is what approvers of a grant see, in this order. Everything in it is what the
// approval is for.
type asked struct {
	Reason      string                          `json:"reason"`
	Subject     v1alpha1.Subject                `json:"subject"`
	Target      string                          `json:"target"`
	StartsAt    *metav1.Time                    `json:"startsAt,omitempty"`
	ExpiresAt   *metav1.Time                    `json:"expiresAt,omitempty"`
	Duration    string                          `json:"duration,omitempty"`
	Postgres    *v1alpha1.PostgresPermissions   `json:"postgres,omitempty"`
	Kubernetes  *v1alpha1.KubernetesPermissions `json:"kubernetes,omitempty"`
	SSH         *v1alpha1.SSHPermissions        `json:"ssh,omitempty"`
	Credentials v1alpha1.GrantCredentials       `json:"credentials"`
}

// Asked returns what approvers of a grant are shown, and the digest that an approval is bound
// to: of this text and of the UIDs and generations of grant and Target, so that neither a
// change of the grant nor of its Target goes unseen. It fails where approvers could not see
// all of it.
func Asked(g *v1alpha1.AccessGrant, t *v1alpha1.Target) (text, digest string, err error) {
	a := asked{
		Reason: g.Spec.Reason, Subject: g.Spec.Subject, Target: g.Spec.TargetRef.Name,
		StartsAt: inUTC(g.Spec.StartsAt), ExpiresAt: inUTC(g.Spec.ExpiresAt),
		Postgres: g.Spec.Postgres, Kubernetes: g.Spec.Kubernetes, SSH: g.Spec.SSH, Credentials: g.Spec.Credentials,
	}
	if d := g.Spec.Duration; d != nil {
		a.Duration = short(d.Duration)
	}
	if !IsPlain(a.Reason) {
		return "", "", errors.New("spec.reason holds characters that approvers could not see")
	}
	content, err := json.Marshal(a)
	if err != nil {
		return "", "", fmt.Errorf("write what is asked for: %w", err)
	}
	shown, err := yaml.Marshal(a)
	if err != nil {
		return "", "", fmt.Errorf("write what is asked for: %w", err)
	}
	if !IsPlain(string(shown)) {
		return "", "", errors.New("spec holds characters that approvers could not see")
	}
	if len(shown) > maxAskedText {
		return "", "", fmt.Errorf("spec is longer than the %d bytes that a request can show", maxAskedText)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d %q %d ", g.Namespace, g.UID, g.Generation, t.UID, t.Generation)
	h.Write(content)
	return string(shown), hex.EncodeToString(h.Sum(nil)), nil
}

func inUTC(t *metav1.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	u := metav1.NewTime(t.UTC().Truncate(time.Second))
	return &u
}

// IsApproved reports whether what policies want now was approved of the grant as it is now.
// Without needs it says yes.
func IsApproved(terms Terms, g *v1alpha1.AccessGrant, t *v1alpha1.Target) bool {
	if len(terms.Needs) == 0 {
		return true
	}
	a := g.Status.Approval
	if a == nil || a.Outcome != v1alpha1.ApprovalApproved {
		return false
	}
	_, digest, err := Asked(g, t)
	return err == nil && a.Digest == digest && Met(terms.Needs, a.Decisions, PartiesOf(g))
}
