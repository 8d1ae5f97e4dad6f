package gate

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

var now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func grant(start, end time.Duration, change func(*v1alpha1.AccessGrant)) v1alpha1.AccessGrant {
	s, e := metav1.NewTime(now.Add(start)), metav1.NewTime(now.Add(end))
	g := v1alpha1.AccessGrant{Status: v1alpha1.AccessGrantStatus{StartsAt: &s, ExpiresAt: &e, Conditions: []metav1.Condition{
		{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue},
	}}}
	if change != nil {
		change(&g)
	}
	return g
}

func session(ended bool, state v1alpha1.RecordingState) v1alpha1.Session {
	var s v1alpha1.Session
	if ended {
		s.Status.EndedAt = &metav1.MicroTime{Time: now}
	}
	s.Status.Recording.State = state
	return s
}

func TestAssess(t *testing.T) {
	const lead = 2 * time.Minute
	for name, tc := range map[string]struct {
		grants   []v1alpha1.AccessGrant
		sessions []v1alpha1.Session
		wantBusy bool
		wantNext time.Duration // from now; zero for never
	}{
		"nothing":             {},
		"open grant":          {grants: []v1alpha1.AccessGrant{grant(-time.Hour, time.Hour, nil)}, wantBusy: true, wantNext: time.Hour},
		"expired grant":       {grants: []v1alpha1.AccessGrant{grant(-time.Hour, 0, nil)}},
		"scheduled grant":     {grants: []v1alpha1.AccessGrant{grant(time.Hour, 2*time.Hour, nil)}, wantNext: time.Hour - lead},
		"about to start":      {grants: []v1alpha1.AccessGrant{grant(time.Minute, time.Hour, nil)}, wantBusy: true, wantNext: time.Hour},
		"revoked grant":       {grants: []v1alpha1.AccessGrant{grant(-time.Hour, time.Hour, func(g *v1alpha1.AccessGrant) { g.Spec.DesiredState = v1alpha1.GrantRevoked })}},
		"not accepted":        {grants: []v1alpha1.AccessGrant{grant(-time.Hour, time.Hour, func(g *v1alpha1.AccessGrant) { g.Status.Conditions = nil })}},
		"the earliest counts": {grants: []v1alpha1.AccessGrant{grant(-time.Hour, time.Hour, nil), grant(10*time.Minute, time.Hour, nil)}, wantBusy: true, wantNext: 10*time.Minute - lead},
		"open session":        {sessions: []v1alpha1.Session{session(false, v1alpha1.RecordingOpen)}, wantBusy: true},
		"unshipped recording": {sessions: []v1alpha1.Session{session(true, v1alpha1.RecordingOpen)}, wantBusy: true},
		"ended session":       {sessions: []v1alpha1.Session{session(true, v1alpha1.RecordingComplete), session(true, v1alpha1.RecordingCut)}},
	} {
		t.Run(name, func(t *testing.T) {
			d := assess(tc.grants, tc.sessions, now, lead)
			if d.busy != tc.wantBusy {
				t.Errorf("busy = %t, want %t", d.busy, tc.wantBusy)
			}
			if want := now.Add(tc.wantNext); tc.wantNext == 0 && !d.next.IsZero() || tc.wantNext != 0 && !d.next.Equal(want) {
				t.Errorf("next = %s, want after %s", d.next, tc.wantNext)
			}
		})
	}
}

func TestScale(t *testing.T) {
	const timeout = 5 * time.Minute
	for name, tc := range map[string]struct {
		busy         bool
		current      int32
		idleSince    time.Time
		wantReplicas int32
		wantIdle     time.Time
		wantNext     time.Time
	}{
		"never used":           {},
		"busy from rest":       {busy: true, wantReplicas: 2},
		"busy after idle":      {busy: true, current: 2, idleSince: now.Add(-time.Minute), wantReplicas: 2},
		"idle since now":       {current: 2, wantReplicas: 2, wantIdle: now, wantNext: now.Add(timeout)},
		"idle for a while":     {current: 2, idleSince: now.Add(-time.Minute), wantReplicas: 2, wantIdle: now.Add(-time.Minute), wantNext: now.Add(timeout - time.Minute)},
		"idle for long enough": {current: 2, idleSince: now.Add(-timeout), wantIdle: now.Add(-timeout)},
		"at rest":              {idleSince: now.Add(-time.Hour), wantIdle: now.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			replicas, idle, next := scale(demand{busy: tc.busy}, tc.current, 2, tc.idleSince, now, timeout)
			if replicas != tc.wantReplicas || !idle.Equal(tc.wantIdle) || !next.Equal(tc.wantNext) {
				t.Errorf("scale = %d, %s, %s; want %d, %s, %s", replicas, idle, next, tc.wantReplicas, tc.wantIdle, tc.wantNext)
			}
		})
	}
}
