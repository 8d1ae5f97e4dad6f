package gate

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

func proxyOf(namespace, template string, change func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.ProxyName, Generation: 2, Labels: desired.Labels(namespace),
			Annotations: map[string]string{desired.AnnotationTemplate: template}},
		Spec:   appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1},
	}
	if change != nil {
		change(d)
	}
	return d
}

func TestRolling(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*appsv1.Deployment)
		want   bool
	}{
		"settled":         {nil, false},
		"at rest":         {func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0); d.Status = appsv1.DeploymentStatus{} }, false},
		"not seen yet":    {func(d *appsv1.Deployment) { d.Generation = 3 }, true},
		"not updated":     {func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 0 }, true},
		"not available":   {func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 0 }, true},
		"an old one left": {func(d *appsv1.Deployment) { d.Status.Replicas = 2 }, true},
		"given up": {func(d *appsv1.Deployment) {
			d.Status.AvailableReplicas = 0
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rolling(proxyOf("a", "new", tc.change)); got != tc.want {
				t.Errorf("rolling = %t, want %t", got, tc.want)
			}
		})
	}
}

// G11: an upgrade restarts the proxies of a few namespaces at a time.
func TestRolloutsArePaced(t *testing.T) {
	const gates = 10
	c := fake.NewClientBuilder().Build()
	for i := range gates {
		if err := c.Create(t.Context(), proxyOf(fmt.Sprintf("gate-%d", i), "old", nil)); err != nil {
			t.Fatal(err)
		}
	}
	clk := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	r := &rollouts{}
	try := func(i int) bool {
		t.Helper()
		ok, err := r.begin(t.Context(), c, clk, fmt.Sprintf("gate-%d", i), "new")
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for i := range gates {
		if ok := try(i); ok != (i < rolloutsAtMost) {
			t.Errorf("gate %d may begin: %t, before the cache has shown anything", i, ok)
		}
	}
	if !try(0) {
		t.Error("a gate that has begun may not go on")
	}
	// The first one's rollout shows, and ends.
	d := proxyOf("gate-0", "new", nil)
	if err := c.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	d.Status.AvailableReplicas = 0
	if err := c.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if try(4) {
		t.Error("another may begin while the first is not available")
	}
	d.Status.AvailableReplicas = 1
	if err := c.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if !try(4) {
		t.Error("no other may begin when the first is done")
	}
}

func TestReplaces(t *testing.T) {
	for name, tc := range map[string]struct {
		d        *appsv1.Deployment
		replicas int32
		want     bool
	}{
		"there is none":    {nil, 1, false},
		"the same":         {proxyOf("a", "new", nil), 1, false},
		"another":          {proxyOf("a", "old", nil), 1, true},
		"another, at rest": {proxyOf("a", "old", func(d *appsv1.Deployment) { d.Status.Replicas = 0 }), 1, false},
		"another, to rest": {proxyOf("a", "old", nil), 0, false},
		"made by no gate":  {proxyOf("a", "", nil), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := replaces(tc.d, "new", tc.replicas); got != tc.want {
				t.Errorf("replaces = %t, want %t", got, tc.want)
			}
		})
	}
}
