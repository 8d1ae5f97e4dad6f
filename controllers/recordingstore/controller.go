package recordingstore

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
)

// recount is how often a store is counted anew although nothing is heard.
const recount = 10 * time.Minute

// summary says how Ready follows: the steps set it directly.
var summary = conditions.Summary{Owned: []string{v1alpha1.ConditionReady}}

// Reconciler keeps the conditions of RecordingStores.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
}

// scope is one reconcile of one RecordingStore.
type scope struct {
	store *v1alpha1.RecordingStore
	set   conditions.Set
}

// Reconcile counts what one store holds and says whether it takes more.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	store := &v1alpha1.RecordingStore{}
	if err := r.Client.Get(ctx, req.NamespacedName, store); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{store: store}
	s.set = conditions.Set{List: &store.Status.Conditions, Generation: store.Generation, Now: r.Clock.Now()}
	patcher := conditions.NewPatcher(r.Client, store, s.set)
	store.Status.ObservedGeneration = store.Generation
	defer func() {
		result, err = patcher.Finish(ctx, summary, s.set, r.Recorder, result, err)
	}()
	return conditions.Run(ctx, s,
		conditions.Step[*scope]{Name: "count recordings", Run: r.count},
		conditions.Step[*scope]{Name: "compare with the limit", Run: r.compare},
	)
}

// count adds up what the store holds. The limit is on recordings of the namespace, so that
// recordings whose Session is gone count too, in every store.
func (r *Reconciler) count(ctx context.Context, s *scope) (ctrl.Result, error) {
	all, err := recordings(ctx, r.Client, s.store.Namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.store.Status.Bytes, s.store.Status.Recordings = 0, 0
	for _, rec := range all {
		if rec.store == s.store.Name || rec.store == "" {
			s.store.Status.Bytes += rec.bytes
			s.store.Status.Recordings++
		}
	}
	return ctrl.Result{RequeueAfter: recount}, nil
}

func (r *Reconciler) compare(_ context.Context, s *scope) (ctrl.Result, error) {
	if s.store.Spec.ConfigMap == nil {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionReady, v1alpha1.ReasonInvalid, 0,
			"the store is of a kind that this version does not know: set spec.configMap")
	}
	if limit := s.store.Spec.ConfigMap.MaxBytes; s.store.Status.Bytes >= limit {
		return ctrl.Result{}, conditions.Stalled(v1alpha1.ConditionReady, v1alpha1.ReasonFull, recount,
			"recordings take %d of %d bytes and no new session is admitted: raise spec.configMap.maxBytes, shorten spec.retention or set spec.configMap.retentionBytes",
			s.store.Status.Bytes, limit)
	}
	s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, "the store takes recordings")
	return ctrl.Result{}, nil
}

// SetupWithManager starts watching.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("recordingstore").
		For(&v1alpha1.RecordingStore{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.storesOf)).
		Complete(r)
}

func (r *Reconciler) storesOf(ctx context.Context, segment client.Object) []reconcile.Request {
	var list v1alpha1.RecordingStoreList
	if err := r.Client.List(ctx, &list, client.InNamespace(segment.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list RecordingStores")
		return nil
	}
	out := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		out[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
	}
	return out
}
