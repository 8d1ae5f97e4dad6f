package accessgrant

import (
	"context"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// summary says how Ready follows: it means settled.
var summary = conditions.Summary{
	Owned: []string{
		v1alpha1.ConditionAccepted, v1alpha1.ConditionApproved, v1alpha1.ConditionCredentialIssued,
		v1alpha1.ConditionProxyReady, v1alpha1.ConditionActive,
	},
	Settled: []string{v1alpha1.ReasonScheduled, v1alpha1.ReasonExpired, v1alpha1.ReasonRevoked},
}

// Reconciler keeps the grants.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server and not from a cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Random   io.Reader

	Authorities   *authority.Store
	RootNamespace string
	// Rotation is how long a credential is used before the next one is minted, Overlap how
	// long it is good after that.
	Rotation time.Duration
	Overlap  time.Duration
	// Lead is how long before its start a grant gets its credential and its proxy.
	Lead time.Duration

	verified memory
}

// scope is one reconcile of one grant.
type scope struct {
	grant   *v1alpha1.AccessGrant
	set     conditions.Set
	patcher *conditions.Patcher
	now     time.Time
	target  *v1alpha1.Target // by accept
	terms   policy.Terms     // by accept
	lapse   time.Time        // of the open request, by ask
}

// Reconcile brings one grant's credential and conditions to what they should be now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	grant := &v1alpha1.AccessGrant{}
	if err := r.Client.Get(ctx, req.NamespacedName, grant); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return ctrl.Result{}, r.sweep(ctx, req.NamespacedName)
		}
		return ctrl.Result{}, fmt.Errorf("read AccessGrant: %w", err)
	}
	if !grant.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	s := &scope{grant: grant, now: r.Clock.Now()}
	s.set = conditions.Set{List: &grant.Status.Conditions, Generation: grant.Generation, Now: s.now}
	s.patcher = conditions.NewPatcher(r.Client, grant, s.set)
	grant.Status.ObservedGeneration = grant.Generation
	defer func() {
		result, err = s.patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, s,
		conditions.Step[*scope]{Name: "revoke", Run: r.revoke},
		conditions.Step[*scope]{Name: "expire", Run: r.expire},
		conditions.Step[*scope]{Name: "accept", Run: r.accept},
		conditions.Step[*scope]{Name: "weigh the role", Run: r.weigh},
		conditions.Step[*scope]{Name: "approve", Run: r.approve},
		conditions.Step[*scope]{Name: "schedule", Run: r.schedule},
		conditions.Step[*scope]{Name: "issue the credential", Run: r.issue},
		conditions.Step[*scope]{Name: "wait for the proxy", Run: r.awaitProxy},
		conditions.Step[*scope]{Name: "bind the role", Run: r.bind},
		conditions.Step[*scope]{Name: "activate", Run: r.activate},
	)
}

// until returns a result that asks to be called again at t.
func (s *scope) until(t time.Time) ctrl.Result {
	// Times in the API have whole seconds; a call a little too early would have to wait again.
	return ctrl.Result{RequeueAfter: max(t.Sub(s.now)+time.Millisecond, time.Millisecond)}
}

// end settles the grant for good: it is not active any more and has no credential.
func (s *scope) end(reason, format string, a ...any) {
	if c := s.set.Get(v1alpha1.ConditionActive); c != nil && c.Reason != reason {
		// ttlAfterExpired counts from here, also for a grant that was not active before.
		s.set.Remove(v1alpha1.ConditionActive)
	}
	s.set.False(v1alpha1.ConditionActive, reason, format, a...)
	s.set.Remove(v1alpha1.ConditionSecretsReachable)
	s.set.False(v1alpha1.ConditionCredentialIssued, v1alpha1.ReasonCredentialRemoved, format, a...)
}

// endedAt returns when end was called first.
func (s *scope) endedAt() time.Time {
	if c := s.set.Get(v1alpha1.ConditionActive); c != nil {
		return c.LastTransitionTime.Time
	}
	return s.now
}

func stamp(t time.Time) *metav1.Time {
	m := metav1.NewTime(t.UTC().Truncate(time.Second))
	return &m
}
