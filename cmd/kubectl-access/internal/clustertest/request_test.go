package clustertest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// offered makes the Targets that can be asked for, one of each kind.
func offered(t *testing.T) {
	t.Helper()
	host := wrappers.MakeTarget(gate, "ask-host").Obj()
	host.Spec.Postgres, host.Spec.SSH = nil, &v1alpha1.SSHTarget{Host: "host.example", Logins: []string{"deploy"},
		HostKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjuBYZOeTMYaX8z7fcWYOogL2ZSHWFn9u3bBhW8QqKl"},
		Key:      &v1alpha1.SSHKey{SecretRef: v1alpha1.ObjectName{Name: "host-key"}}}
	api := wrappers.MakeTarget(gate, "ask-cluster").Obj()
	api.Spec.Postgres, api.Spec.Kubernetes = nil, &v1alpha1.KubernetesTarget{Roles: []v1alpha1.RoleReference{{Kind: v1alpha1.RoleKindClusterRole, Name: "view"}}}
	for _, target := range []*v1alpha1.Target{wrappers.MakeTarget(gate, "ask-db").Obj(), host, api} {
		if err := as(t, alice).Create(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = as(t, alice).Delete(context.Background(), target) })
	}
}

func TestRequest(t *testing.T) {
	offered(t)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for name, tc := range map[string]struct {
		args string
		want v1alpha1.AccessGrantSpec
		err  string
	}{
		"PostgreSQL": {args: "ask-db --database orders,report_* --access ReadWrite --duration 2h --reason OPS-1", want: v1alpha1.AccessGrantSpec{
			Subject:  v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "alice"},
			Duration: &metav1.Duration{Duration: 2 * time.Hour}, Postgres: &v1alpha1.PostgresPermissions{Databases: []string{"orders", "report_*"}, Access: v1alpha1.AccessReadWrite}}},
		"an hour, to read": {args: "ask-db --database orders --reason OPS-1 --for ServiceAccount/shop/agent", want: v1alpha1.AccessGrantSpec{
			Subject:  v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "agent"},
			Duration: &metav1.Duration{Duration: time.Hour}, Postgres: &v1alpha1.PostgresPermissions{Databases: []string{"orders"}, Access: v1alpha1.AccessReadOnly}}},
		"Kubernetes": {args: "ask-cluster --in shop --role ClusterRole/view --exec Gated --until " + until.Format(time.RFC3339) + " --reason OPS-1 --for User/dana", want: v1alpha1.AccessGrantSpec{
			Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "dana"}, ExpiresAt: &metav1.Time{Time: until},
			Kubernetes: &v1alpha1.KubernetesPermissions{Namespaces: []string{"shop"}, RoleRef: v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: "view"}, Exec: v1alpha1.ExecGated, Secrets: v1alpha1.SecretsDenied}}},
		"SSH": {args: "ask-host --login deploy --channel Exec,SFTP --reason OPS-1", want: v1alpha1.AccessGrantSpec{
			Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "alice"}, Duration: &metav1.Duration{Duration: time.Hour},
			SSH: &v1alpha1.SSHPermissions{Logins: []string{"deploy"}, Channels: []v1alpha1.SSHChannel{v1alpha1.SSHExec, v1alpha1.SSHSFTP}, Terminal: v1alpha1.SSHGated}}},
		"no Target":        {args: "--reason x", err: "name the Target"},
		"an unknown one":   {args: "nothing --reason x", err: `no Target "nothing"`},
		"no reason":        {args: "ask-db --database orders", err: "say why"},
		"nothing wanted":   {args: "ask-db --reason x", err: "--database"},
		"of another kind":  {args: "ask-host --database orders --reason x", err: "another kind than the flags: it takes --login"},
		"of two kinds":     {args: "ask-db --database orders --login x --reason x", err: "more than one kind"},
		"nobody":           {args: "ask-db --database orders --reason x --for Group/dba", err: "names nobody"},
		"two ends":         {args: "ask-db --database orders --reason x --duration 1h --until 2030-01-01T00:00:00Z", err: "leave one out"},
		"no time":          {args: "ask-db --database orders --reason x --until tomorrow", err: "no time in RFC 3339"},
		"an unknown level": {args: "ask-db --database orders --reason x --access All", err: "supported values"},
		"an unknown form":  {args: "ask-db --database orders --reason x -o xml", err: "choose json"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"request"}, strings.Fields(tc.args)...)
			if tc.err == "" {
				args = append(args, "-o", "json")
			}
			code, out, errOut := plugin(alice, args...)
			if tc.err != "" {
				if code != 1 || !strings.Contains(errOut, tc.err) {
					t.Errorf("exit %d\n%s%s", code, out, errOut)
				}
				return
			}
			printed := &v1alpha1.AccessGrant{}
			if err := json.Unmarshal([]byte(out), printed); code != 0 || err != nil || !strings.HasPrefix(printed.Name, strings.Fields(tc.args)[0]+"-") {
				t.Fatalf("exit %d, %v\n%s%s", code, err, out, errOut)
			}
			g := &v1alpha1.AccessGrant{}
			if err := as(t, operator).Get(t.Context(), client.ObjectKeyFromObject(printed), g); err != nil {
				t.Fatal(err)
			}
			tc.want.TargetRef.Name, tc.want.Reason, tc.want.DesiredState, tc.want.Credentials = strings.Fields(tc.args)[0], "OPS-1", v1alpha1.GrantActive, g.Spec.Credentials
			if diff := cmp.Diff(tc.want, g.Spec); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, out, errOut := plugin(alice, "request", "ask-db", "--database=orders", "--reason=x", "--name=dry", "--dry-run"); !strings.Contains(out, "kind: AccessGrant") || errOut != "" {
		t.Errorf("%s%s", out, errOut)
	}
	if err := as(t, operator).Get(t.Context(), client.ObjectKey{Namespace: gate, Name: "dry"}, &v1alpha1.AccessGrant{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("--dry-run made a grant: %v", err)
	}
}

