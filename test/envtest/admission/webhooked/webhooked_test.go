// Package webhooked tries admission as people meet it: the operator's webhooks are served,
// and the policies behind them hold.
package webhooked

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/webhooks"
)

const gate = "shop-gate"

var (
	cluster *apiserver.Cluster
	admin   client.Client

	proxy = apiserver.User{Name: apiserver.Proxy(gate)}
	alice = apiserver.User{Name: "alice", Groups: []string{"dba"}}
	dora  = apiserver.User{Name: "dora", Groups: []string{"dba"}}
	dan   = apiserver.User{Name: "dan", Groups: []string{"dba", "on-call"}}
	eve   = apiserver.User{Name: "eve", Groups: []string{"developers"}}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	var err error
	if cluster, err = apiserver.Start(apiserver.Root("config", "webhook", "mutating.yaml"), apiserver.Root("config", "webhook", "validating.yaml")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		cancel()
		return 1
	}
	defer func() {
		cancel()
		if err := errors.Join(<-stopped, cluster.Stop()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if err := serve(ctx, stopped); err != nil {
		stopped <- nil
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// serve runs the webhooks as the operator does.
func serve(ctx context.Context, stopped chan<- error) error {
	mgr, err := ctrl.NewManager(cluster.Config, ctrl.Options{
		Scheme:  cluster.Scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: cluster.Webhook.LocalServingHost, Port: cluster.Webhook.LocalServingPort, CertDir: cluster.Webhook.LocalServingCertDir,
		}),
	})
	if err != nil {
		return err
	}
	if err := webhooks.SetupWithManager(mgr, "cardea-system"); err != nil {
		return err
	}
	go func() { stopped <- mgr.Start(ctx) }()
	started := mgr.GetWebhookServer().StartedChecker()
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) {
		return started(nil) == nil, nil
	})
}

// prepare installs the policies and waits for both them and the webhooks.
func prepare(ctx context.Context) error {
	var err error
	if admin, err = cluster.Admin(); err != nil {
		return err
	}
	for _, o := range []client.Object{apiserver.AllowAll(), apiserver.Namespace(gate), apiserver.Namespace("shop")} {
		if err := admin.Create(ctx, o); err != nil {
			return err
		}
	}
	if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", "admission")); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) {
		c, err := cluster.As(eve)
		if err != nil {
			return false, err
		}
		// A grant that is refused for its creator alone shows the policy, one that is accepted
		// without a creator shows the webhook.
		forged := c.Create(ctx, apiserver.Object(apiserver.Grant, `{metadata: {annotations: {access.cardea.dev/created-by: x}}}`), client.DryRunAll)
		stamped := c.Create(ctx, apiserver.Object(apiserver.Grant, ""), client.DryRunAll)
		return forged != nil && stamped == nil, nil
	})
}

