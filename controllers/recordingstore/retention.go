package recordingstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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

const (
	// defaultRetention holds for recordings that no store speaks of.
	defaultRetention = 720 * time.Hour
	// sweep is the longest time between two looks at a namespace that has recordings.
	sweep = time.Hour
	// fresh is how long a recording is kept whatever its size.
	fresh = 24 * time.Hour
)

// Retention deletes recordings whose time is over, or that are more than their store keeps.
// The key of a reconcile is the namespace.
type Retention struct {
	Client   client.Client
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
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
	kept := make([]*recording, 0, len(all))
	for _, rec := range all {
		due := rec.ended.Add(retentionOf(stores.Items, rec.store))
		if rec.open || underHold(rec, stores.Items) || now.Before(due) {
			if !rec.open && now.Before(due) {
				result = conditions.Earliest(result, ctrl.Result{RequeueAfter: due.Sub(now) + time.Millisecond})
			}
			kept = append(kept, rec)
			continue
		}
		if err := r.delete(ctx, rec, storeOf(stores.Items, rec.store), "its retention is over"); err != nil {
			return ctrl.Result{}, err
		}
	}
	for i := range stores.Items {
		again, err := r.shrink(ctx, &stores.Items[i], stores.Items, kept)
		if err != nil {
			return ctrl.Result{}, err
		}
		result = conditions.Earliest(result, again)
	}
	return result, nil
}

// shrink deletes the oldest recordings of a store beyond the bytes that it keeps.
func (r *Retention) shrink(ctx context.Context, store *v1alpha1.RecordingStore, stores []v1alpha1.RecordingStore, kept []*recording) (ctrl.Result, error) {
	if store.Spec.ConfigMap == nil || store.Spec.ConfigMap.RetentionBytes <= 0 {
		return ctrl.Result{}, nil
	}
	var total int64
	var candidates []*recording
	for _, rec := range kept {
		// Of what store a recording is whose Session is gone is known if there is but one.
		if rec.store != store.Name && (rec.store != "" || len(stores) > 1) {
			continue
		}
		total += rec.bytes
		if !rec.open && !underHold(rec, stores) {
			candidates = append(candidates, rec)
		}
	}
	slices.SortFunc(candidates, func(a, b *recording) int {
		return cmp.Or(a.ended.Compare(b.ended), cmp.Compare(a.session, b.session))
	})
	now := r.Clock.Now()
	for _, rec := range candidates {
		if total <= store.Spec.ConfigMap.RetentionBytes {
			break
		}
		if due := rec.ended.Add(fresh); now.Before(due) {
			return ctrl.Result{RequeueAfter: due.Sub(now) + time.Millisecond}, nil
		}
		if err := r.delete(ctx, rec, store, "recordings take more than spec.configMap.retentionBytes"); err != nil {
			return ctrl.Result{}, err
		}
		total -= rec.bytes
	}
	return ctrl.Result{}, nil
}

// underHold reports whether a recording is under legal hold: by its Session, or by its store.
// Where it is not known which store it is of, the hold of any counts.
func underHold(rec *recording, stores []v1alpha1.RecordingStore) bool {
	known := storeOf(stores, rec.store) != nil
	for i := range stores {
		if _, held := stores[i].Labels[v1alpha1.LabelLegalHold]; held && (!known || stores[i].Name == rec.store) {
			return true
		}
	}
	return rec.held
}

// storeOf returns the store with a name, nil if there is none.
func storeOf(stores []v1alpha1.RecordingStore, name string) *v1alpha1.RecordingStore {
	for i := range stores {
		if stores[i].Name == name {
			return &stores[i]
		}
	}
	return nil
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

// delete deletes a recording, which the log and, where its store is known, an Event tell.
func (r *Retention) delete(ctx context.Context, rec *recording, store *v1alpha1.RecordingStore, why string) error {
	for _, segment := range rec.segments {
		uid := segment.UID
		doomed := segment.DeepCopy()
		doomed.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, doomed, client.Preconditions{UID: &uid})); err != nil {
			return fmt.Errorf("delete ConfigMap %s after its retention: %w", segment.Name, err)
		}
	}
	ctrl.LoggerFrom(ctx).Info("Deleted a recording", "session", rec.session, "reason", why, "segments", len(rec.segments), "bytes", rec.bytes, "ended", rec.ended)
	if store != nil {
		r.Recorder.Eventf(store, nil, corev1.EventTypeNormal, v1alpha1.ReasonRecordingDeleted, "Delete",
			"deleted the recording of session %s, which ended at %s (%d bytes): %s", rec.session, rec.ended.UTC().Format(time.RFC3339), rec.bytes, why)
	}
	return nil
}

// SetupWithManager starts watching.
func (r *Retention) SetupWithManager(mgr ctrl.Manager) error {
	byNamespace := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetNamespace()}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("retention").
		Watches(&v1alpha1.RecordingStore{}, byNamespace, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		Watches(&v1alpha1.Session{}, byNamespace, builder.WithPredicates(finished)).
		WatchesMetadata(&corev1.ConfigMap{}, byNamespace).
		Complete(r)
}

// finished passes the end of sessions.
var finished = predicate.NewPredicateFuncs(func(obj client.Object) bool {
	s, ok := obj.(*v1alpha1.Session)
	return ok && s.Status.EndedAt != nil && s.Status.Recording.State != v1alpha1.RecordingOpen
})
