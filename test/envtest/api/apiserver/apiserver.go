// Package apiserver starts a real API server for tests of what it alone enforces: the
// schema of the kinds, the admission policies, the webhooks and the roles.
package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimachinery "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/ports"
)

// Names of accounts that the policies know.
const (
	OperatorNamespace = "cardea-system"
	Operator          = "system:serviceaccount:cardea-system:cardea-operator"
)

// Proxy is the user name of a gate namespace's proxy.
func Proxy(gate string) string {
	return "system:serviceaccount:" + gate + ":" + v1alpha1.ProxyName
}

// User is who a request comes from.
type User struct {
	Name   string
	Groups []string
}

// Cluster is a running API server with the product's CRDs.
type Cluster struct {
	Config  *rest.Config
	Scheme  *apimachinery.Scheme
	Webhook *envtest.WebhookInstallOptions

	env        *envtest.Environment
	kubeconfig string
	dir        string
}

// Start starts an API server and installs the CRDs and the webhook configurations of the
// given files, pointed at where Webhook says. It returns an error that says what is missing
// if there are no binaries to run.
func Start(webhooks ...string) (*Cluster, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS must name the folder of kube-apiserver, etcd and kubectl: run `make test`, which sets it")
	}
	scheme := apimachinery.NewScheme()
	for _, add := range []func(*apimachinery.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "cardea-apiserver-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the kubeconfig: %w", err)
	}
	env, err := environment(scheme, webhooks)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	config, err := env.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the API server: %w", err), env.Stop(), os.RemoveAll(dir))
	}
	c := &Cluster{
		Config: config, Scheme: scheme, Webhook: &env.WebhookInstallOptions,
		env: env, dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig"),
	}
	if err := os.WriteFile(c.kubeconfig, env.KubeConfig, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write the kubeconfig: %w", err), c.Stop())
	}
	return c, nil
}

// patience is how long the API server and its store may take to start and to stop, on a
// machine that does much else.
const patience = 3 * time.Minute

// environment has ports that nobody else is given before the servers listen on them.
func environment(scheme *apimachinery.Scheme, webhooks []string) (*envtest.Environment, error) {
	var port [4]string
	for i := range port {
		p, err := ports.Take()
		if err != nil {
			return nil, fmt.Errorf("start the API server: %w", err)
		}
		port[i] = strconv.Itoa(p)
	}
	const host = "127.0.0.1"
	env := &envtest.Environment{
		Scheme:                   scheme,
		CRDDirectoryPaths:        []string{Root("config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: patience,
		ControlPlaneStopTimeout:  patience,
	}
	if len(webhooks) > 0 {
		number, _ := strconv.Atoi(port[0])
		env.WebhookInstallOptions = envtest.WebhookInstallOptions{Paths: webhooks, LocalServingHost: host, LocalServingPort: number}
	}
	env.ControlPlane.GetAPIServer().SecureServing.ListenAddr = envtest.ListenAddr{Address: host, Port: port[1]}
	env.ControlPlane.Etcd = &envtest.Etcd{URL: &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port[2])}}
	peers := (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port[3])}).String()
	env.ControlPlane.Etcd.Configure().Set("listen-peer-urls", peers)
	return env, nil
}

// Stop ends the API server.
func (c *Cluster) Stop() error {
	return errors.Join(c.env.Stop(), os.RemoveAll(c.dir))
}

// Admin returns a client that may do everything that admission lets it.
func (c *Cluster) Admin() (client.Client, error) {
	return client.New(c.Config, client.Options{Scheme: c.Scheme})
}

// As returns a client whose requests come from u.
func (c *Cluster) As(u User) (client.Client, error) {
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: u.Name, Groups: u.Groups}
	config.WarningHandler = rest.NoWarnings{}
	return client.New(config, client.Options{Scheme: c.Scheme})
}

// Kubectl runs the real kubectl as u, the administrator if empty, and returns what it
// printed on both streams.
func (c *Cluster) Kubectl(u User, stdin string, args ...string) (string, error) {
	all := []string{"--kubeconfig=" + c.kubeconfig}
	if u.Name != "" {
		all = append(all, "--as="+u.Name)
	}
	for _, group := range u.Groups {
		all = append(all, "--as-group="+group)
	}
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), append(all, args...)...) //nolint:gosec // the arguments are the test's own
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "HOME="+c.dir)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// Namespace is a Namespace object with labels given as pairs.
func Namespace(name string, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{}
	ns.Name = name
	ns.Labels = map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	return ns
}

// AllowAll binds every right to every user, so that only admission can refuse.
func AllowAll() *rbacv1.ClusterRoleBinding {
	b := &rbacv1.ClusterRoleBinding{
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:authenticated"}},
	}
	b.Name = "everybody-may-do-everything"
	return b
}

// Root returns a path in the repository, found from a test's working directory. It panics
// outside of it.
func Root(elements ...string) string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, elements...)...)
		}
		if dir == filepath.Dir(dir) {
			panic("not in the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// Credential returns how u signs in by a certificate of its own.
func (c *Cluster) Credential(u User) (*rest.Config, error) {
	user, err := c.env.AddUser(envtest.User{Name: u.Name, Groups: u.Groups}, nil)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", u.Name, err)
	}
	return user.Config(), nil
}
