package target

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Bounds of the look for foreign pods: more need not be told.
const (
	maxPods  = 500
	maxNamed = 5
)

// checkPods looks for pods in the gate namespace that are not the proxy's. Whoever runs
// one can use every Secret and account there.
func (r *Reconciler) checkPods(ctx context.Context, s *scope) (ctrl.Result, error) {
	foreign, err := r.foreignPods(ctx, s.target.Namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(foreign) == 0 {
		s.set.True(v1alpha1.ConditionGateClean, v1alpha1.ReasonReady, "no pods but the proxy's run in the namespace")
		return ctrl.Result{}, nil
	}
	names := strings.Join(foreign[:min(len(foreign), maxNamed)], ", ")
	if len(foreign) > maxNamed {
		names += ", …"
	}
	before := s.set.Get(v1alpha1.ConditionGateClean)
	s.set.False(v1alpha1.ConditionGateClean, v1alpha1.ReasonForeignPods,
		"%d pods that are not the proxy's run in the gate namespace and could use its Secrets: %s; move them elsewhere", len(foreign), names)
	if before == nil || before.Status != metav1.ConditionFalse {
		r.Recorder.Eventf(s.target, nil, corev1.EventTypeWarning, v1alpha1.ReasonForeignPods, "Reconcile",
			"%d pods that are not the proxy's run in the gate namespace: %s", len(foreign), names)
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) foreignPods(ctx context.Context, namespace string) ([]string, error) {
	pods, err := r.owners(ctx, namespace, corev1.SchemeGroupVersion.WithKind("PodList"))
	if err != nil || len(pods) == 0 {
		return nil, err
	}
	sets, err := r.owners(ctx, namespace, appsv1.SchemeGroupVersion.WithKind("ReplicaSetList"))
	if err != nil {
		return nil, err
	}
	d := &metav1.PartialObjectMetadata{}
	d.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	err = r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ProxyName}, d)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read the proxy's Deployment: %w", err)
	}
	// A pod is the proxy's if the ReplicaSet that controls it is controlled by the proxy's
	// Deployment. Labels prove nothing: anybody who makes a pod chooses them.
	proxies := map[types.UID]bool{}
	for _, set := range sets {
		if d.UID != "" && set.owner == d.UID {
			proxies[set.uid] = true
		}
	}
	var foreign []string
	for _, pod := range pods {
		if !proxies[pod.owner] {
			foreign = append(foreign, pod.name)
		}
	}
	slices.Sort(foreign)
	return foreign, nil
}

type owned struct {
	name       string
	uid, owner types.UID
}

func (r *Reconciler) owners(ctx context.Context, namespace string, kind schema.GroupVersionKind) ([]owned, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	if err := r.Live.List(ctx, list, client.InNamespace(namespace), client.Limit(maxPods)); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.Kind, err)
	}
	out := make([]owned, len(list.Items))
	for i := range list.Items {
		out[i] = owned{name: list.Items[i].Name, uid: list.Items[i].UID}
		if ref := metav1.GetControllerOf(&list.Items[i]); ref != nil {
			out[i].owner = ref.UID
		}
	}
	return out, nil
}
