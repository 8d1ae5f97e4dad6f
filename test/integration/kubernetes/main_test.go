package kubernetes

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/ports"
)

const patience = time.Minute

var (
	cluster *apiserver.Cluster
	admin   client.Client
	// impersonator may impersonate users and do nothing else.
	impersonator *rest.Config
	binary       string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "cardea-kubernetes-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if binary = os.Getenv("CARDEA_PROXY"); binary == "" {
		binary = filepath.Join(folder, "cardea-proxy")
		if out, err := exec.Command("go", "build", "-o", binary, "github.com/cardea-dev/cardea/cmd/proxy").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build proxy: %v\n%s", err, out)
			return 1
		}
	}
	if cluster, err = apiserver.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = cluster.Stop() }()
	node = newKubelet()
	defer node.Close()
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// prepare makes two namespaces, whoever may impersonate, and the roles that grants name: no
// controller fills the aggregated ones here.
func prepare(ctx context.Context) error {
	var err error
	if admin, err = cluster.Admin(); err != nil {
		return err
	}
	if impersonator, err = cluster.Credential(apiserver.User{Name: "gate"}); err != nil {
		return err
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "gate"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "gate"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "gate"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "gate"}}}
	resources := []string{"configmaps", "secrets", "pods", "pods/log", "pods/exec", "pods/attach", "pods/portforward", "serviceaccounts", "serviceaccounts/token"}
	reader := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: resources, Verbs: []string{"get", "list", "watch"}}}}
	writer := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: resources, Verbs: []string{"*"}}}}
	for _, o := range []client.Object{role, binding, reader, writer, apiserver.Namespace("shop"), apiserver.Namespace("bank")} {
		if err := admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return node.join(ctx)
}

// gate is a running proxy with one grant, whose role is bound in shop and in bank too.
type gate struct {
	dir    string
	config *rest.Config // of the grant
	user   string       // at the API server

	cmd    *exec.Cmd
	exited chan struct{}
	said   output
}

// start starts a proxy whose grant permits a ClusterRole in namespace shop. Permissions are
// more lines of its block; more are more documents.
func start(t testing.TB, role, permissions string, more ...string) *gate {
	t.Helper()
	port, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{dir: t.TempDir(), exited: make(chan struct{})}
	write(t, filepath.Join(g.dir, "gate.yaml"), strings.Join(append([]string{target(role), grant(role, permissions)}, more...), "\n---\n"))
	g.cmd = exec.Command(binary, "--manifests", g.dir, "--address", "127.0.0.1", "--postgres-port", "0", "--kubernetes-port", fmt.Sprint(port), "--metrics-port", "0", "--drain", "1s", "-v", "1")
	g.cmd.Stdout, g.cmd.Stderr = &g.said, &g.said
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.cmd.Wait(); close(g.exited) }()
	t.Cleanup(func() {
		g.stop(t)
		if t.Failed() {
			t.Logf("the proxy said:\n%s", g.said.String())
		}
	})
	until(t, "the proxy is ready", func() bool {
		select {
		case <-g.exited:
			t.Fatal("the proxy ended")
		default:
		}
		_, err := os.Stat(g.kubeconfig())
		return err == nil && strings.Contains(g.said.String(), "cardea-proxy is ready")
	})
	if g.config, err = clientcmd.BuildConfigFromFlags("", g.kubeconfig()); err != nil {
		t.Fatal(err)
	}
	g.config.WarningHandler = rest.NoWarnings{}
	out, err := g.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g.user = out
	for _, namespace := range []string{"shop", "bank"} {
		b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "grant-"},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: g.user}}}
		if err := admin.Create(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the role is bound", func() bool {
		out, _ := g.kubectl("auth", "can-i", "get", "configmaps")
		return strings.HasPrefix(out, "yes")
	})
	return g
}

func (g *gate) kubeconfig() string { return filepath.Join(g.dir, ".credentials", "dana", "kubeconfig") }

// kubectl runs kubectl with the grant's kubeconfig and nothing else.
func (g *gate) kubectl(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), append([]string{"--kubeconfig", g.kubeconfig()}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// begin runs kubectl until it ends or the test does, and closes what it returns then.
func (g *gate) begin(t *testing.T, out *output, args ...string) <-chan struct{} {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), append([]string{"--kubeconfig", g.kubeconfig()}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	return ended
}

func (g *gate) stop(t testing.TB) {
	t.Helper()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.exited:
	case <-time.After(patience):
		_ = g.cmd.Process.Kill()
		<-g.exited
		t.Error("the proxy does not end on SIGTERM")
	}
}

// events stops the proxy and returns what it recorded.
func (g *gate) events(t *testing.T) []recording.Event {
	t.Helper()
	g.stop(t)
	root := filepath.Join(g.dir, ".recordings")
	sessions, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var events []recording.Event
	for _, s := range sessions {
		r, err := recording.Read(t.Context(), dir.New(root), s.Name(), recording.Anchor{}, func(e recording.Entry) error {
			events = append(events, e.Event)
			return nil
		})
		if err != nil || !r.Intact() {
			t.Errorf("the recording of %s is not intact: %v %v", s.Name(), err, r.Problems)
		}
	}
	return events
}

func target(role string) string {
	encode := base64.StdEncoding.EncodeToString
	c := impersonator.TLSClientConfig
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: proxy, namespace: gate, labels: {access.cardea.dev/target: cluster}}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s, ca.crt: %s}
---
apiVersion: access.cardea.dev/v1alpha1
kind: Target
metadata: {name: cluster, namespace: gate}
spec:
  kubernetes:
    roles: [{kind: ClusterRole, name: %s}]
    server: {url: %q, caRef: {kind: Secret, name: proxy, key: ca.crt}, credentialRef: {name: proxy}}
`, encode(c.CertData), encode(c.KeyData), encode(c.CAData), role, "https://"+strings.Trim(strings.TrimPrefix(impersonator.Host, "https://"), "/"))
}

func grant(role, permissions string) string {
	return fmt.Sprintf(`apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: dana, namespace: gate}
spec:
  subject: {kind: User, name: dana}
  targetRef: {name: cluster}
  duration: 4h
  reason: a test
  kubernetes:
    namespaces: [shop]
    roleRef: {kind: ClusterRole, name: %s}
%s`, role, permissions)
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	late := time.After(patience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !done() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String returns all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
