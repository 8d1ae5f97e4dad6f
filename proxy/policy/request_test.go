package policy

import (
	"testing"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/shell"
)

// requestRulesOf returns the rules of a session with an API server, whose grant names
// namespace shop.
func requestRulesOf(t *testing.T, change func(*v1alpha1.KubernetesPermissions), rules ...*v1alpha1.CommandRule) Rules {
	t.Helper()
	role := v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: "edit"}
	in := makeInput()
	in.CommandRules, in.MaskingRules = rules, nil
	target, grant := in.Targets[0], in.Grants[0]
	target.Spec.Requires, target.Spec.Postgres = nil, nil
	target.Spec.Kubernetes = &v1alpha1.KubernetesTarget{Roles: []v1alpha1.RoleReference{role}}
	grant.Spec.Postgres = nil
	grant.Spec.Kubernetes = &v1alpha1.KubernetesPermissions{Namespaces: []string{"shop"}, RoleRef: role, Secrets: v1alpha1.SecretsDenied, Exec: v1alpha1.ExecDenied}
	if change != nil {
		change(grant.Spec.Kubernetes)
	}
	r := makeRequest()
	r.Engine, r.Database = engineKubernetes, ""
	a, err := Compile(in).Admit(r, noon)
	if err != nil {
		t.Fatal(err)
	}
	return a.Rules
}

func ask(f kubeapi.Facts) *Command {
	f.Known, f.Version = true, "v1"
	if f.Pods == nil {
		f.Pods = &kubeapi.Pods{Known: true}
	}
	return &Command{Engine: engineKubernetes, Kubernetes: &f}
}

// The zero of everything denies.
func TestRequestsUnknown(t *testing.T) {
	rules := requestRulesOf(t, nil)
	for name, c := range map[string]*Command{
		"no command": nil, "zero command": {}, "no facts": {Engine: engineKubernetes}, "zero facts": {Engine: engineKubernetes, Kubernetes: &kubeapi.Facts{}},
		"no resource": ask(kubeapi.Facts{}), "another engine": {Engine: "postgres", Kubernetes: ask(kubeapi.Facts{Verb: "get", Path: "/api"}).Kubernetes},
	} {
		if d := rules.Decide(c); d.Action != Deny || d.Refusal == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestRequestsBeyondAGrant(t *testing.T) {
	commands := func(p *v1alpha1.KubernetesPermissions) { p.Exec = v1alpha1.ExecCommands }
	for name, tc := range map[string]struct {
		facts  kubeapi.Facts
		change func(*v1alpha1.KubernetesPermissions)
		want   Code // the code of the refusal; empty where it is allowed
	}{
		"its namespace":        {kubeapi.Facts{Verb: "list", Resource: "pods", Namespace: "shop"}, nil, ""},
		"another namespace":    {kubeapi.Facts{Verb: "list", Resource: "pods", Namespace: "bank"}, nil, CodeNotPermitted},
		"all namespaces":       {kubeapi.Facts{Verb: "list", Resource: "pods"}, nil, CodeNotPermitted},
		"discovery":            {kubeapi.Facts{Verb: "get", Path: "/apis"}, nil, ""},
		"what sounds like it":  {kubeapi.Facts{Verb: "get", Path: "/apisx"}, nil, CodeNotPermitted},
		"discovery by a write": {kubeapi.Facts{Verb: "post", Path: "/apis"}, nil, CodeNotPermitted},
		"metrics":              {kubeapi.Facts{Verb: "get", Path: "/metrics"}, nil, CodeNotPermitted},
		"oneself":              {kubeapi.Facts{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}, nil, ""},
		"somebody else":        {kubeapi.Facts{Verb: "create", Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, nil, CodeNotPermitted},
		"Secrets":              {kubeapi.Facts{Verb: "list", Resource: "secrets", Namespace: "shop"}, nil, CodeNotPermitted},
		"Secrets, granted": {kubeapi.Facts{Verb: "list", Resource: "secrets", Namespace: "shop"},
			func(p *v1alpha1.KubernetesPermissions) { p.Secrets = v1alpha1.SecretsReadable }, ""},
		"Secrets, masked": {kubeapi.Facts{Verb: "list", Resource: "secrets", Namespace: "shop"},
			func(p *v1alpha1.KubernetesPermissions) { p.Secrets = v1alpha1.SecretsMasked }, ""},
		"exec": {kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "x"}, nil, CodeNotPermitted},
		"exec, granted": {kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "x",
			Shell: shell.Argv([]string{"ls"}), Stream: &kubeapi.Stream{Stdout: true}}, commands, ""},
		"exec without streams": {kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "x",
			Shell: shell.Argv([]string{"ls"})}, commands, CodeNotPermitted},
		"exec in a terminal": {kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "x",
			Shell: shell.Argv([]string{"ls"}), Stream: &kubeapi.Stream{Stdout: true, TTY: true}}, commands, CodeNotPermitted},
		"attach":           {kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "attach", Namespace: "shop", Name: "x"}, commands, CodeNotPermitted},
		"port-forward":     {kubeapi.Facts{Verb: "create", Resource: "pods", Subresource: "portforward", Namespace: "shop", Name: "x"}, commands, CodeNotPermitted},
		"a pod's proxy":    {kubeapi.Facts{Verb: "get", Resource: "pods", Subresource: "proxy", Namespace: "shop", Name: "x"}, nil, CodeDeniedByRule},
		"an ephemeral":     {kubeapi.Facts{Verb: "patch", Resource: "pods", Subresource: "ephemeralcontainers", Namespace: "shop", Name: "x"}, nil, CodeDeniedByRule},
		"a token":          {kubeapi.Facts{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: "shop", Name: "x"}, nil, CodeDeniedByRule},
		"a role binding":   {kubeapi.Facts{Verb: "create", Group: groupRBAC, Resource: "rolebindings", Namespace: "shop"}, nil, CodeDeniedByRule},
		"a CSR":            {kubeapi.Facts{Verb: "create", Group: groupCertificates, Resource: "certificatesigningrequests"}, nil, CodeDeniedByRule},
		"a node's kubelet": {kubeapi.Facts{Verb: "get", Resource: "nodes", Subresource: "log", Name: "x"}, nil, CodeDeniedByRule},
	} {
		t.Run(name, func(t *testing.T) {
			d := requestRulesOf(t, tc.change).Decide(ask(tc.facts))
			if tc.want == "" && d.Action != Allow || tc.want != "" && (d.Action != Deny || d.Refusal.Code != tc.want) {
				t.Errorf("%+v, want code %q", d, tc.want)
			}
		})
	}
}