// kubectl runs the real one.
func kubectl(t *testing.T, u apiserver.User, stdin string, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(u, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// approve is the command of the documentation, letter by letter but for the name.
func approve(u apiserver.User, name, decision string) error {
	_, err := cluster.Kubectl(u, "", "patch", "apreq", name, "-n", "shop-gate", "--subresource=status", "--type=merge",
		"-p", `{"status":{"decisions":[{"decision":"`+decision+`","comment":"ok"}]}}`)
	return err
}

// ask makes a request as the proxy does.
func ask(t *testing.T, patch string) *v1alpha1.ApprovalRequest {
	t.Helper()
	c, err := cluster.As(proxy)
	if err != nil {
		t.Fatal(err)
	}
	o := apiserver.Object(apiserver.ApprovalRequest, patch)
	o.SetName("")
	o.SetGenerateName("x7k2p-")
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return decided(t, o.GetName())
}

// decided reads a request.
func decided(t *testing.T, name string) *v1alpha1.ApprovalRequest {
	t.Helper()
	var r v1alpha1.ApprovalRequest
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: gate, Name: name}, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// says fails the test unless err says want; an empty want expects success.
func says(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want an error that says %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one that says %q", err, want)
	}
}

func TestApproveByKubectl(t *testing.T) {
	r := ask(t, `{spec: {required: 2}}`)
	began := time.Now().Add(-2 * time.Second)
	says(t, approve(dora, r.Name, "Approved"), "")
	says(t, approve(dora, r.Name, "Approved"), "") // the same again is the same
	first := decided(t, r.Name).Status.Decisions
	says(t, approve(dora, r.Name, "Denied"), "you have decided on this request already")
	says(t, approve(alice, r.Name, "Approved"), "its creator never approve")
	says(t, approve(eve, r.Name, "Approved"), "you are not among spec.approvers")
	says(t, approve(dan, r.Name, "Approved"), "")

	got := decided(t, r.Name).Status.Decisions
	if len(got) != 2 || len(first) != 1 {
		t.Fatalf("decisions: %v, then %v", first, got)
	}
	if diff := cmp.Diff(first[0], got[0]); diff != "" {
		t.Errorf("the first decision changed (-before +after):\n%s", diff)
	}
	want := v1alpha1.ApprovalDecision{Approver: "dan", Groups: []string{"dba", "on-call", "system:authenticated"}, Decision: v1alpha1.DecisionApproved, Comment: "ok"}
	stamp := got[1].Time
	got[1].Time = nil
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
	if stamp == nil || stamp.Time.Before(began) || stamp.After(time.Now().Add(time.Second)) {
		t.Errorf("the decision's time is %v", stamp)
	}
}

func TestDecisionClosed(t *testing.T) {
	lapsed := ask(t, `{spec: {expiresAt: "2026-01-01T00:00:00Z"}}`)
	says(t, approve(dora, lapsed.Name, "Approved"), "it lapsed at 2026-01-01T00:00:00Z")

	withdrawn := ask(t, "")
	kubectl(t, proxy, "", "patch", "apreq", withdrawn.Name, "-n", gate, "--subresource=status", "--type=merge", "-p", `{"status":{"withdrawnAt":"2026-01-01T00:00:00Z"}}`)
	says(t, approve(dora, withdrawn.Name, "Approved"), "the client that waited is gone")

	used := ask(t, "")
	says(t, approve(dora, used.Name, "Approved"), "")
	kubectl(t, proxy, "", "patch", "apreq", used.Name, "-n", gate, "--subresource=status", "--type=merge",
		"-p", `{"status":{"consumed":{"session":"report-agent-abcde","time":"2026-01-01T00:00:00Z"}}}`)
	says(t, approve(dan, used.Name, "Approved"), "its approval has been used")
}

// TestDecisionInFull sends what is sent while the operator is down: the webhook adds nothing
// and hides nothing.
func TestDecisionInFull(t *testing.T) {
	patches := map[string]struct {
		as          apiserver.User
		patch, want string
	}{
		"in full":              {dora, `[{"approver":"dora","groups":["dba","system:authenticated"],"decision":"Approved"}]`, ""},
		"as somebody else":     {eve, `[{"approver":"dora","groups":["dba","system:authenticated"],"decision":"Approved"}]`, "must be your own user name"},
		"mine and another's":   {dora, `[{"decision":"Approved"},{"approver":"dan","groups":["dba"],"decision":"Approved"}]`, "one decision at a time"},
		"two of mine":          {dora, `[{"decision":"Approved"},{"decision":"Denied"}]`, "Duplicate value"},
		"with invented groups": {eve, `[{"decision":"Approved","groups":["dba"]}]`, "you are not among spec.approvers"},
		"with an old time":     {dora, `[{"decision":"Approved","time":"2020-01-01T00:00:00Z"}]`, ""},
		"no list":              {dora, `"yes"`, "status.decisions"},
		"no objects":           {dora, `["yes"]`, "status.decisions"},
	}
	for name, c := range patches {
		t.Run(name, func(t *testing.T) {
			r := ask(t, "")
			_, err := cluster.Kubectl(c.as, "", "patch", "apreq", r.Name, "-n", gate, "--subresource=status", "--type=merge", "-p", `{"status":{"decisions":`+c.patch+`}}`)
			says(t, err, c.want)
			for _, d := range decided(t, r.Name).Status.Decisions {
				if d.Time != nil && d.Time.Year() == 2020 {
					t.Error("the approver chose the time")
				}
			}
		})
	}
}

func TestGrantStamped(t *testing.T) {
	c, err := cluster.As(alice)
	if err != nil {
		t.Fatal(err)
	}
	o := apiserver.Object(apiserver.Grant, `{metadata: {name: stamped}}`)
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := o.GetAnnotations()[v1alpha1.AnnotationCreatedBy]; got != "alice" {
		t.Errorf("created by %q", got)
	}
	if spec := o.Object["spec"].(map[string]any); spec["duration"] != "60m" {
		t.Errorf("the duration was rewritten to %v", spec["duration"])
	}
	says(t, c.Create(t.Context(), apiserver.Object(apiserver.Grant, `{metadata: {name: forged, annotations: {access.cardea.dev/created-by: eve}}}`)),
		"remove the annotation and the operator fills it in")
	kubectl(t, eve, "", "patch", "agrant", "stamped", "-n", gate, "--type=merge", "-p", `{"spec":{"desiredState":"Revoked"}}`)
}

// TestApplyTwice shows that the stamp does not make kubectl apply churn.
func TestApplyTwice(t *testing.T) {
	for how, args := range map[string][]string{"client": {"apply", "-f", "-"}, "server": {"apply", "--server-side", "-f", "-"}} {
		t.Run(how, func(t *testing.T) {
			data, err := apiserver.Object(apiserver.Grant, `{metadata: {name: applied-by-`+how+`}}`).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			version := func() string {
				kubectl(t, alice, string(data), args...)
				return kubectl(t, alice, "", "get", "agrant", "applied-by-"+how, "-n", gate, "-o", "jsonpath={.metadata.resourceVersion}")
			}
			if first, second := version(), version(); first != second {
				t.Error("the second apply changed the grant")
			}
		})
	}
}

func TestGrantWarnings(t *testing.T) {
	data, err := apiserver.Object(apiserver.Grant, "").MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	out := kubectl(t, alice, string(data), "create", "--dry-run=server", "-f", "-")
	for _, want := range []string{
		`Warning: spec.targetRef.name: there is no Target "orders-db" in namespace "shop-gate"`,
		`kubectl label namespace shop access.cardea.dev/accept-from=shop-gate`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("kubectl printed %q, want %q", out, want)
		}
	}
}

