// Package rights tries what the operator's own account may do with its rights, and who may
// offer roles in a Target, by the RBAC and the admission policies that an installation
// applies.
package rights

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/wrappers"
)

const gate = "shop-gate"

var (
	cluster  *apiserver.Cluster
	operator = apiserver.User{Name: apiserver.Operator}
	alice    = apiserver.User{Name: "alice"} // may write Targets
	carol    = apiserver.User{Name: "carol"} // may also bind the ClusterRole view and every Role
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if cluster, err = apiserver.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func prepare(ctx context.Context) error {
	c, err := cluster.Admin()
	if err != nil {
		return err
	}
	objects := []client.Object{apiserver.Namespace(gate), apiserver.Namespace("shop"), apiserver.Namespace(apiserver.OperatorNamespace)}
	for user, rules := range map[string][]rbacv1.PolicyRule{
		"alice": {{APIGroups: []string{"access.cardea.dev"}, Resources: []string{"targets"}, Verbs: []string{"*"}}},
		"carol": {
			{APIGroups: []string{"access.cardea.dev"}, Resources: []string{"targets"}, Verbs: []string{"*"}},
			{APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"clusterroles"}, ResourceNames: []string{"view"}, Verbs: []string{"bind"}},
			{APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"roles"}, Verbs: []string{"bind"}},
		},
	} {
		objects = append(objects,
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules},
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
				Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}})
	}
	for _, o := range objects {
		if err := c.Create(ctx, o); err != nil {
			return err
		}
	}
	for _, folder := range []string{"rbac", "admission"} {
		if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", folder)); err != nil {
			return err
		}
	}
	// Policies take effect a moment after they are stored.
	for name, probe := range map[string]func() error{
		"may not bind":       func() error { return try(ctx, alice, target(view)) },
		"the operator makes": func() error { return try(ctx, operator, impersonation("cardea-proxy-"+gate, "alice")) },
	} {
		var last error
		if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) {
			last = probe()
			return last != nil && strings.Contains(last.Error(), name), nil
		}); err != nil {
			return fmt.Errorf("wait for the policy that says %q: %w (last answer: %w)", name, err, last)
		}
	}
	return nil
}

// try creates o in a dry run.
func try(ctx context.Context, u apiserver.User, o client.Object) error {
	c, err := cluster.As(u)
	if err != nil {
		return err
	}
	return c.Create(ctx, o, client.DryRunAll)
}

var (
	view     = v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: "view"}
	admin    = v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: "cluster-admin"}
	deployer = v1alpha1.RoleReference{Kind: v1alpha1.RoleKindRole, Name: "deployer"}
)

func target(roles ...v1alpha1.RoleReference) *v1alpha1.Target {
	t := wrappers.MakeTarget(gate, "cluster").Obj()
	t.Spec.Postgres, t.Spec.Kubernetes = nil, &v1alpha1.KubernetesTarget{Roles: roles}
	return t
}

func elsewhere(t *v1alpha1.Target) *v1alpha1.Target {
	t.Spec.Kubernetes.Server = &v1alpha1.KubernetesServer{URL: "https://10.0.0.1", CredentialRef: v1alpha1.ObjectName{Name: "other"}}
	return t
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Error(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%v, want %q", err, want)
	}
}

// TestTargetRoles: whoever offers a role must be allowed to bind it.
func TestTargetRoles(t *testing.T) {
	last := make([]v1alpha1.RoleReference, 16)
	for i := range last {
		last[i] = v1alpha1.RoleReference{Kind: v1alpha1.RoleKindRole, Name: fmt.Sprintf("role-%d", i)}
	}
	worst := append(append([]v1alpha1.RoleReference{}, last[:15]...), admin)
	for name, tc := range map[string]struct {
		by   apiserver.User
		t    *v1alpha1.Target
		want string
	}{
		"one that may bind":                   {carol, target(view, deployer), ""},
		"one that may not":                    {alice, target(view), "spec.kubernetes.roles[0]: you may not bind ClusterRole view"},
		"one that may bind another":           {carol, target(view, admin), "spec.kubernetes.roles[1]: you may not bind ClusterRole cluster-admin"},
		"a Role by the name of a ClusterRole": {alice, target(v1alpha1.RoleReference{Kind: v1alpha1.RoleKindRole, Name: "view"}), "you may not bind Role view"},
		"sixteen":                             {carol, target(last...), ""},
		"the sixteenth":                       {carol, target(worst...), "spec.kubernetes.roles[15]: you may not bind ClusterRole cluster-admin"},
		"another cluster's":                   {alice, elsewhere(target(admin)), ""},
		"a database":                          {alice, wrappers.MakeTarget(gate, "db").Obj(), ""},
	} {
		t.Run(name, func(t *testing.T) { check(t, try(t.Context(), tc.by, tc.t), tc.want) })
	}
}