func TestRequestWaits(t *testing.T) {
	offered(t)
	yes, no, unknown := metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	for name, tc := range map[string]struct {
		ready, stalled, approved metav1.ConditionStatus
		reason                   string
		code                     int
		says                     string
	}{
		"active":            {ready: yes, reason: v1alpha1.ReasonActive, says: "active until"},
		"denied":            {ready: no, stalled: yes, reason: v1alpha1.ReasonDenied, code: 3, says: "Denied: because"},
		"against a policy":  {ready: no, stalled: yes, reason: v1alpha1.ReasonPolicyViolated, code: 3, says: "PolicyViolated: because"},
		"revoked":           {ready: yes, reason: v1alpha1.ReasonRevoked, code: 3, says: "Revoked: because"},
		"not approved yet":  {ready: unknown, approved: unknown, reason: v1alpha1.ReasonPending, code: 4, says: "waiting: Pending: because"},
		"something is off":  {ready: no, reason: v1alpha1.ReasonTargetNotReady, code: 1, says: "is not active yet"},
		"no operator there": {code: 1, says: "waiting for the operator"},
	} {
		t.Run(name, func(t *testing.T) {
			grant := "waits-" + strings.ReplaceAll(name, " ", "-")
			answered := make(chan error, 1)
			go func() {
				answered <- poll(t.Context(), func() bool {
					g := &v1alpha1.AccessGrant{}
					c, err := cluster.As(operator)
					if err != nil || c.Get(t.Context(), client.ObjectKey{Namespace: gate, Name: grant}, g) != nil {
						return false
					}
					g.Status.ExpiresAt = &metav1.Time{Time: time.Now().Add(time.Hour)}
					for kind, status := range map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: tc.ready, v1alpha1.ConditionStalled: tc.stalled, v1alpha1.ConditionApproved: tc.approved} {
						if status != "" {
							g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: tc.reason, Message: "because",
								ObservedGeneration: g.Generation, LastTransitionTime: metav1.Now()})
						}
					}
					return c.Status().Update(t.Context(), g) == nil
				})
			}()
			timeout := "5m"
			if tc.code == 1 || tc.code == 4 {
				timeout = "3s"
			}
			code, out, errOut := plugin(alice, "request", "ask-db", "--database=orders", "--reason=x", "--name="+grant, "--wait", "--timeout="+timeout)
			if err := <-answered; err != nil {
				t.Fatal(err)
			}
			if code != tc.code || !strings.Contains(out+errOut, tc.says) {
				t.Errorf("exit %d\n%s%s", code, out, errOut)
			}
		})
	}
}
