package policy

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// admitToCluster returns what a session with an API server is admitted to.
func admitToCluster(t *testing.T, secrets v1alpha1.SecretsMode, exchanged bool, rules ...*v1alpha1.MaskingRule) *Admission {
	t.Helper()
	role := v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: "edit"}
	in := makeInput()
	in.CommandRules, in.MaskingRules = nil, rules
	target, grant := in.Targets[0], in.Grants[0]
	target.Spec.Requires, target.Spec.Postgres = nil, nil
	target.Spec.Kubernetes = &v1alpha1.KubernetesTarget{Roles: []v1alpha1.RoleReference{role}}
	grant.Spec.Postgres = nil
	grant.Spec.Kubernetes = &v1alpha1.KubernetesPermissions{Namespaces: []string{"shop"}, RoleRef: role, Secrets: secrets, Exec: v1alpha1.ExecDenied}
	r := makeRequest()
	r.Engine, r.Database, r.Exchanged = engineKubernetes, "", exchanged
	a, err := Compile(in).Admit(r, noon)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func fieldsRule(name string, resources []string, paths ...string) *v1alpha1.MaskingRule {
	return &v1alpha1.MaskingRule{ObjectMeta: metav1.ObjectMeta{Namespace: "shop-gate", Name: name},
		Spec: v1alpha1.MaskingRuleSpec{Fields: []v1alpha1.MaskedFields{{Resources: resources, Paths: paths}}}}
}

func TestWhichObjectsAreMasked(t *testing.T) {
	rule := fieldsRule("env", []string{"configmaps", "*.example.org"}, "data.password")
	for name, tc := range map[string]struct {
		secrets v1alpha1.SecretsMode
		facts   kubeapi.Facts
		path    string // that is masked; empty for nothing
	}{
		"Secrets":                       {v1alpha1.SecretsMasked, kubeapi.Facts{Resource: "secrets"}, "data.any"},
		"Secrets that are denied":       {v1alpha1.SecretsDenied, kubeapi.Facts{Resource: "secrets"}, "data.any"},
		"Secrets that are readable":     {v1alpha1.SecretsReadable, kubeapi.Facts{Resource: "secrets"}, ""},
		"a subresource of Secrets":      {v1alpha1.SecretsMasked, kubeapi.Facts{Resource: "secrets", Subresource: "status"}, "data.any"},
		"Secrets of another group":      {v1alpha1.SecretsMasked, kubeapi.Facts{Group: "x.io", Resource: "secrets"}, ""},
		"what a rule names":             {v1alpha1.SecretsMasked, kubeapi.Facts{Resource: "configmaps"}, "data.password"},
		"its subresource":               {v1alpha1.SecretsMasked, kubeapi.Facts{Resource: "configmaps", Subresource: "status"}, "data.password"},
		"what a rule names by its glob": {v1alpha1.SecretsMasked, kubeapi.Facts{Group: "example.org", Resource: "things"}, "data.password"},
		"what no rule names":            {v1alpha1.SecretsMasked, kubeapi.Facts{Resource: "pods"}, ""},
		"logs":                          {v1alpha1.SecretsMasked, kubeapi.Facts{Group: "example.org", Resource: "things", Subresource: "log"}, ""},
		"what is no resource":           {v1alpha1.SecretsMasked, kubeapi.Facts{Path: "/api"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan := admitToCluster(t, tc.secrets, false, rule).Fields.Plan(&tc.facts)
			if (plan != nil) != (tc.path != "") || plan != nil && !plan.Masks(strings.Split(tc.path, ".")) {
				t.Errorf("the plan is %+v", plan)
			}
		})
	}
}

// G3: exemption is for identities that were proven at sign-in.
func TestExemptionFromMaskedFields(t *testing.T) {
	rule := fieldsRule("env", []string{"configmaps"}, "data")
	rule.Spec.Exempt = []v1alpha1.Subject{makeGrant().Spec.Subject}
	facts := &kubeapi.Facts{Resource: "configmaps"}
	plain, exchanged := admitToCluster(t, v1alpha1.SecretsMasked, false, rule), admitToCluster(t, v1alpha1.SecretsMasked, true, rule)
	if plain.Fields.Plan(facts) == nil || exchanged.Fields.Plan(facts) != nil {
		t.Error("exemption is not by how the identity was proven")
	}
	if plain.Version == exchanged.Version {
		t.Error("who is exempt has the same policy as who is not")
	}
	if exchanged.Fields.Plan(&kubeapi.Facts{Resource: "secrets"}) == nil {
		t.Error("who is exempt from a rule sees Secrets that the grant masks")
	}
}

func TestFieldsThatDoNotCompile(t *testing.T) {
	many := make([]v1alpha1.MaskedFields, maxFields+1)
	for name, tc := range map[string]struct {
		fields []v1alpha1.MaskedFields
		want   string
	}{
		"no resource":     {[]v1alpha1.MaskedFields{{Paths: []string{"data"}}}, "[0].resources"},
		"no path":         {[]v1alpha1.MaskedFields{{Resources: []string{"x"}}}, "[0].paths"},
		"an empty one":    {[]v1alpha1.MaskedFields{{Resources: []string{""}, Paths: []string{"data"}}}, "[0].resources[0]"},
		"a subresource":   {[]v1alpha1.MaskedFields{{Resources: []string{"pods/status"}, Paths: []string{"data"}}}, "[0].resources[0]"},
		"a label":         {[]v1alpha1.MaskedFields{{Resources: []string{"pods"}, Paths: []string{"metadata.labels.a"}}}, "only annotations"},
		"no path at all":  {[]v1alpha1.MaskedFields{{Resources: []string{"pods"}, Paths: []string{"a..b"}}}, "[0].paths[0]"},
		"a path too long": {[]v1alpha1.MaskedFields{{Resources: []string{"pods"}, Paths: []string{strings.Repeat("a", 257)}}}, "256"},
		"too many":        {many, "64"},
	} {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			rule := fieldsRule("bad", nil)
			rule.Spec.Fields = tc.fields
			in.MaskingRules = []*v1alpha1.MaskingRule{rule}
			_, err := Compile(in).Admit(makeRequest(), noon)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// Columns have no masks by a rule that is about objects alone.
func TestFieldsMeanNothingToDatabases(t *testing.T) {
	in := makeInput()
	in.MaskingRules = []*v1alpha1.MaskingRule{fieldsRule("env", []string{"*"}, "data")}
	a, err := Compile(in).Admit(makeRequest(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Masks.Empty() || a.Fields != nil {
		t.Errorf("%+v", a)
	}
}
