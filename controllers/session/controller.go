package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/conditions"
)

const (
	// keep is how many ended sessions a namespace keeps.
	keep = 500
	// again is when a session that has not ended is looked at although nothing was heard.
	again = 5 * time.Minute
	// endReasonLost is the end reason of a session whose proxy is gone.
	endReasonLost = "ProxyLost"
)

// summary says how Ready follows: the steps set it directly.
var summary = conditions.Summary{Owned: []string{v1alpha1.ConditionReady}}

// Reconciler keeps the Sessions of proxies that are gone.
type Reconciler struct {
	Client   client.Client
	Live     client.Reader // reads from the API server and not from a cache
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
}

// scope is one reconcile of one Session.
type scope struct {
	session *v1alpha1.Session
	set     conditions.Set
	now     time.Time
}

// Reconcile marks one Session as cut if its proxy is gone. What the proxy itself wrote is
// left as it is.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	session := &v1alpha1.Session{}
	if err := r.Client.Get(ctx, req.NamespacedName, session); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !session.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	s := &scope{session: session, now: r.Clock.Now()}
	if !unfinished(session) {
		return ctrl.Result{}, r.prune(ctx, session.Namespace)
	}
	gone, err := r.proxyGone(ctx, session)
	if err != nil || !gone {
		return ctrl.Result{RequeueAfter: again}, err
	}
	s.set = conditions.Set{List: &session.Status.Conditions, Generation: session.Generation, Now: s.now}
	patcher := conditions.NewPatcher(r.Client, session, s.set)
	s.cut()
	return patcher.Finish(ctx, summary, s.set, r.Recorder, ctrl.Result{}, nil)
}

func unfinished(s *v1alpha1.Session) bool {
	return s.Status.EndedAt == nil || s.Status.Recording.State == v1alpha1.RecordingOpen
}

// proxyGone reports whether the pod that carries a session is no more. It asks the API
// server: a cache may not have heard of a new pod yet.
func (r *Reconciler) proxyGone(ctx context.Context, s *v1alpha1.Session) (bool, error) {
	pod := &metav1.PartialObjectMetadata{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Proxy}, pod)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read Pod %s: %w", s.Spec.Proxy, err)
	}
	return false, nil
}

func (s *scope) cut() {
	status := &s.session.Status
	if status.EndedAt == nil {
		ended := metav1.NewMicroTime(s.now)
		status.EndedAt = &ended
		status.EndReason = endReasonLost
	}
	if status.Recording.State != v1alpha1.RecordingComplete {
		status.Recording.State = v1alpha1.RecordingCut
	}
	s.set.True(v1alpha1.ConditionReady, v1alpha1.ReasonCut,
		"pod %s is gone, and with it what of the recording had not been stored", s.session.Spec.Proxy)
}

// prune deletes the oldest ended sessions beyond those that are kept, but none under legal
// hold: its label is what keeps the recording.
func (r *Reconciler) prune(ctx context.Context, namespace string) error {
	var list v1alpha1.SessionList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Sessions: %w", err)
	}
	ended := make([]*v1alpha1.Session, 0, len(list.Items))
	for i := range list.Items {
		s := &list.Items[i]
		if _, held := s.Labels[v1alpha1.LabelLegalHold]; !held && !unfinished(s) && s.DeletionTimestamp.IsZero() {
			ended = append(ended, s)
		}
	}
	if len(ended) <= keep {
		return nil
	}
	slices.SortFunc(ended, func(a, b *v1alpha1.Session) int { return b.Status.EndedAt.Compare(a.Status.EndedAt.Time) })
	for _, s := range ended[keep:] {
		uid := s.UID
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, s.DeepCopy(), client.Preconditions{UID: &uid})); err != nil {
			return fmt.Errorf("delete old Session %s: %w", s.Name, err)
		}
	}
	return nil
}

// SetupWithManager starts watching. The end of a proxy's pod brings up its sessions.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	deleted := predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("session").
		For(&v1alpha1.Session{}, builder.WithPredicates(endChanged)).
		WatchesMetadata(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.sessionsOf), builder.WithPredicates(deleted)).
		Complete(r)
}

// endChanged passes the end of sessions and of their recordings, not every count of
// commands.
var endChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.Session)
	after, ok2 := e.ObjectNew.(*v1alpha1.Session)
	return !ok || !ok2 || unfinished(before) != unfinished(after)
}}

func (r *Reconciler) sessionsOf(ctx context.Context, pod client.Object) []reconcile.Request {
	var list v1alpha1.SessionList
	if err := r.Client.List(ctx, &list, client.InNamespace(pod.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list Sessions")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if s := &list.Items[i]; s.Spec.Proxy == pod.GetName() && unfinished(s) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)})
		}
	}
	return out
}
