// Package personas tries what each shipped ClusterRole can do and, above all, cannot, with
// the real client and RBAC.
package personas

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

const gate = "shop-gate"

// personas are bound to groups of their own names, in the gate namespace.
var personas = []string{"cardea-admin", "cardea-policy-editor", "cardea-requester", "cardea-approver", "cardea-auditor", "cardea-custodian"}

var (
	cluster *apiserver.Cluster
	admin   client.Client
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
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// prepare installs the roles as config/rbac has them, and binds each.
func prepare() error {
	ctx := context.Background()
	var err error
	if admin, err = cluster.Admin(); err != nil {
		return err
	}
	for _, name := range []string{gate, "other"} {
		if err := admin.Create(ctx, apiserver.Namespace(name)); err != nil {
			return err
		}
	}
	for _, file := range []string{"admin_role.yaml", "policy_editor_role.yaml", "requester_role.yaml", "approver_role.yaml", "auditor_role.yaml", "custodian_role.yaml"} {
		if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "-f", apiserver.Root("config", "rbac", file)); err != nil {
			return err
		}
	}
	for _, name := range personas {
		b := &rbacv1.RoleBinding{
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}},
		}
		b.Name, b.Namespace = name, gate
		if err := admin.Create(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// kinds of the API, and what else a persona might reach for.
var (
	declared = []string{"targets", "maskingrules", "commandrules", "recordingstores", "accesspolicies", "accessgrants", "accesslocks", "accessproxies"}
	own      = append([]string{"sessions", "approvalrequests"}, declared...)
	foreign  = []string{"/secrets", "/configmaps", "/pods", "/pods/exec", "/serviceaccounts", "/serviceaccounts/token", "/events",
		"apps/deployments", "rbac.authorization.k8s.io/roles", "rbac.authorization.k8s.io/rolebindings", "coordination.k8s.io/leases"}
	verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	read  = []string{"get", "list", "watch"}
)

// TestRights compares the whole matrix of kinds and verbs with what each role is meant to
// give: a right too many fails as one too few does.
func TestRights(t *testing.T) {
	t.Parallel()
	write := []string{"create", "update", "patch", "delete"}
	cases := map[string]map[string][]string{
		"cardea-admin": {
			"targets": verbs, "maskingrules": verbs, "commandrules": verbs, "recordingstores": verbs, "accesspolicies": verbs, "accessgrants": verbs, "accesslocks": verbs, "accessproxies": verbs,
			"sessions": append([]string{"update", "patch"}, read...), "approvalrequests": read,
		},
		"cardea-policy-editor": {
			"targets": append(write, read...), "maskingrules": append(write, read...), "commandrules": append(write, read...), "recordingstores": append(write, read...), "accesspolicies": append(write, read...),
			"accessgrants": read, "accesslocks": read,
		},
		"cardea-requester": {"accessgrants": append(write, read...), "targets": read, "accesspolicies": read, "approvalrequests": read},
		"cardea-approver": {
			"approvalrequests/status": {"get", "update", "patch"},
			"approvalrequests":        read, "accessgrants": read, "targets": read, "sessions": read,
		},
		"cardea-auditor": {
			"targets": read, "maskingrules": read, "commandrules": read, "recordingstores": read, "accesspolicies": read, "accessgrants": read, "accesslocks": read, "accessproxies": read,
			"approvalrequests": read, "sessions": read, "/configmaps": read,
		},
		"cardea-custodian": {"sessions": append([]string{"patch", "release"}, read...), "recordingstores": append([]string{"release"}, read...)},
	}
	for _, persona := range personas {
		t.Run(persona, func(t *testing.T) {
			t.Parallel()
			want, ok := cases[persona]
			if !ok {
				t.Fatal("no rights are stated for the role")
			}
			var resources []string
			for _, kind := range own {
				resources = append(resources, kind, kind+"/status")
			}
			for _, resource := range append(resources, foreign...) {
				for _, verb := range append([]string{"release"}, verbs...) {
					has := contains(want[resource], verb)
					if got := may(t, persona, verb, resource, gate); got != has {
						t.Errorf("may %s %s: %v, want %v", verb, resource, got, has)
					}
					if may(t, persona, verb, resource, "other") {
						t.Errorf("may %s %s in a namespace where the role is not bound", verb, resource)
					}
				}
			}
		})
	}
}

// may asks the API server's authorizer.
func may(t *testing.T, persona, verb, resource, namespace string) bool {
	t.Helper()
	group := "access.cardea.dev"
	if head, rest, ok := strings.Cut(resource, "/"); ok && rest != "status" {
		group, resource = head, rest
	}
	resource, subresource, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "somebody", Groups: []string{persona, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: group, Version: "*", Resource: resource, Subresource: subresource, Name: "x",
		},
	}}
	if err := admin.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func contains(list []string, item string) bool {
	for _, i := range list {
		if i == item {
			return true
		}
	}
	return false
}

