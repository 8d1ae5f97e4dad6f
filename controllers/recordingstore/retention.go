package recordingstore

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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

const (
	// defaultRetention holds for recordings that no store speaks of.
	defaultRetention = 720 * time.Hour
	// sweep is the longest time between two looks at a namespace that has recordings.
	sweep = time.Hour
)

// Retention deletes recordings whose time is over. The key of a reconcile is the
// namespace.
type Retention struct {
	Client client.Client
	Clock  clock.PassiveClock
}

// Reconcile deletes what is due in one namespace.
func (r *Retention) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	all, err := recordings(ctx, r.Client, req.Name)
	if err != nil || len(all) == 0 {
		return ctrl.Result{}, err
	}
	var stores v1alpha1.RecordingStoreList
	if err := r.Client.List(ctx, &stores, client.InNamespace(req.Name), client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list RecordingStores: %w", err)
	}
	now := r.Clock.Now()
	result := ctrl.Result{RequeueAfter: sweep}
	for _, rec := range all {
		if rec.open {
			continue
		}
		due := rec.ended.Add(retentionOf(stores.Items, rec.store))
		if now.Before(due) {
			result = conditions.Earliest(result, ctrl.Result{RequeueAfter: due.Sub(now) + time.Millisecond})
			continue
		}
		if err := r.delete(ctx, rec); err != nil {
			return ctrl.Result{}, err
		}
	}
	return result, nil
}

// retentionOf returns how long the recordings of a store are kept. Where it is not known
// which store a recording is of, it is kept as long as the most patient store keeps one.
func retentionOf(stores []v1alpha1.RecordingStore, name string) time.Duration {
	longest := time.Duration(0)
	for i := range stores {
		d := stores[i].Spec.Retention.Duration
		if d <= 0 {
			d = defaultRetention
		}
		if stores[i].Name == name {
			return d
		}
		longest = max(longest, d)
	}
	if longest == 0 {
		return defaultRetention
	}
	return longest
}

func (r *Retention) delete(ctx context.Context, rec *recording) error {
	for _, segment := range rec.segments {
		uid := segment.UID
		doomed := segment.DeepCopy()
		doomed.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, doomed, client.Preconditions{UID: &uid})); err != nil {
			return fmt.Errorf("delete ConfigMap %s after its retention: %w", segment.Name, err)
		}
	}
	ctrl.LoggerFrom(ctx).Info("Deleted a recording after its retention", "session", rec.session, "segments", len(rec.segments))
	return nil
}

// SetupWithManager starts watching.
func (r *Retention) SetupWithManager(mgr ctrl.Manager) error {
	byNamespace := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetNamespace()}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("retention").
		Watches(&v1alpha1.RecordingStore{}, byNamespace, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Session{}, byNamespace, builder.WithPredicates(finished)).
		WatchesMetadata(&corev1.ConfigMap{}, byNamespace).
		Complete(r)
}

// finished passes the end of sessions.
var finished = predicate.NewPredicateFuncs(func(obj client.Object) bool {
	s, ok := obj.(*v1alpha1.Session)
	return ok && s.Status.EndedAt != nil && s.Status.Recording.State != v1alpha1.RecordingOpen
})
