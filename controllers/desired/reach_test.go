package desired

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func TestRolesThatReachSecrets(t *testing.T) {
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	named := func(r rbacv1.PolicyRule) rbacv1.PolicyRule {
		r.ResourceNames = []string{"one"}
		return r
	}
	for name, tc := range map[string]struct {
		rule    rbacv1.PolicyRule
		secrets v1alpha1.SecretsMode
		exec    v1alpha1.ExecMode
		want    string // part of what is said; empty for nothing
	}{
		"Secrets that are masked":    {rule("", "secrets", "get"), v1alpha1.SecretsMasked, "", ""},
		"Secrets that are readable":  {rule("", "secrets", "get"), v1alpha1.SecretsReadable, "", "reads Secrets"},
		"Secrets that are written":   {rule("", "secrets", "create"), v1alpha1.SecretsReadable, "", ""},
		"one Secret":                 {named(rule("", "secrets", "get")), v1alpha1.SecretsReadable, "", "reads Secrets"},
		"everything":                 {rule("*", "*", "*"), "", v1alpha1.ExecRaw, "attach"},
		"pods":                       {rule("", "pods", "create"), "", "", "writes pods"},
		"pods that are there":        {rule("", "pods", "update", "patch"), "", "", ""},
		"reading pods":               {rule("", "pods", "get"), "", "", ""},
		"a pod of a name":            {named(rule("", "pods", "create")), "", "", ""},
		"Deployments":                {rule("apps", "deployments", "patch"), "", "", "deployments.apps"},
		"one Deployment":             {named(rule("apps", "*", "update")), "", "", "deployments.apps"},
		"Deployments of no group":    {rule("", "deployments", "patch"), "", "", ""},
		"the scale of Deployments":   {rule("apps", "deployments/scale", "patch"), "", "", ""},
		"exec":                       {rule("", "pods/exec", "create"), "", v1alpha1.ExecCommands, "by exec"},
		"exec by any subresource":    {rule("", "*/exec", "create"), "", v1alpha1.ExecCommands, "by exec"},
		"exec into one":              {named(rule("", "pods/exec", "create")), "", v1alpha1.ExecCommands, "by exec"},
		"exec that is not granted":   {rule("", "pods/exec", "create"), "", v1alpha1.ExecDenied, ""},
		"exec that is not said":      {rule("", "pods/exec", "create"), "", "", ""},
		"attach":                     {rule("", "pods/attach", "create"), "", v1alpha1.ExecRaw, "by attach"},
		"attach that is not granted": {rule("", "pods/attach", "create"), "", v1alpha1.ExecCommands, ""},
		"pods do not stand for exec": {rule("", "pods", "get"), "", v1alpha1.ExecRaw, ""},
		"logs":                       {rule("", "pods/log", "get"), "", v1alpha1.ExecRaw, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(ReachesSecrets(&v1alpha1.KubernetesPermissions{Secrets: tc.secrets, Exec: tc.exec}, []rbacv1.PolicyRule{tc.rule}), "; ")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("it says %q, want %q", got, tc.want)
			}
		})
	}
}