// TestAggregation: only asking for access comes with Kubernetes' own edit role.
func TestAggregation(t *testing.T) {
	for _, persona := range personas {
		var role rbacv1.ClusterRole
		if err := admin.Get(t.Context(), client.ObjectKey{Name: persona}, &role); err != nil {
			t.Fatal(err)
		}
		for label := range role.Labels {
			if strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-") &&
				!(persona == "cardea-requester" && label == "rbac.authorization.k8s.io/aggregate-to-edit") {
				t.Errorf("%s carries %s", persona, label)
			}
		}
		if persona == "cardea-requester" && role.Labels["rbac.authorization.k8s.io/aggregate-to-edit"] != "true" {
			t.Error("cardea-requester does not aggregate into edit")
		}
	}
}

// TestWork does each persona's work with a real client.
func TestWork(t *testing.T) {
	request := apiserver.Object(apiserver.ApprovalRequest, "")
	if err := admin.Create(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	patch := func(t *testing.T, persona, what, body string, flags ...string) error {
		t.Helper()
		kind, name, _ := strings.Cut(what, "/")
		_, err := cluster.Kubectl(apiserver.User{Name: "somebody", Groups: []string{persona}}, "",
			append([]string{"patch", kind, name, "-n", gate, "--type=merge", "-p", body}, flags...)...)
		return err
	}
	create := func(t *testing.T, persona, manifest string) error {
		t.Helper()
		c, err := cluster.As(apiserver.User{Name: "somebody", Groups: []string{persona}})
		if err != nil {
			t.Fatal(err)
		}
		return c.Create(t.Context(), apiserver.Object(manifest, ""))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	mustNot := func(err error) {
		t.Helper()
		if err == nil || !apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("want Forbidden, got %v", err)
		}
	}
	must(create(t, "cardea-requester", apiserver.Grant))
	mustNot(create(t, "cardea-requester", apiserver.Target))
	must(create(t, "cardea-policy-editor", apiserver.Target))
	mustNot(create(t, "cardea-policy-editor", apiserver.Lock))
	must(create(t, "cardea-admin", apiserver.Lock))
	mustNot(create(t, "cardea-auditor", apiserver.Recording))

	must(patch(t, "cardea-approver", "apreq/x7k2p", `{"status":{"decisions":[{"approver":"somebody","decision":"Approved"}]}}`, "--subresource=status"))
	mustNot(patch(t, "cardea-requester", "apreq/x7k2p", `{"status":{"decisions":[{"approver":"else","decision":"Approved"}]}}`, "--subresource=status"))
	mustNot(patch(t, "cardea-admin", "apreq/x7k2p", `{"status":{"decisions":[{"approver":"else","decision":"Approved"}]}}`, "--subresource=status"))
	mustNot(patch(t, "cardea-approver", "agrant/report-agent", `{"spec":{"desiredState":"Revoked"}}`))
	mustNot(patch(t, "cardea-admin", "agrant/report-agent", `{"status":{"observedGeneration":9}}`, "--subresource=status"))
	must(patch(t, "cardea-requester", "agrant/report-agent", `{"spec":{"desiredState":"Revoked"}}`))
}
