package gate

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/apply"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/conditions"
	"github.com/cardea-dev/cardea/controllers/desired"
)

// resync is how often a gate is looked at although nothing is heard of it: for its
// certificates, and for what is not watched.
const resync = 10 * time.Minute

// Reconciler keeps the gates.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server; Consent reads the metadata of Secrets whose owners let
	// a Target use them.
	Live    client.Reader
	Consent client.Reader
	Clock   clock.PassiveClock

	Authorities *authority.Store
	Applier     *apply.Applier

	RootNamespace  string
	Image          string
	Replicas       int32
	IdleTimeout    time.Duration
	Lead           time.Duration
	APIServerPorts []int32

	rollouts rollouts
}

// scope is one reconcile of one gate.
type scope struct {
	namespace string
	targets   []v1alpha1.Target      // all of the namespace, by Reconcile
	grants    []v1alpha1.AccessGrant // likewise
	sessions  []v1alpha1.Session     // likewise
	proxy     *v1alpha1.AccessProxy  // nil if there is none, by Reconcile
	existing  *appsv1.Deployment     // likewise
	gate      desired.Gate           // by describe
}

// Reconcile makes one namespace a gate, or no longer one.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &scope{namespace: req.Name}
	if s.namespace == r.RootNamespace {
		return ctrl.Result{}, nil
	}
	if err := r.read(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	ending, err := r.ending(ctx, s.namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	if ending || s.unused() {
		return ctrl.Result{}, r.remove(ctx, s.namespace)
	}
	return conditions.Run(ctx, s,
		conditions.Step[*scope]{Name: "describe the gate", Run: r.describe},
		conditions.Step[*scope]{Name: "apply certificates", Run: r.applyCertificates},
		conditions.Step[*scope]{Name: "apply rights", Run: r.applyRights},
		conditions.Step[*scope]{Name: "apply network", Run: r.applyNetwork},
		conditions.Step[*scope]{Name: "apply the proxy", Run: r.applyProxy},
	)
}

func (r *Reconciler) read(ctx context.Context, s *scope) error {
	var targets v1alpha1.TargetList
	var grants v1alpha1.AccessGrantList
	var sessions v1alpha1.SessionList
	for _, list := range []client.ObjectList{&targets, &grants, &sessions} {
		if err := r.Client.List(ctx, list, client.InNamespace(s.namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %T: %w", list, err)
		}
	}
	s.targets, s.grants, s.sessions = targets.Items, grants.Items, sessions.Items

	proxy := &v1alpha1.AccessProxy{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: v1alpha1.AccessProxyDefault}, proxy)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read the AccessProxy: %w", err)
	}
	if err == nil && proxy.DeletionTimestamp.IsZero() {
		s.proxy = proxy
	}
	d := &appsv1.Deployment{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: v1alpha1.ProxyName}, d)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read the proxy's Deployment: %w", err)
	}
	if err == nil {
		s.existing = d
	}
	return nil
}

// unused reports whether nothing is left that needs a gate. A proxy that still has
// something to store is left to store it.
func (s *scope) unused() bool {
	if len(s.targets) > 0 || len(s.grants) > 0 {
		return false
	}
	if s.existing == nil || s.existing.Status.Replicas == 0 {
		return true
	}
	for i := range s.sessions {
		if unfinished(&s.sessions[i]) {
			return false
		}
	}
	return true
}

// ending reports whether the namespace is gone or going.
func (r *Reconciler) ending(ctx context.Context, namespace string) (bool, error) {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(namespaceKind)
	if err := r.Client.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return true, nil
		}
		return false, fmt.Errorf("read Namespace: %w", err)
	}
	return !ns.DeletionTimestamp.IsZero(), nil
}
