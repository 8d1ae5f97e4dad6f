package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/access"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/explain"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

const gate = "shop-gate"

// The people and accounts of these tests.
var (
	proxy    = apiserver.User{Name: apiserver.Proxy(gate)}
	operator = apiserver.User{Name: apiserver.Operator}
	dora     = apiserver.User{Name: "dora", Groups: []string{"dba"}}
	dan      = apiserver.User{Name: "dan", Groups: []string{"dba", "on-call"}}
	alice    = apiserver.User{Name: "alice", Groups: []string{"dba"}} // made the grant
	eve      = apiserver.User{Name: "eve", Groups: []string{"developers"}}
)

var (
	cluster    *apiserver.Cluster
	kubeconfig string
)

func TestMain(m *testing.M) {
	explain.WorkerMain()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	cluster, err = apiserver.Start()
	if err == nil {
		defer func() { _ = cluster.Stop() }()
		err = prepare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(kubeconfig)) }()
	return m.Run()
}

func prepare() error {
	ctx := context.Background()
	c, err := cluster.Admin()
	if err != nil {
		return err
	}
	for _, o := range []client.Object{apiserver.AllowAll(), apiserver.Namespace(gate)} {
		if err := c.Create(ctx, o); err != nil {
			return err
		}
	}
	if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", "admission")); err != nil {
		return err
	}
	if err := writeKubeconfig(); err != nil {
		return err
	}
	return enforced(ctx, c)
}

// enforced waits for the policies, which take effect a moment after they are stored.
func enforced(ctx context.Context, c client.Client) error {
	recording := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: "cardea-rec-probe-x"}}
	if err := poll(ctx, func() bool { return apierrors.IsForbidden(c.Create(ctx, recording.DeepCopy(), client.DryRunAll)) }); err != nil {
		return err
	}
	r := newRequest("probe", 1)
	asProxy, err := cluster.As(proxy)
	if err != nil {
		return err
	}
	if err := asProxy.Create(ctx, r); err != nil {
		return err
	}
	r.Status.Decisions = []v1alpha1.ApprovalDecision{{Approver: "x", Decision: v1alpha1.DecisionApproved}}
	return poll(ctx, func() bool {
		err := c.Status().Update(ctx, r.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "your own user name")
	})
}

func poll(ctx context.Context, done func() bool) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) { return done(), nil })
}

// writeKubeconfig writes what a person has: a server, a certificate and a namespace.
func writeKubeconfig() error {
	dir, err := os.MkdirTemp("", "cardea-plugin-")
	if err != nil {
		return err
	}
	kubeconfig = filepath.Join(dir, "config")
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: cluster.Config.Host, CertificateAuthorityData: cluster.Config.CAData}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: cluster.Config.CertData, ClientKeyData: cluster.Config.KeyData}
	c.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: gate}
	c.CurrentContext = "c"
	return clientcmd.WriteToFile(*c, kubeconfig)
}

// plugin runs the plugin as u and returns its exit code and what it printed.
func plugin(u apiserver.User, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	all := append([]string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + filepath.Dir(kubeconfig)}, args...)
	if u.Name != "" {
		all = append(all, "--as="+u.Name)
	}
	for _, g := range u.Groups {
		all = append(all, "--as-group="+g)
	}
	code = access.Main(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &o, ErrOut: &e}, all)
	return code, o.String(), e.String()
}

// as returns a client of u.
func as(t *testing.T, u apiserver.User) client.Client {
	t.Helper()
	c, err := cluster.As(u)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newRequest(name string, required int32) *v1alpha1.ApprovalRequest {
	return &v1alpha1.ApprovalRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: name},
		Spec: v1alpha1.ApprovalRequestSpec{
			GrantRef:     v1alpha1.ObjectIdentity{Name: "report-agent", UID: "7d5a"},
			TargetRef:    v1alpha1.ObjectIdentity{Name: "orders-db", UID: "91cc", Generation: 1},
			Requester:    "system:serviceaccount:shop:report-agent",
			GrantCreator: "alice",
			Reason:       "monthly report",
			Rule:         v1alpha1.RuleReference{Kind: "CommandRule", Namespace: gate, Name: "destructive-sql"},
			Command: v1alpha1.ApprovalCommand{Engine: "postgres", Text: "DELETE FROM orders -- \u202e", Parameters: []string{"a\x1b[2J"},
				Digest: strings.Repeat("0", 64)},
			Required:  required,
			Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "dba"}},
			ExpiresAt: metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second)),
		},
	}
}

func newSession(name, target string) *v1alpha1.Session {
	return &v1alpha1.Session{
		ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: name},
		Spec: v1alpha1.SessionSpec{
			GrantRef:  v1alpha1.ObjectIdentity{Name: "report-agent", UID: "7d5a"},
			TargetRef: v1alpha1.ObjectIdentity{Name: target, UID: "91cc", Generation: 1},
			Subject:   v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "report-agent"},
			Client:    "10.1.2.3", Proxy: "cardea-proxy-1",
			StartedAt: metav1.NewMicroTime(time.Now().Add(-time.Hour)),
		},
	}
}

func newGrant() *v1alpha1.AccessGrant {
	return &v1alpha1.AccessGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: "report-agent", Annotations: map[string]string{v1alpha1.AnnotationCreatedBy: alice.Name}},
		Spec: v1alpha1.AccessGrantSpec{
			Subject:   v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "report-agent"},
			TargetRef: v1alpha1.ObjectName{Name: "orders-db"},
			Duration:  &metav1.Duration{Duration: time.Hour},
			Reason:    "monthly report",
			Postgres:  &v1alpha1.PostgresPermissions{Databases: []string{"orders"}},
		},
	}
}