// TestGrantsThatPoliciesRefuse finds a sentence for each reason, and that what is there
// already can be changed and revoked whatever policies say.
func TestGrantsThatPoliciesRefuse(t *testing.T) {
	const elsewhere = "{metadata: {name: policed, namespace: other-gate}, spec: {targetRef: {name: policed}}}"
	for _, name := range []string{"other-gate", "cardea-system"} {
		if err := admin.Create(t.Context(), apiserver.Namespace(name)); err != nil {
			t.Fatal(err)
		}
	}
	before := apiserver.Object(apiserver.Grant, elsewhere)
	for _, o := range []client.Object{
		before, apiserver.Object(apiserver.Target, `{metadata: {name: policed, namespace: other-gate}}`),
		apiserver.Object(apiserver.AccessPolicy, `{metadata: {namespace: other-gate}, spec: {targetSelector: {matchLabels: null}, limits: {maxDuration: 1m}, requires: {reasonPattern: DEV-}}}`),
		apiserver.Object(apiserver.AccessPolicy, `{metadata: {namespace: cardea-system}, spec: {targetSelector: {matchLabels: null}, subjects: null, limits: {startWithin: 0s}}}`),
	} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	refused := apiserver.Object(apiserver.Grant, `{metadata: {name: refused, namespace: other-gate}, spec: {targetRef: {name: policed}, startsAt: "2098-01-01T00:00:00Z"}}`)
	for _, want := range []string{"AccessPolicy other-gate/prod permits at most 1m", "requires a reason that contains", "AccessPolicy cardea-system/prod permits a start at most 0s ahead"} {
		// The operator's cache may be a moment behind.
		gomega.NewWithT(t).Eventually(func() string { return fmt.Sprint(admin.Create(t.Context(), refused, client.DryRunAll)) }).
			WithTimeout(time.Minute).Should(gomega.ContainSubstring(want))
	}
	for _, patch := range []string{`{"metadata":{"labels":{"a":"b"}}}`, `{"spec":{"desiredState":"Revoked"}}`} {
		if err := admin.Patch(t.Context(), before, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Error(err)
		}
	}
}

func TestRulesThatDoNotCompile(t *testing.T) {
	rules := map[string]struct{ manifest, patch, want string }{
		"good masks":    {apiserver.MaskingRule, "", ""},
		"good commands": {apiserver.CommandRule, "", ""},
		"bad label key": {apiserver.MaskingRule, `{spec: {targetSelector: {matchLabels: {"not a key": x}}}}`, "spec.targetSelector.matchLabels: Invalid value"},
		"good policy":   {apiserver.AccessPolicy, "", ""},
		"bad policy":    {apiserver.AccessPolicy, `{spec: {requires: {reasonPattern: "("}}}`, "missing closing )"},
		"bad label":     {apiserver.CommandRule, `{spec: {targetSelector: {matchExpressions: [{key: "a b", operator: Exists}]}}}`, "spec.targetSelector.matchExpressions[0].key"},
	}
	for name, c := range rules {
		t.Run(name, func(t *testing.T) {
			says(t, admin.Create(t.Context(), apiserver.Object(c.manifest, c.patch), client.DryRunAll), c.want)
		})
	}

	stored := apiserver.Object(apiserver.CommandRule, `{metadata: {name: stored}}`)
	if err := admin.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	kubectl(t, alice, "", "label", "cmdrule", "stored", "-n", gate, "a=b")
	_, err := cluster.Kubectl(alice, "", "patch", "cmdrule", "stored", "-n", gate, "--type=merge", "-p", `{"spec":{"targetSelector":{"matchLabels":{"not a key":"x"}}}}`)
	says(t, err, "spec.targetSelector.matchLabels")
}
