// Package admission tries the admission policies against a real API server, with the
// operator down and with its webhooks served, as people and accounts that RBAC lets do
// everything: what is refused here is refused by admission.
package admission

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

const (
	gate      = "shop-gate"
	otherGate = "other-gate"
)

// The people and accounts of these tests.
var (
	operator   = apiserver.User{Name: apiserver.Operator}
	proxy      = apiserver.User{Name: apiserver.Proxy(gate)}
	otherProxy = apiserver.User{Name: apiserver.Proxy(otherGate)}
	nsdeleter  = apiserver.User{Name: "system:serviceaccount:kube-system:namespace-controller"}
	collector  = apiserver.User{Name: "system:serviceaccount:kube-system:generic-garbage-collector"}
	admin      = apiserver.User{Name: "root", Groups: []string{"system:masters"}}
	dora       = apiserver.User{Name: "dora", Groups: []string{"dba"}}
	dan        = apiserver.User{Name: "dan", Groups: []string{"dba", "on-call"}}
	alice      = apiserver.User{Name: "alice", Groups: []string{"dba"}} // creates grants
	eve        = apiserver.User{Name: "eve", Groups: []string{"developers"}}
	agent      = apiserver.User{Name: "system:serviceaccount:shop:report-agent"}
	bot        = apiserver.User{Name: "system:serviceaccount:ops:approver-bot"}
)

var cluster *apiserver.Cluster

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

// prepare makes the namespaces, lets everybody do everything, installs the policies and the
// webhooks, which nobody serves, and waits until the last policy is in force.
func prepare() error {
	ctx := context.Background()
	c, err := cluster.Admin()
	if err != nil {
		return err
	}
	for _, o := range []client.Object{
		apiserver.AllowAll(),
		apiserver.Namespace(gate), apiserver.Namespace(otherGate), apiserver.Namespace(apiserver.OperatorNamespace),
		apiserver.Namespace("shop", "access.cardea.dev/accept-from", gate),
	} {
		if err := c.Create(ctx, o); err != nil {
			return err
		}
	}
	for _, folder := range []string{"admission", "webhook"} {
		if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", folder)); err != nil {
			return err
		}
	}
	return enforced(ctx)
}

// enforced waits until each policy refuses what it is there to refuse. Policies take effect
// a moment after they are stored.
func enforced(ctx context.Context) error {
	probes := map[string]func() error{
		"only the proxy of namespace \"shop-gate\" and the operator create": func() error { return create(ctx, eve, apiserver.Object(request, "")) },
		"only the proxy of namespace \"shop-gate\" creates Sessions":        func() error { return create(ctx, eve, apiserver.Object(session, "")) },
		"may not CREATE /secrets": func() error { return create(ctx, proxy, apiserver.Object(secret, "")) },
		"are for recordings":      func() error { return create(ctx, eve, apiserver.Object(recording, "")) },
		"must be your user name": func() error {
			return create(ctx, eve, apiserver.Object(grant, `{metadata: {annotations: {access.cardea.dev/created-by: x}}}`))
		},
	}
	for want, probe := range probes {
		if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) {
			err := probe()
			return err != nil && strings.Contains(err.Error(), want), nil
		}); err != nil {
			return fmt.Errorf("wait for the policy that says %q: %w (last answer: %w)", want, err, probe())
		}
	}
	return statusEnforced(ctx)
}

// statusEnforced waits for the policies that guard status, which need a stored object.
func statusEnforced(ctx context.Context) error {
	stored := map[string]struct {
		by       apiserver.User
		manifest string
	}{
		"only the operator writes it":           {alice, grant},
		"only the operator and the proxy write": {alice, target},
		"session's proxy and the operator":      {proxy, session},
		"only the operator writes them":         {proxy, request},
	}
	for want, s := range stored {
		o := apiserver.Object(s.manifest, `{metadata: {generateName: probe-}}`)
		o.SetName("")
		c, err := cluster.As(s.by)
		if err != nil {
			return err
		}
		if s.manifest == grant {
			o.SetAnnotations(map[string]string{"access.cardea.dev/created-by": s.by.Name})
		}
		if err := c.Create(ctx, o); err != nil {
			return err
		}
		var last error
		if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) {
			last = patchStatus(ctx, eve, o, condition("Ready", "True", "Probe"), client.DryRunAll)
			return last != nil && strings.Contains(last.Error(), want), nil
		}); err != nil {
			return fmt.Errorf("wait for the policy that says %q: %w (last answer: %w)", want, err, last)
		}
	}
	return nil
}

// create creates o in a dry run.
func create(ctx context.Context, u apiserver.User, o client.Object) error {
	c, err := cluster.As(u)
	if err != nil {
		return err
	}
	return c.Create(ctx, o, client.DryRunAll)
}

// store creates o for the test and gives it a name of its own.
func store(t *testing.T, u apiserver.User, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	c, err := cluster.As(u)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetGenerateName() == "" && o.GetKind() != "ConfigMap" {
		o.SetGenerateName(o.GetName() + "-")
		o.SetName("")
	}
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// patchStatus sends a merge patch of o's status, YAML, as u.
func patchStatus(ctx context.Context, u apiserver.User, o client.Object, patch string, opts ...client.SubResourcePatchOption) error {
	c, err := cluster.As(u)
	if err != nil {
		return err
	}
	body, err := yaml.YAMLToJSON([]byte("status: " + patch))
	if err != nil {
		return err
	}
	copied := o.DeepCopyObject().(client.Object)
	return c.Status().Patch(ctx, copied, client.RawPatch(types.MergePatchType, body), opts...)
}

// patch sends a merge patch of o, YAML, as u.
func patch(ctx context.Context, u apiserver.User, o client.Object, body string) error {
	c, err := cluster.As(u)
	if err != nil {
		return err
	}
	data, err := yaml.YAMLToJSON([]byte(body))
	if err != nil {
		return err
	}
	copied := o.DeepCopyObject().(client.Object)
	return c.Patch(ctx, copied, client.RawPatch(types.MergePatchType, data))
}

// condition is a status with one condition.
func condition(kind, status, reason string) string {
	return fmt.Sprintf(`{conditions: [{type: %s, status: %q, reason: %s, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}`, kind, status, reason)
}

// refused fails the test unless err says want; an empty want expects success.
func refused(t *testing.T, err error, want string) {
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

// admit reports who may do something, by the user's name, as a table of wanted errors.
func admit(t *testing.T, wants map[string]want, do func(apiserver.User) error) {
	t.Helper()
	for name, w := range wants {
		t.Run(name, func(t *testing.T) { refused(t, do(w.as), w.error) })
	}
}

// denied is what every policy says. Where two policies refuse, either may answer first.
const denied = "denied request"

// want is a user and the error the user gets; empty for success.
type want struct {
	as    apiserver.User
	error string
}
