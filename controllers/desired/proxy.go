package desired

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const (
	defaultDrain = 30 * time.Second
	// afterDrain is how many seconds a proxy has after its drain: to end the sessions that
	// are left, and to ship the last recordings.
	afterDrain = 30
)

// drain is how long sessions may go on when a proxy is stopped.
func drain(p v1alpha1.AccessProxySpec) time.Duration {
	if p.Drain == nil {
		return defaultDrain
	}
	return p.Drain.Duration
}

// resources are those of one proxy. A limit below what is requested is raised to that: the
// API server takes no other, and the gate would not run.
func resources(r *v1alpha1.ProxyResources) *corev1ac.ResourceRequirementsApplyConfiguration {
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")}
	if r != nil {
		amounts(requests, r.Requests)
		amounts(limits, r.Limits)
	}
	for name, limit := range limits {
		if request := requests[name]; request.Cmp(limit) > 0 {
			limits[name] = request
		}
	}
	return corev1ac.ResourceRequirements().WithRequests(requests).WithLimits(limits)
}

// amounts sets what is positive.
func amounts(list corev1.ResourceList, a *v1alpha1.ResourceAmounts) {
	if a == nil {
		return
	}
	for name, q := range map[corev1.ResourceName]*resource.Quantity{corev1.ResourceCPU: a.CPU, corev1.ResourceMemory: a.Memory} {
		if q != nil && q.Sign() > 0 {
			list[name] = *q
		}
	}
}

// schedule puts pods on the nodes that are wanted.
func schedule(s *v1alpha1.ProxyScheduling, pod *corev1ac.PodSpecApplyConfiguration) *corev1ac.PodSpecApplyConfiguration {
	if s == nil {
		return pod
	}
	pod.WithNodeSelector(s.NodeSelector)
	if s.PriorityClassName != "" {
		pod.WithPriorityClassName(s.PriorityClassName)
	}
	for _, t := range s.Tolerations {
		toleration := corev1ac.Toleration().WithKey(t.Key)
		if t.Operator != "" {
			toleration.WithOperator(corev1.TolerationOperator(t.Operator))
		}
		if t.Value != "" {
			toleration.WithValue(t.Value)
		}
		if t.Effect != "" {
			toleration.WithEffect(corev1.TaintEffect(t.Effect))
		}
		pod.WithTolerations(toleration)
	}
	return pod
}

// spread keeps the replicas apart, as well as that is possible.
func spread(over string) *corev1ac.TopologySpreadConstraintApplyConfiguration {
	return corev1ac.TopologySpreadConstraint().
		WithMaxSkew(1).WithTopologyKey(over).
		WithWhenUnsatisfiable(corev1.ScheduleAnyway).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(Selector()))
}