func TestRequestRules(t *testing.T) {
	rule := makeCommandRule("shop-gate", "keep", v1alpha1.ActionRequireApproval)
	rule.Spec.Match = []v1alpha1.CommandMatch{{Kubernetes: &v1alpha1.KubernetesMatch{
		Verbs: []string{"delete", "deletecollection"}, Resources: []string{"deployments.apps"}, Namespaces: []string{"shop"}, Names: []string{"prod-*"}}}}
	rules := requestRulesOf(t, nil, rule)
	for name, tc := range map[string]struct {
		facts kubeapi.Facts
		want  Action
	}{
		"what it names":            {kubeapi.Facts{Verb: "delete", Name: "prod-web"}, RequireApproval},
		"another name":             {kubeapi.Facts{Verb: "delete", Name: "web"}, Allow},
		"another verb":             {kubeapi.Facts{Verb: "get", Name: "prod-web"}, Allow},
		"all, which have no names": {kubeapi.Facts{Verb: "deletecollection"}, RequireApproval},
		"a subresource":            {kubeapi.Facts{Verb: "delete", Name: "prod-web", Subresource: "scale"}, Allow},
	} {
		tc.facts.Group, tc.facts.Resource, tc.facts.Namespace = "apps", "deployments", "shop"
		if d := rules.Decide(ask(tc.facts)); d.Action != tc.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A role that the Target does not list is no role of a grant, whatever the API server says.
func TestRoleThatATargetDoesNotList(t *testing.T) {
	in := makeInput()
	in.Targets[0].Spec.Requires, in.Targets[0].Spec.Postgres = nil, nil
	in.Targets[0].Spec.Kubernetes = &v1alpha1.KubernetesTarget{Roles: []v1alpha1.RoleReference{{Kind: v1alpha1.RoleKindClusterRole, Name: "view"}}}
	in.Grants[0].Spec.Postgres, in.Grants[0].Spec.Kubernetes = nil, &v1alpha1.KubernetesPermissions{
		Namespaces: []string{"shop"}, RoleRef: v1alpha1.RoleReference{Kind: v1alpha1.RoleKindRole, Name: "view"}, Secrets: v1alpha1.SecretsDenied, Exec: v1alpha1.ExecDenied}
	r := makeRequest()
	r.Engine, r.Database = engineKubernetes, ""
	if _, err := Compile(in).Admit(r, noon.Add(time.Minute)); err == nil {
		t.Error("the session is admitted")
	}
}

// Pods that reach out of their containers are neither entered nor made, nor are those of which
// that is not known.
func TestPodsThatEscape(t *testing.T) {
	rules := requestRulesOf(t, func(p *v1alpha1.KubernetesPermissions) { p.Exec, p.Ports = v1alpha1.ExecRaw, []int32{80} })
	for _, f := range []kubeapi.Facts{
		{Verb: "create", Resource: "pods", Subresource: "exec", Name: "x", Stream: &kubeapi.Stream{}}, {Verb: "create", Resource: "pods", Subresource: "attach", Name: "x", Stream: &kubeapi.Stream{}},
		{Verb: "create", Resource: "pods", Subresource: "portforward", Name: "x"}, {Verb: "create", Resource: "pods"}, {Verb: "update", Group: "apps", Resource: "deployments", Name: "x"},
		{Verb: "patch", Group: "batch", Resource: "cronjobs", Name: "x"}, {Verb: "create", Resource: "replicationcontrollers"},
	} {
		f.Namespace, f.Known, f.Version = "shop", true, "v1"
		for name, tc := range map[string]struct {
			pods *kubeapi.Pods
			want Action
		}{
			"nothing is known": {nil, Deny}, "zero": {&kubeapi.Pods{}, Deny}, "unknown": {&kubeapi.Pods{Unknown: "x"}, Deny},
			"escapes": {&kubeapi.Pods{Known: true, Escapes: []string{"hostPID"}}, Deny}, "harmless": {&kubeapi.Pods{Known: true}, Allow},
		} {
			f.Pods = tc.pods
			d := rules.Decide(&Command{Engine: engineKubernetes, Kubernetes: &f})
			if d.Action != tc.want || tc.want == Deny && d.Rule.Name != "kubernetes-privileged-pods" {
				t.Errorf("%s %s, %s: %+v", f.Verb, f.Named(), name, d)
			}
		}
	}
}
