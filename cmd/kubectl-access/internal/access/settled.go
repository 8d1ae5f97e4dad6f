package access

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// settledError ends the program with an exit code of its own; what there is to say was said.
type settledError int

func (e settledError) Error() string {
	return fmt.Sprintf("the grant is not active (exit code %d)", int(e))
}

func (e settledError) code() int { return int(e) }

// condition is one of a grant's that speaks of its spec as it is.
func condition(g *v1alpha1.AccessGrant, kind string) *metav1.Condition {
	c := meta.FindStatusCondition(g.Status.Conditions, kind)
	if c == nil || c.ObservedGeneration < g.Generation {
		return nil
	}
	return c
}

// settledAs says what has become of a grant in a sentence. Where that is settled, outcome is nil
// for an active one.
func settledAs(g *v1alpha1.AccessGrant) (settled bool, text string, outcome error) {
	ready, stalled := condition(g, v1alpha1.ConditionReady), condition(g, v1alpha1.ConditionStalled)
	switch {
	case ready == nil:
		return false, "waiting for the operator to look at it", nil
	case ready.Status == metav1.ConditionTrue && ready.Reason == v1alpha1.ReasonActive:
		return true, "active" + untilAndWhere(g), nil
	case ready.Status == metav1.ConditionTrue:
		return true, ready.Reason + ": " + ready.Message, settledError(exitDenied)
	case stalled != nil && stalled.Status == metav1.ConditionTrue:
		return true, ready.Reason + ": " + ready.Message, settledError(exitDenied)
	}
	return false, "waiting: " + ready.Reason + ": " + ready.Message, nil
}

// untilAndWhere says when an active grant ends, and where its credential is.
func untilAndWhere(g *v1alpha1.AccessGrant) string {
	text := ""
	if at := g.Status.ExpiresAt; at != nil {
		text = " until " + at.UTC().Format(time.RFC3339)
	}
	if s := g.Status.SecretRef; s != nil {
		text += fmt.Sprintf("; its credential is in the Secret %s of namespace %s", s.Name, s.Namespace)
	}
	return text
}
