// Package backend tries the proxy's backend against a real API server, with the account
// and the Role that the operator gives it, under the admission policies.
package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
	"github.com/cardea-dev/cardea/proxy/backend/kube"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

const (
	gate     = "shop-gate"
	patience = 3 * time.Minute
)

var (
	cluster *apiserver.Cluster
	// admin may do what admission lets an administrator do, operator what it lets the operator.
	admin, operator client.Client
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

// prepare makes the namespaces, the operator's rights and the proxy's, and installs the
// admission policies.
func prepare(ctx context.Context) error {
	var err error
	if admin, err = cluster.Admin(); err != nil {
		return err
	}
	if operator, err = cluster.As(apiserver.User{Name: apiserver.Operator}); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "operator-of-the-test"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: apiserver.Operator}}}
	for _, o := range []client.Object{binding, apiserver.Namespace(gate), apiserver.Namespace(apiserver.OperatorNamespace), apiserver.Namespace("shop")} {
		if err := admin.Create(ctx, o); err != nil {
			return err
		}
	}
	if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", "admission")); err != nil {
		return err
	}
	g := desired.Gate{Namespace: gate, RootNamespace: apiserver.OperatorNamespace, Secrets: []string{"orders-login"}, ConfigMaps: []string{"orders-ca"}}
	for _, o := range []runtime.ApplyConfiguration{desired.Role(g), desired.RoleBinding(g), desired.RootRole(g), desired.RootRoleBinding(g)} {
		if err := admin.Apply(ctx, o, client.FieldOwner("test"), client.ForceOwnership); err != nil {
			return err
		}
	}
	return nil
}

// start starts a backend as the proxy's account, over a network that the test can cut.
func start(t *testing.T) (*kube.Backend, *network) {
	t.Helper()
	n := &network{conns: map[net.Conn]bool{}}
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: apiserver.Proxy(gate),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + gate, "system:authenticated"}}
	config.Dial = n.dial
	b, err := kube.New(kube.Config{REST: config, Namespace: gate, RootNamespace: apiserver.OperatorNamespace, TLSDir: tlsDir(t),
		Clock: clock.RealClock{}, Log: testr.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-b.Ready():
	case <-time.After(patience):
		t.Fatal("the backend does not become ready")
	}
	return b, n
}

func tlsDir(t *testing.T) string {
	t.Helper()
	now := time.Now()
	a, err := credentials.NewAuthority("gate", now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := a.Serving([]string{"localhost"}, nil, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	redact := make([]byte, 32)
	_, _ = rand.Read(redact)
	host, err := a.HostCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	recorderCert, recorderKey, err := a.Recorder(gate, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": a.CertPEM(), "redact.key": redact, "ssh-cert.pub": host,
		"recorder.crt": recorderCert, "recorder.key": recorderKey} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// network carries connections to the API server until it is cut.
type network struct {
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, errors.New("the network is cut")
	}
	c, err := new(net.Dialer).DialContext(ctx, kind, address)
	if err == nil {
		n.conns[c] = true
	}
	return c, err
}

func (n *network) cut(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down = down; down {
		for c := range n.conns {
			c.Close()
			delete(n.conns, c)
		}
	}
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// create creates objects and removes them when the test ends.
func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.IgnoreNotFound(admin.Delete(context.Background(), o)) })
	}
}

// openGrant makes a grant and opens it as the operator does.
func openGrant(t *testing.T, name string) *v1alpha1.AccessGrant {
	t.Helper()
	g := new(v1alpha1.AccessGrant)
	o := apiserver.Object(apiserver.Grant, "")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, g); err != nil {
		t.Fatal(err)
	}
	g.Name = name
	g.Annotations = map[string]string{v1alpha1.AnnotationCreatedBy: "admin"}
	create(t, g)
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	end := metav1.NewTime(now.Add(time.Hour))
	condition := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: kind, ObservedGeneration: g.Generation, LastTransitionTime: now}
	}
	g.Status = v1alpha1.AccessGrantStatus{ObservedGeneration: g.Generation, ApprovedAt: &now, StartsAt: &now, ExpiresAt: &end,
		Conditions: []metav1.Condition{condition(v1alpha1.ConditionAccepted), condition(v1alpha1.ConditionApproved)},
		Verifiers:  []v1alpha1.CredentialVerifier{{ID: "c1", NotBefore: now, ExpiresAt: end}}}
	if err := operator.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return g
}

func makeTarget(t *testing.T) *v1alpha1.Target {
	t.Helper()
	o := new(v1alpha1.Target)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(apiserver.Object(apiserver.Target, "").Object, o); err != nil {
		t.Fatal(err)
	}
	create(t, o)
	return o
}

// admitted returns nil if a session of g is admitted now.
func admitted(b *kube.Backend, g *v1alpha1.AccessGrant) error {
	_, err := b.Current().Admit(policy.Request{Engine: "postgres", Grant: g.Name, GrantUID: g.UID, CredentialID: "c1", Database: "orders"}, time.Now())
	return err
}

func refusedWith(b *kube.Backend, g *v1alpha1.AccessGrant, code policy.Code, says string) error {
	err := admitted(b, g)
	if r := new(policy.Refusal); !errors.As(err, &r) || r.Code != code || !strings.Contains(r.Message, says) {
		return fmt.Errorf("the answer is %w, want %s that says %q", err, code, says)
	}
	return nil
}
