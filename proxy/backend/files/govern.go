package files

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/backend"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// govern does for the objects of w what the operator does in a cluster: it sets the status
// that the policy goes by, and mints credentials. It returns what is noteworthy, and when it
// has to run again because a grant starts or ends; zero for never.
func (b *Backend) govern(ctx context.Context, w *world, now time.Time) (notices []string, next time.Time) {
	for _, s := range w.input.Stores {
		s.Status.ObservedGeneration = s.Generation
		meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonReady, Message: "recordings lie in .recordings", ObservedGeneration: s.Generation})
	}
	for _, t := range w.input.Targets {
		if a := policy.AssessTarget(w.input, t); !a.OK {
			notices = append(notices, fmt.Sprintf("Target %s is shut: %s", t.Name, a.Message))
		} else if _, err := backend.Login(ctx, w, t); err != nil {
			notices = append(notices, fmt.Sprintf("Target %s cannot be reached: %v", t.Name, err))
		} else if _, err := backend.CA(ctx, w, t); err != nil {
			notices = append(notices, fmt.Sprintf("Target %s cannot be reached: %v", t.Name, err))
		}
	}
	open := map[string]bool{}
	b.waiting = map[string]bool{}
	for _, g := range w.input.Grants {
		notice, boundary := b.governGrant(ctx, w, g, now, open)
		if notice != "" {
			notices = append(notices, notice)
		}
		if !boundary.IsZero() && (next.IsZero() || boundary.Before(next)) {
			next = boundary
		}
	}
	b.open = open
	b.requests.withdrawOthers(ctx, b.waiting, now)
	return notices, next
}

// governGrant sets the status of a grant. open collects the names of grants that have a
// credential.
func (b *Backend) governGrant(ctx context.Context, w *world, g *v1alpha1.AccessGrant, now time.Time, open map[string]bool) (notice string, boundary time.Time) {
	r := b.state.Objects[key("AccessGrant", g.Namespace, g.Name)]
	st := &g.Status
	st.ObservedGeneration = g.Generation
	condition := func(kind, reason, message string, ok bool) {
		status := metav1.ConditionFalse
		if ok {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message,
			ObservedGeneration: g.Generation, LastTransitionTime: metav1.NewTime(now)})
	}
	a := policy.AssessGrant(w.input, g)
	condition(v1alpha1.ConditionAccepted, a.Reason, a.Message, a.OK)
	if !a.OK {
		return fmt.Sprintf("AccessGrant %s is not accepted: %s", g.Name, a.Message), time.Time{}
	}
	said := ""
	if g.Spec.DesiredState != v1alpha1.GrantRevoked { // about which nobody is asked
		said = b.approve(ctx, w, g, r, now)
	}
	if said != "" {
		r.Verifiers = nil
		condition(v1alpha1.ConditionApproved, v1alpha1.ReasonPending, said, false)
		return fmt.Sprintf("AccessGrant %s is not approved: %s", g.Name, said), time.Time{}
	}
	if r.ApprovedAt == nil {
		at := metav1.NewTime(now.Truncate(time.Second))
		r.ApprovedAt = &at
	}
	condition(v1alpha1.ConditionApproved, v1alpha1.ReasonApproved, "nothing is asked for, or it was approved", true)
	starts, expires := times(g, r.ApprovedAt.Time)
	st.ApprovedAt, st.StartsAt, st.ExpiresAt = r.ApprovedAt, &metav1.Time{Time: starts}, &metav1.Time{Time: expires}
	switch {
	case g.Spec.DesiredState == v1alpha1.GrantRevoked:
		r.Verifiers = nil
		return fmt.Sprintf("AccessGrant %s is revoked", g.Name), time.Time{}
	case !now.Before(expires):
		r.Verifiers = nil
		return fmt.Sprintf("AccessGrant %s expired at %s", g.Name, expires.UTC().Format(time.RFC3339)), time.Time{}
	case now.Before(starts):
		return fmt.Sprintf("AccessGrant %s starts at %s", g.Name, starts.UTC().Format(time.RFC3339)), starts
	}
	if err := b.deliver(g, r, now, expires); err != nil {
		return fmt.Sprintf("AccessGrant %s has no credential: %v", g.Name, err), now.Add(rescan)
	}
	st.Verifiers = r.Verifiers
	condition(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonCredentialIssued, "the credential lies in .credentials/"+g.Name, true)
	open[g.Name] = true
	return fmt.Sprintf("AccessGrant %s is open until %s", g.Name, expires.UTC().Format(time.RFC3339)), expires
}

// times returns when a grant begins and ends that was approved at the given time.
func times(g *v1alpha1.AccessGrant, approved time.Time) (starts, expires time.Time) {
	starts = approved
	if s := g.Spec.StartsAt; s != nil && s.After(starts) {
		starts = s.Time
	}
	if e := g.Spec.ExpiresAt; e != nil {
		return starts, e.Time
	}
	if d := g.Spec.Duration; d != nil {
		return starts, starts.Add(d.Duration)
	}
	return starts, starts // a grant without an end has none: it is over
}

// Secret implements backend.Finder.
func (w *world) Secret(_ context.Context, name string) (*corev1.Secret, error) {
	if s := w.secrets[name]; s != nil {
		return s, nil
	}
	return nil, backend.Missing("is not in the folder")
}

// ConfigMap implements backend.Finder.
func (w *world) ConfigMap(_ context.Context, name string) (*corev1.ConfigMap, error) {
	if c := w.configMaps[name]; c != nil {
		return c, nil
	}
	return nil, backend.Missing("is not in the folder")
}

var errNoTarget = errors.New("the folder has no Target: there is nothing to protect")
