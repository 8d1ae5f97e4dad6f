package gate

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

const (
	// rolloutsAtMost is how many gates have their pods replaced at a time: a new version of
	// the operator does not restart every proxy at once, and one that does not start stops
	// at a few.
	rolloutsAtMost = 3
	// rolloutPause is when a gate that waits for its turn asks again.
	rolloutPause = 5 * time.Second
	// unseen is how long a rollout that was begun may take to show in the cache.
	unseen = time.Minute
)

// rollouts paces the replacement of proxies over namespaces. It is safe for concurrent use.
type rollouts struct {
	mu    sync.Mutex
	begun map[string]begun // by namespace
}

type begun struct {
	template string
	at       time.Time
}

// begin reports whether a gate's pods may be replaced now by those of a template, and notes
// that they are.
func (r *rollouts) begin(ctx context.Context, c client.Reader, clk clock.PassiveClock, namespace, template string) (bool, error) {
	var list appsv1.DeploymentList
	if err := c.List(ctx, &list, client.MatchingLabels(desired.Selector()), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list the proxies: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now, busy := clk.Now(), map[string]bool{}
	seen := map[string]string{}
	for i := range list.Items {
		d := &list.Items[i]
		if d.Name != v1alpha1.ProxyName {
			continue
		}
		seen[d.Namespace] = d.Annotations[desired.AnnotationTemplate]
		if rolling(d) {
			busy[d.Namespace] = true
		}
	}
	for ns, b := range r.begun {
		template, there := seen[ns]
		if !there || template == b.template || now.Sub(b.at) > unseen {
			delete(r.begun, ns)
			continue
		}
		busy[ns] = true
	}
	delete(busy, namespace)
	if len(busy) >= rolloutsAtMost {
		return false, nil
	}
	if r.begun == nil {
		r.begun = map[string]begun{}
	}
	r.begun[namespace] = begun{template, now}
	return true, nil
}

// replaces reports whether applying a template restarts pods.
func replaces(d *appsv1.Deployment, template string, replicas int32) bool {
	return d != nil && replicas > 0 && d.Status.Replicas > 0 && d.Annotations[desired.AnnotationTemplate] != template
}

// rolling reports whether not every pod of a proxy is new and available. One that was given
// up on does not keep the others waiting.
func rolling(d *appsv1.Deployment) bool {
	if d.Spec.Replicas == nil || *d.Spec.Replicas == 0 {
		return false
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && d.Status.ObservedGeneration >= d.Generation {
			return false
		}
	}
	return d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < *d.Spec.Replicas ||
		d.Status.AvailableReplicas < *d.Spec.Replicas || d.Status.Replicas > d.Status.UpdatedReplicas
}
