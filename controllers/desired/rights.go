package desired

import (
	rbacv1 "k8s.io/api/rbac/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// ServiceAccount returns the proxy's account. Its token is mounted by the pod that names
// it and by nothing else.
func ServiceAccount(g Gate) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithAutomountServiceAccountToken(false)
}

// Role returns what the proxy may do in its own namespace.
func Role(g Gate) *rbacv1ac.RoleApplyConfiguration {
	group := v1alpha1.GroupVersion.Group
	rules := []*rbacv1ac.PolicyRuleApplyConfiguration{
		rule(group, []string{
			"accessgrants", "accesslocks", "accesspolicies", "approvalrequests", "commandrules", "maskingrules",
			"recordingstores", "sessions", "targets",
		}, "get", "list", "watch"),
		rule(group, []string{"sessions"}, "create", "update"),
		rule(group, []string{"sessions/status"}, "update", "patch"),
		rule(group, []string{"approvalrequests"}, "create"),
		rule(group, []string{"approvalrequests/status"}, "update"),
		rule(group, []string{"targets/status"}, "patch"),
		// A ValidatingAdmissionPolicy holds these to immutable recordings by name and label.
		rule("", []string{"configmaps"}, "create"),
	}
	if len(g.Secrets) > 0 {
		rules = append(rules, rule("", []string{"secrets"}, "get").WithResourceNames(g.Secrets...))
	}
	if len(g.ConfigMaps) > 0 {
		rules = append(rules, rule("", []string{"configmaps"}, "get").WithResourceNames(g.ConfigMaps...))
	}
	return rbacv1ac.Role(v1alpha1.ProxyName, g.Namespace).WithLabels(Labels(g.Namespace)).WithRules(rules...)
}

// RoleBinding binds Role to the proxy's account.
func RoleBinding(g Gate) *rbacv1ac.RoleBindingApplyConfiguration {
	return binding(g, v1alpha1.ProxyName, g.Namespace)
}

// RootRole returns what the proxy may do in the root namespace: read the rules,
// policies and locks that apply to every gate.
func RootRole(g Gate) *rbacv1ac.RoleApplyConfiguration {
	return rbacv1ac.Role(RootName(g.Namespace), g.RootNamespace).
		WithLabels(Labels(g.Namespace)).
		WithRules(rule(v1alpha1.GroupVersion.Group, []string{"accesslocks", "accesspolicies", "commandrules", "maskingrules"}, "get", "list", "watch"))
}

// RootRoleBinding binds RootRole to the proxy's account.
func RootRoleBinding(g Gate) *rbacv1ac.RoleBindingApplyConfiguration {
	return binding(g, RootName(g.Namespace), g.RootNamespace)
}

func binding(g Gate, name, namespace string) *rbacv1ac.RoleBindingApplyConfiguration {
	return rbacv1ac.RoleBinding(name, namespace).
		WithLabels(Labels(g.Namespace)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(name)).
		WithSubjects(rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).
			WithName(v1alpha1.ProxyName).WithNamespace(g.Namespace))
}

func rule(group string, resources []string, verbs ...string) *rbacv1ac.PolicyRuleApplyConfiguration {
	return rbacv1ac.PolicyRule().WithAPIGroups(group).WithResources(resources...).WithVerbs(verbs...)
}
