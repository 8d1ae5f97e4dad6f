package desired_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/controllers/desired"
)

var gate = desired.Gate{
	Namespace: "shop-gate", RootNamespace: "cardea-system", Image: "proxy:1", Replicas: 1,
	Secrets: []string{"orders-login"}, ConfigMaps: []string{"orders-ca"},
	TargetPorts: []int32{5432}, APIServerPorts: []int32{443, 6443},
}

// as decodes an apply configuration into the kind that the API server makes of it.
func as[T any](t *testing.T, in any) T {
	t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := yaml.UnmarshalStrict(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// flat spells rules as GROUP/RESOURCE:VERB or GROUP/RESOURCE/NAME:VERB.
func flat(rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, r := range rules {
		names := r.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, g := range r.APIGroups {
			for _, res := range r.Resources {
				for _, n := range names {
					for _, v := range r.Verbs {
						out = append(out, strings.TrimSuffix(g+"/"+res+" "+n, " ")+":"+v)
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestRoleIsExact(t *testing.T) {
	const g = "access.cardea.dev/"
	var want []string
	for _, kind := range []string{"accessgrants", "accesslocks", "accesspolicies", "approvalrequests", "commandrules", "maskingrules", "recordingstores", "sessions", "targets"} {
		want = append(want, g+kind+":get", g+kind+":list", g+kind+":watch")
	}
	want = append(want, g+"sessions:create", g+"sessions:update", g+"sessions/status:update", g+"sessions/status:patch",
		g+"approvalrequests:create", g+"approvalrequests/status:update", g+"targets/status:patch",
		"/configmaps:create", "/configmaps orders-ca:get", "/secrets orders-login:get")
	slices.Sort(want)
	if diff := cmp.Diff(want, flat(as[rbacv1.Role](t, desired.Role(gate)).Rules)); diff != "" {
		t.Errorf("Role (-want +got):\n%s", diff)
	}
}

// An empty list of names would let the proxy read every Secret of its namespace.
func TestRoleWithoutReferencesReadsNoSecret(t *testing.T) {
	bare := gate
	bare.Secrets, bare.ConfigMaps = nil, nil
	for _, r := range flat(as[rbacv1.Role](t, desired.Role(bare)).Rules) {
		if strings.HasPrefix(r, "/secrets") || strings.HasPrefix(r, "/configmaps") && r != "/configmaps:create" {
			t.Errorf("right %s", r)
		}
	}
}

// The API server lets nobody give a right that he does not hold, and the operator holds
// neither escalate nor bind.
func TestOperatorHoldsWhatItGives(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "operator_role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var operator rbacv1.ClusterRole
	if err := yaml.Unmarshal([]byte(strings.Split(string(raw), "\n---\n")[0]), &operator); err != nil {
		t.Fatal(err)
	}
	// Bounded by the policy cardea-operator-rights, which test/envtest/rights tries.
	bounded := []string{"rbac.authorization.k8s.io/roles:bind", "rbac.authorization.k8s.io/clusterroles:bind", "rbac.authorization.k8s.io/clusterroles:escalate"}
	held := map[string]bool{}
	for _, r := range flat(operator.Rules) {
		held[r] = true
		if slices.Contains(bounded, r) {
			continue
		}
		if strings.HasSuffix(r, ":escalate") || strings.HasSuffix(r, ":bind") || strings.Contains(r, "*") {
			t.Errorf("the operator may %s", r)
		}
	}
	given := flat(append(as[rbacv1.Role](t, desired.Role(gate)).Rules, as[rbacv1.Role](t, desired.RootRole(gate)).Rules...))
	for _, r := range given {
		resource, rest, named := strings.Cut(r, " ")
		if named {
			_, verb, _ := strings.Cut(rest, ":")
			r = resource + ":" + verb
		}
		if !held[r] {
			t.Errorf("the operator gives %s and does not hold it", r)
		}
	}
}

// A rule without names would let the proxy impersonate everybody.
func TestImpersonationNamesItsUsers(t *testing.T) {
	if desired.ImpersonationRole(gate) != nil {
		t.Error("a gate without users may impersonate")
	}
	with := gate
	with.Users = []string{"cardea:grant:shop-gate:a:1"}
	role := as[rbacv1.ClusterRole](t, desired.ImpersonationRole(with))
	if len(role.Rules) != 1 || !cmp.Equal(role.Rules[0].ResourceNames, with.Users) {
		t.Errorf("%+v", role.Rules)
	}
}

func TestPodIsConfined(t *testing.T) {
	d := as[appsv1.Deployment](t, desired.Deployment(gate))
	pod, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	for what, ok := range map[string]bool{
		"runs as non-root":          *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser == 65532,
		"seccomp":                   pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"read-only root":            *c.SecurityContext.ReadOnlyRootFilesystem,
		"no escalation":             !*c.SecurityContext.AllowPrivilegeEscalation,
		"no capabilities":           cmp.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(c.SecurityContext.Capabilities.Add) == 0,
		"bounded memory":            !c.Resources.Limits.Memory().IsZero(),
		"bounded spool":             pod.Volumes[1].EmptyDir.SizeLimit != nil,
		"drains within its grace":   *pod.TerminationGracePeriodSeconds == 60 && slices.Contains(c.Args, "--drain=30s"),
		"no pod less in a rollout":  d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() == 0,
		"no host":                   !pod.HostNetwork && !pod.HostPID && !pod.HostIPC,
		"Secret mounted, no others": len(pod.Volumes) == 2 && pod.Volumes[0].Secret.SecretName == "cardea-proxy-tls",
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
}

func TestIdleSinceDoesNotRollPods(t *testing.T) {
	idle := gate
	idle.IdleSince = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := as[appsv1.Deployment](t, desired.Deployment(gate)), as[appsv1.Deployment](t, desired.Deployment(idle))
	if diff := cmp.Diff(a.Spec.Template, b.Spec.Template); diff != "" {
		t.Errorf("the pod template changed:\n%s", diff)
	}
	if b.Annotations[desired.AnnotationIdleSince] != "2030-01-01T00:00:00Z" {
		t.Errorf("annotations %v", b.Annotations)
	}
}

func TestNetworkPolicy(t *testing.T) {
	np := as[networkingv1.NetworkPolicy](t, desired.NetworkPolicy(gate)).Spec
	var egress []int32
	for _, p := range np.Egress[0].Ports {
		egress = append(egress, p.Port.IntVal)
	}
	if diff := cmp.Diff([]int32{53, 53, 443, 6443, 5432}, egress); diff != "" {
		t.Errorf("ports outwards (-want +got):\n%s", diff)
	}
	if len(np.PolicyTypes) != 2 || len(np.Ingress) != 2 {
		t.Fatalf("policy %+v", np)
	}
	if len(np.Ingress[0].From) != 0 || np.Ingress[0].Ports[0].Port.IntVal != 5432 {
		t.Errorf("the gate's port: %+v", np.Ingress[0])
	}
	if len(np.Ingress[1].From) != 1 || np.Ingress[1].Ports[0].Port.IntVal != 8080 {
		t.Errorf("metrics: %+v", np.Ingress[1])
	}
}

func TestRootRoleReadsRulesAndLocksAlone(t *testing.T) {
	for _, r := range flat(as[rbacv1.Role](t, desired.RootRole(gate)).Rules) {
		kind, verb, _ := strings.Cut(strings.TrimPrefix(r, "access.cardea.dev/"), ":")
		if !slices.Contains([]string{"accesslocks", "accesspolicies", "commandrules", "maskingrules"}, kind) || !slices.Contains([]string{"get", "list", "watch"}, verb) {
			t.Errorf("right %s", r)
		}
	}
}
