package gate

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// demand is what a gate has to do now, and when that may change by time alone.
type demand struct {
	busy bool
	next time.Time // zero for never
}

// assess says whether anything needs the proxy: a grant that is open or opens within lead,
// a session that has not ended, a recording that has not been stored to its end.
func assess(grants []v1alpha1.AccessGrant, sessions []v1alpha1.Session, now time.Time, lead time.Duration) demand {
	var d demand
	for i := range grants {
		d.grant(&grants[i], now, lead)
	}
	for i := range sessions {
		if unfinished(&sessions[i]) {
			d.busy = true
		}
	}
	return d
}

func (d *demand) grant(g *v1alpha1.AccessGrant, now time.Time, lead time.Duration) {
	if g.Spec.DesiredState == v1alpha1.GrantRevoked || !accepted(g) || waits(g) || g.Status.ExpiresAt == nil {
		return
	}
	end := g.Status.ExpiresAt.Time
	if !now.Before(end) {
		return
	}
	if s := g.Status.StartsAt; s != nil && now.Before(s.Add(-lead)) {
		d.at(s.Add(-lead))
		return
	}
	d.busy = true
	d.at(end)
}

func (d *demand) at(t time.Time) {
	if d.next.IsZero() || t.Before(d.next) {
		d.next = t
	}
}

func accepted(g *v1alpha1.AccessGrant) bool {
	return meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionAccepted)
}

// waits reports whether a grant is not approved, or not any more.
func waits(g *v1alpha1.AccessGrant) bool {
	c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionApproved)
	return c != nil && c.Status != metav1.ConditionTrue
}

func unfinished(s *v1alpha1.Session) bool {
	return s.Status.EndedAt == nil || s.Status.Recording.State == v1alpha1.RecordingOpen
}

// scale says how many replicas a gate has and since when it is idle. A gate that is idle
// for less than the timeout keeps what it has.
func scale(d demand, current, wanted int32, idleSince, now time.Time, timeout time.Duration) (replicas int32, idle, next time.Time) {
	if d.busy {
		return wanted, time.Time{}, d.next
	}
	if current == 0 {
		return 0, idleSince, d.next
	}
	if idleSince.IsZero() {
		idleSince = now
	}
	off := idleSince.Add(timeout)
	if !now.Before(off) {
		return 0, idleSince, d.next
	}
	if d.next.IsZero() || off.Before(d.next) {
		d.next = off
	}
	return wanted, idleSince, d.next
}
