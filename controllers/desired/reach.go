package desired

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// ReachesSecrets says in which ways a grant leads to values of Secrets, by the rules of its
// role; none if it does not. Baseline rules are taken to be on, and what controllers make of
// custom resources is not known.
func ReachesSecrets(p *v1alpha1.KubernetesPermissions, rules []rbacv1.PolicyRule) []string {
	var ways []string
	if p.Secrets == v1alpha1.SecretsReadable && permits(rules, "", "secrets", "", "get", "list", "watch") {
		ways = append(ways, "it reads Secrets")
	}
	var made []string
	for _, m := range kubeapi.Makers() {
		verbs := []string{"create", "update", "patch"}
		if m.Resource == "pods" {
			// The volumes of a pod that is there stay.
			verbs = verbs[:1]
		}
		if permits(rules, m.Group, m.Resource, "", verbs...) {
			made = append(made, m.String())
		}
	}
	if len(made) > 0 {
		ways = append(ways, "it writes "+strings.Join(made, ", ")+", and pods may mount every Secret of their namespace")
	}
	for _, enters := range []struct {
		subresource string
		granted     bool
	}{{"exec", p.Exec != v1alpha1.ExecDenied && p.Exec != ""}, {"attach", p.Exec == v1alpha1.ExecRaw}} {
		if enters.granted && permits(rules, "", "pods", enters.subresource, "create") {
			ways = append(ways, "it enters pods by "+enters.subresource+", where Secrets may be mounted")
		}
	}
	return ways
}

// permits reports whether some rule permits one of the verbs on a resource.
func permits(rules []rbacv1.PolicyRule, group, resource, subresource string, verbs ...string) bool {
	names := []string{"*", resource}
	if subresource != "" {
		names = []string{"*", "*/" + subresource, resource + "/" + subresource}
	}
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return has(r.APIGroups, "*", group) && has(r.Resources, names...) && slices.ContainsFunc(verbs, func(v string) bool {
			// What is made has no name that a rule could name.
			return has(r.Verbs, "*", v) && (len(r.ResourceNames) == 0 || subresource != "" || v != "create")
		})
	})
}

func has(list []string, one ...string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return slices.Contains(one, e) })
}
