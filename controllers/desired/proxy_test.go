package desired_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

func with(spec v1alpha1.AccessProxySpec) desired.Gate {
	g := gate
	g.Proxy, g.ProxyGeneration = spec, 3
	return g
}

func amounts(cpu, memory string) *v1alpha1.ResourceAmounts {
	a := &v1alpha1.ResourceAmounts{}
	if cpu != "" {
		a.CPU = ptr.To(resource.MustParse(cpu))
	}
	if memory != "" {
		a.Memory = ptr.To(resource.MustParse(memory))
	}
	return a
}

func TestResources(t *testing.T) {
	for name, tc := range map[string]struct {
		resources *v1alpha1.ProxyResources
		want      string
	}{
		"not said":            {nil, "requests 50m 64Mi, limits 0 512Mi"},
		"requests":            {&v1alpha1.ProxyResources{Requests: amounts("1", "128Mi")}, "requests 1 128Mi, limits 0 512Mi"},
		"limits":              {&v1alpha1.ProxyResources{Limits: amounts("2", "1Gi")}, "requests 50m 64Mi, limits 2 1Gi"},
		"limit below request": {&v1alpha1.ProxyResources{Requests: amounts("", "1Gi")}, "requests 50m 1Gi, limits 0 1Gi"},
		"less than nothing":   {&v1alpha1.ProxyResources{Requests: amounts("-1", "0"), Limits: amounts("0", "-1Gi")}, "requests 50m 64Mi, limits 0 512Mi"},
	} {
		t.Run(name, func(t *testing.T) {
			d := as[appsv1.Deployment](t, desired.Deployment(with(v1alpha1.AccessProxySpec{Resources: tc.resources})))
			r := d.Spec.Template.Spec.Containers[0].Resources
			got := "requests " + r.Requests.Cpu().String() + " " + r.Requests.Memory().String() + ", limits " + r.Limits.Cpu().String() + " " + r.Limits.Memory().String()
			if got != tc.want {
				t.Errorf("resources: %s, want %s", got, tc.want)
			}
		})
	}
}

// What an AccessProxy says of replicas and of the Service restarts no pod.
func TestTemplateDependsOnPodsAlone(t *testing.T) {
	before := desired.Template(gate)
	for name, tc := range map[string]struct {
		spec v1alpha1.AccessProxySpec
		want bool
	}{
		"replicas":   {v1alpha1.AccessProxySpec{Replicas: ptr.To[int32](3)}, false},
		"exposure":   {v1alpha1.AccessProxySpec{Exposure: &v1alpha1.ProxyExposure{Type: v1alpha1.ExposureNodePort}}, false},
		"drain":      {v1alpha1.AccessProxySpec{Drain: &metav1.Duration{Duration: time.Minute}}, true},
		"scheduling": {v1alpha1.AccessProxySpec{Scheduling: &v1alpha1.ProxyScheduling{Tolerations: []v1alpha1.ProxyToleration{{Operator: "Exists"}}}}, true},
	} {
		if got := desired.Template(with(tc.spec)) != before; got != tc.want {
			t.Errorf("%s: pods are replaced: %t, want %t", name, got, tc.want)
		}
	}
	d := as[appsv1.Deployment](t, desired.Deployment(gate))
	if d.Annotations[desired.AnnotationTemplate] != before || before == "" {
		t.Errorf("the Deployment says it has template %q, want %q", d.Annotations[desired.AnnotationTemplate], before)
	}
}

func TestExposure(t *testing.T) {
	for name, tc := range map[string]struct {
		exposure  *v1alpha1.ProxyExposure
		wantType  corev1.ServiceType
		wantPorts int
	}{
		"not said":      {nil, corev1.ServiceTypeClusterIP, 2},
		"inside":        {&v1alpha1.ProxyExposure{Type: v1alpha1.ExposureClusterIP}, corev1.ServiceTypeClusterIP, 2},
		"load balancer": {&v1alpha1.ProxyExposure{Type: v1alpha1.ExposureLoadBalancer, SourceRanges: []string{"192.0.2.0/24"}}, corev1.ServiceTypeLoadBalancer, 1},
		"node port":     {&v1alpha1.ProxyExposure{Type: v1alpha1.ExposureNodePort}, corev1.ServiceTypeNodePort, 1},
	} {
		s := as[corev1.Service](t, desired.Service(with(v1alpha1.AccessProxySpec{Exposure: tc.exposure})))
		if s.Spec.Type != tc.wantType || len(s.Spec.Ports) != tc.wantPorts {
			t.Errorf("%s: type %s with %d ports, want %s with %d", name, s.Spec.Type, len(s.Spec.Ports), tc.wantType, tc.wantPorts)
		}
	}
	names := desired.ServingNames(with(v1alpha1.AccessProxySpec{Exposure: &v1alpha1.ProxyExposure{Hostnames: []string{"db.example.com"}}}))
	if names[len(names)-1] != "db.example.com" {
		t.Errorf("the certificate is for %v", names)
	}
}

func TestPeersReachEachOther(t *testing.T) {
	p := as[networkingv1.NetworkPolicy](t, desired.NetworkPolicy(gate))
	to := p.Spec.Egress[len(p.Spec.Egress)-1]
	if len(to.To) != 1 || to.To[0].NamespaceSelector != nil || to.To[0].IPBlock != nil {
		t.Fatalf("the last egress is to %+v, want the namespace's own proxies", to.To)
	}
	if diff := cmp.Diff(desired.Selector(), to.To[0].PodSelector.MatchLabels); diff != "" {
		t.Error(diff)
	}
	if len(to.Ports) != 1 || to.Ports[0].Port.IntValue() != desired.PostgresPort {
		t.Errorf("ports %v, want that of PostgreSQL alone", to.Ports)
	}
}