// TestTargetRolesAtUpdates: what was offered stays offered, whoever writes the rest.
func TestTargetRolesAtUpdates(t *testing.T) {
	ctx := t.Context()
	for name, tc := range map[string]struct {
		before *v1alpha1.Target
		change func(*v1alpha1.Target)
		want   string
	}{
		"a label":            {target(view), func(t *v1alpha1.Target) { t.Labels = map[string]string{"tier": "prod"} }, ""},
		"a role more":        {target(view), func(t *v1alpha1.Target) { t.Spec.Kubernetes.Roles = append(t.Spec.Kubernetes.Roles, admin) }, "may not bind"},
		"another role":       {target(view), func(t *v1alpha1.Target) { t.Spec.Kubernetes.Roles[0] = admin }, "may not bind"},
		"from elsewhere":     {elsewhere(target(admin)), func(t *v1alpha1.Target) { t.Spec.Kubernetes.Server = nil }, "may not bind"},
		"from a database":    {wrappers.MakeTarget(gate, "db").Obj(), func(t *v1alpha1.Target) { t.Spec = target(admin).Spec }, "may not bind"},
		"the kind of a role": {target(deployer), func(t *v1alpha1.Target) { t.Spec.Kubernetes.Roles[0].Kind = v1alpha1.RoleKindClusterRole }, "may not bind"},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := cluster.Admin()
			if err != nil {
				t.Fatal(err)
			}
			tc.before.Name = ""
			tc.before.GenerateName = "cluster-"
			if err := root.Create(ctx, tc.before); err != nil {
				t.Fatal(err)
			}
			c, err := cluster.As(alice)
			if err != nil {
				t.Fatal(err)
			}
			tc.change(tc.before)
			err = c.Update(ctx, tc.before, client.DryRunAll)
			if err != nil && strings.Contains(err.Error(), "immutable") && tc.want != "" {
				return // refused by the schema already
			}
			check(t, err, tc.want)
		})
	}
}

func impersonation(name string, users ...string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: users}}}
}

func binding(name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	kind := "ClusterRole"
	if strings.HasPrefix(role, "Role/") {
		kind, role = "Role", role[5:]
	}
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}, Subjects: subjects}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: subjects}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

// TestOperatorRights: the operator binds and lets impersonate what stands for grants, and
// nothing else, though RBAC alone would let it.
func TestOperatorRights(t *testing.T) {
	const grantUser = "cardea:grant:shop-gate:report:1b7e"
	proxy := "cardea-proxy-" + gate
	aggregated := impersonation(proxy, grantUser)
	aggregated.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	more := impersonation(proxy, grantUser)
	more.Rules = append(more.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
	groups := impersonation(proxy, grantUser)
	groups.Rules[0].Resources = []string{"users", "groups"}
	paths := impersonation(proxy, grantUser)
	paths.Rules = append(paths.Rules, rbacv1.PolicyRule{NonResourceURLs: []string{"*"}, Verbs: []string{"impersonate"}})
	for name, tc := range map[string]struct {
		o    client.Object
		want string
	}{
		"impersonation of a grant":            {impersonation(proxy, grantUser), ""},
		"of somebody":                         {impersonation(proxy, grantUser, "alice"), "the operator makes ClusterRoles only"},
		"of everybody":                        {impersonation(proxy), "the operator makes ClusterRoles only"},
		"of a grant of another gate":          {impersonation(proxy, "cardea:grant:bank-gate:report:1b7e"), "the operator makes ClusterRoles only"},
		"by another name":                     {impersonation("admin2", grantUser), "the operator makes ClusterRoles only"},
		"of groups":                           {groups, "the operator makes ClusterRoles only"},
		"and more":                            {more, "the operator makes ClusterRoles only"},
		"and paths":                           {paths, "the operator makes ClusterRoles only"},
		"aggregated":                          {aggregated, "the operator makes ClusterRoles only"},
		"the binding to the proxy":            {clusterBinding(proxy, proxy, account(gate, "cardea-proxy")), ""},
		"to another gate's proxy":             {clusterBinding(proxy, proxy, account("bank-gate", "cardea-proxy")), "binds at cluster scope only"},
		"to a user":                           {clusterBinding(proxy, proxy, user("alice")), "binds at cluster scope only"},
		"of cluster-admin":                    {clusterBinding(proxy, "cluster-admin", account(gate, "cardea-proxy")), "binds at cluster scope only"},
		"the binding of a grant":              {binding("cardea-grant-1b7e", "view", user(grantUser)), ""},
		"of a grant's Role":                   {binding("cardea-grant-1b7e", "Role/deployer", user(grantUser)), ""},
		"to somebody":                         {binding("cardea-grant-1b7e", "view", user("alice")), "the operator binds roles to users that stand for grants"},
		"to a grant and somebody":             {binding("cardea-grant-1b7e", "view", user(grantUser), user("alice")), "the operator binds roles"},
		"to itself":                           {binding("cardea-grant-1b7e", "cluster-admin", account("cardea-system", "cardea-operator")), "the operator binds roles"},
		"to a group":                          {binding("cardea-grant-1b7e", "view", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "cardea:grant:x"}), "the operator binds roles"},
		"to a proxy, of a ClusterRole":        {binding("cardea-proxy", "cluster-admin", account(gate, "cardea-proxy")), "the operator binds roles"},
		"to a proxy, of the proxy's own Role": {binding("cardea-proxy", "Role/cardea-proxy", account(gate, "cardea-proxy")), ""},
		"a Role of another name":              {&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}}, "the operator makes Roles for proxies alone"},
	} {
		t.Run(name, func(t *testing.T) { check(t, try(t.Context(), operator, tc.o), tc.want) })
	}
}
