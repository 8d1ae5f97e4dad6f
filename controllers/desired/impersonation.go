package desired

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// OwnCluster reports whether a Target is the API server of the cluster that the operator runs
// in: there it binds roles itself.
func OwnCluster(t *v1alpha1.Target) bool {
	return t.Spec.Kubernetes != nil && t.Spec.Kubernetes.Server == nil
}

// GrantBindingName names the RoleBindings of one incarnation of a grant.
func GrantBindingName(uid types.UID) string { return "cardea-grant-" + string(uid) }

// GrantBinding returns what gives a grant its role in one of its namespaces: to the user that
// stands for this incarnation of the grant, and exists by name alone.
func GrantBinding(g *v1alpha1.AccessGrant, namespace string) *rbacv1.RoleBinding {
	role := g.Spec.Kubernetes.RoleRef
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: GrantBindingName(g.UID), Labels: map[string]string{
			LabelPartOf: PartOf, LabelManagedBy: ManagedBy,
			v1alpha1.LabelGate: g.Namespace, v1alpha1.LabelGrant: g.Name, v1alpha1.LabelGrantUID: string(g.UID),
		}},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: string(role.Kind), Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: kubeapi.User(g.Namespace, g.Name, string(g.UID))}},
	}
}

// ImpersonationRole returns the right of a gate's proxy to impersonate the users of its
// grants; nil for none. A rule without resourceNames would be about every user.
func ImpersonationRole(g Gate) *rbacv1ac.ClusterRoleApplyConfiguration {
	if len(g.Users) == 0 {
		return nil
	}
	return rbacv1ac.ClusterRole(RootName(g.Namespace)).
		WithLabels(Labels(g.Namespace)).
		WithRules(rule("", []string{"users"}, "impersonate").WithResourceNames(slices.Clone(g.Users)...))
}

// ImpersonationBinding binds ImpersonationRole to the proxy's account.
func ImpersonationBinding(g Gate) *rbacv1ac.ClusterRoleBindingApplyConfiguration {
	return rbacv1ac.ClusterRoleBinding(RootName(g.Namespace)).
		WithLabels(Labels(g.Namespace)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(RootName(g.Namespace))).
		WithSubjects(rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).WithName(v1alpha1.ProxyName).WithNamespace(g.Namespace))
}
