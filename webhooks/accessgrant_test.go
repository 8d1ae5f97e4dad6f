package webhooks

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func TestStampCreator(t *testing.T) {
	cases := map[string]struct {
		before map[string]string
		want   map[string]string
		stamps bool
	}{
		"none":          {nil, map[string]string{v1alpha1.AnnotationCreatedBy: "alice"}, true},
		"beside others": {map[string]string{"a": "b"}, map[string]string{"a": "b", v1alpha1.AnnotationCreatedBy: "alice"}, true},
		"there already": {map[string]string{v1alpha1.AnnotationCreatedBy: "eve"}, map[string]string{v1alpha1.AnnotationCreatedBy: "eve"}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := &unstructured.Unstructured{Object: map[string]any{}}
			o.SetAnnotations(c.before)
			if got := StampCreator(o, "alice"); got != c.stamps {
				t.Errorf("stamped: %v", got)
			}
			if diff := cmp.Diff(c.want, o.GetAnnotations()); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAdvice(t *testing.T) {
	grant := &v1alpha1.AccessGrant{}
	grant.Namespace = "shop-gate"
	grant.Spec.TargetRef.Name = "orders-db"
	grant.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "report-agent"}
	target := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Postgres: &v1alpha1.PostgresTarget{}}}
	permits := grant.DeepCopy()
	permits.Spec.Postgres = &v1alpha1.PostgresPermissions{}
	namespace := func(gate string) *corev1.Namespace {
		n := &corev1.Namespace{}
		n.Name = "shop"
		n.Labels = map[string]string{v1alpha1.LabelAcceptFrom: gate}
		return n
	}
	beside := grant.DeepCopy()
	beside.Spec.Subject.Namespace = "shop-gate"

	cases := map[string]struct {
		got  []string
		want int
	}{
		"no target":                     {AdviseTarget(grant, nil), 1},
		"no permissions for the target": {AdviseTarget(grant, target), 1},
		"permissions":                   {AdviseTarget(permits, target), 0},
		"no permissions for a host":     {AdviseTarget(permits, &v1alpha1.Target{Spec: v1alpha1.TargetSpec{SSH: &v1alpha1.SSHTarget{}}}), 1},
		"no permissions for a cluster":  {AdviseTarget(permits, &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Kubernetes: &v1alpha1.KubernetesTarget{}}}), 1},
		"no namespace":                  {AdviseNamespace(grant, nil), 1},
		"a namespace without consent":   {AdviseNamespace(grant, &corev1.Namespace{}), 1},
		"consent to another gate":       {AdviseNamespace(grant, namespace("other")), 1},
		"consent":                       {AdviseNamespace(grant, namespace("shop-gate")), 0},
		"the gate's own namespace":      {AdviseNamespace(beside, &corev1.Namespace{}), 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if len(c.got) != c.want {
				t.Errorf("advice %q, want %d sentences", c.got, c.want)
			}
		})
	}
}
