package gate

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// trackKey is what connections must have in common to share a track.
type trackKey struct {
	grant, target types.UID
	store         string
	client        netip.Addr
}

// track is one Session object and its recording: a connection, or several short ones of
// one client in quick succession.
type track struct {
	name     string
	key      trackKey
	request  policy.Request // of the first connection
	recorder recording.Recorder
	counters session.Counters
	commands atomic.Uint64

	mu          sync.Mutex
	spec        v1alpha1.SessionSpec
	namespace   string
	connections uint32
	idleUntil   time.Time // while it waits for another connection
	endedAt     time.Time
	endReason   string
	stored      recording.Stored
}

func newTrack(name, namespace, proxy string, a *policy.Admission, now time.Time) *track {
	return &track{
		name: name, namespace: namespace, key: keyOf(a), request: a.Request, stored: recording.Stored{State: v1alpha1.RecordingOpen},
		spec: v1alpha1.SessionSpec{
			DesiredState: v1alpha1.SessionActive,
			GrantRef:     v1alpha1.ObjectIdentity{Name: a.Grant.Name, UID: a.Grant.UID, Generation: a.Grant.Generation},
			TargetRef:    v1alpha1.ObjectIdentity{Name: a.Target.Name, UID: a.Target.UID, Generation: a.Target.Generation},
			Subject:      a.Grant.Spec.Subject,
			Client:       a.Request.Client.Addr().String(),
			Proxy:        proxy,
			StartedAt:    metav1.NewMicroTime(now),
		},
	}
}

func keyOf(a *policy.Admission) trackKey {
	return trackKey{grant: a.Grant.UID, target: a.Target.UID, store: a.Store.Name, client: a.Request.Client.Addr()}
}

// progress notes how far the recording was stored.
func (t *track) progress(stored recording.Stored) {
	t.mu.Lock()
	t.stored = stored
	t.mu.Unlock()
}

// finish notes the end; only the first one counts.
func (t *track) finish(now time.Time, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.endedAt.IsZero() {
		t.endedAt, t.endReason = now, reason
	}
}

// settled reports whether nothing about the track will change any more.
func (t *track) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.endedAt.IsZero() && (t.stored.State == v1alpha1.RecordingComplete || t.stored.State == v1alpha1.RecordingCut)
}

// object returns the Session object as it is now.
func (t *track) object() *v1alpha1.Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := &v1alpha1.Session{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Session"},
		ObjectMeta: metav1.ObjectMeta{Name: t.name, Namespace: t.namespace, Labels: map[string]string{
			v1alpha1.LabelGrant: t.spec.GrantRef.Name, v1alpha1.LabelTarget: t.spec.TargetRef.Name}},
		Spec: t.spec,
	}
	o.Status = v1alpha1.SessionStatus{
		Connections: int64(t.connections),
		Commands: v1alpha1.CommandCounters{Forwarded: t.counters.Forwarded.Load(), Denied: t.counters.Denied.Load(),
			Held: t.counters.Held.Load()},
		Recording: v1alpha1.SessionRecording{Store: t.key.store, Segments: int32(t.stored.Segments), Digest: t.stored.Digest, State: t.stored.State, //nolint:gosec // at most a million
			Recorder: t.stored.Recorder, Number: int64(t.stored.Number)}, //nolint:gosec // counts recordings
	}
	condition := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive,
		Message: "the session is open", LastTransitionTime: metav1.NewTime(t.spec.StartedAt.Time)}
	if !t.endedAt.IsZero() {
		at := metav1.NewMicroTime(t.endedAt)
		o.Status.EndedAt, o.Status.EndReason = &at, t.endReason
		condition.Reason, condition.Message = v1alpha1.ReasonEnded, "the session ended: "+t.endReason
		condition.LastTransitionTime = metav1.NewTime(t.endedAt)
	}
	if t.stored.State == v1alpha1.RecordingCut {
		condition.Reason, condition.Message = v1alpha1.ReasonCut, "the proxy was lost; the recording holds every command up to then"
	}
	meta.SetStatusCondition(&o.Status.Conditions, condition)
	return o
}

// cursor is what of a track changes while it is open.
type cursor struct{ forwarded, denied, held, connections int64 }

func (t *track) cursor() cursor {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cursor{t.counters.Forwarded.Load(), t.counters.Denied.Load(), t.counters.Held.Load(), int64(t.connections)}
}
