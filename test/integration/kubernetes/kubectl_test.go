package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func configMap(t *testing.T, namespace, name string) {
	t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"colour": "green"}}
	if err := client.IgnoreAlreadyExists(admin.Create(t.Context(), cm)); err != nil {
		t.Fatal(err)
	}
}

// kubectl works as it is, and what it may not is refused by whom it should be.
func TestKubectl(t *testing.T) {
	configMap(t, "shop", "paint")
	configMap(t, "bank", "paint")
	t.Cleanup(func() {
		more := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "more"}}
		if err := client.IgnoreNotFound(admin.Delete(context.WithoutCancel(t.Context()), more)); err != nil {
			t.Error(err)
		}
	})
	rule := `apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: keep-paint, namespace: gate}
spec:
  targetSelector: {}
  match: [{kubernetes: {verbs: [delete, deletecollection], resources: [configmaps], names: [paint]}}]
  action: Deny
  message: paint stays`
	g := start(t, "writer", "    exec: Commands\n", rule)
	if !strings.HasPrefix(g.user, "cardea:grant:gate:dana:") {
		t.Errorf("the API server sees user %q", g.user)
	}
	for name, tc := range map[string]struct {
		args string
		want string // part of the output
		fail bool
	}{
		"get":                    {"get configmap paint -o jsonpath={.data.colour}", "green", false},
		"get as a table":         {"get configmaps", "paint", false},
		"explain":                {"explain configmap.data", "FIELD", false},
		"what one can":           {"auth can-i --list", "configmaps", false},
		"what one cannot":        {"auth can-i create clusterroles", "no", true},
		"create in a dry run":    {"create configmap never --from-literal=a=b --dry-run=server", "created", false},
		"apply on the server":    {"create configmap more --from-literal=a=b", "created", false},
		"by RBAC":                {"get roles", "Forbidden", true},
		"another namespace":      {"get configmaps -n bank", "CDA-1006", true},
		"all namespaces":         {"get configmaps -A", "CDA-1006", true},
		"at cluster scope":       {"get nodes", "CDA-1006", true},
		"Secrets":                {"get secrets", "CDA-1006: the grant does not permit access to Secrets", true},
		"a Secret's creation":    {"create secret generic s --from-literal=a=b", "CDA-1006", true},
		"a rule":                 {"delete configmap paint", "paint stays", true},
		"a rule, without a name": {"delete configmaps --all", "paint stays", true},
		"a rule about another":   {"delete configmap nothing", "NotFound", true},
		"a token":                {"create token default", "kubernetes-credentials", true},
		"a proxy":                {"get --raw /api/v1/namespaces/shop/pods/x/proxy/", "", true},
		"another user":           {"auth whoami --as=system:admin --as-group=system:masters -o jsonpath={.status.userInfo.username}", "cardea:grant:gate:dana:", false},
		"exec":                   {"exec x -- true", "", true},
		"a path":                 {"get --raw /metrics", "CDA-1006", true},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := g.kubectl(strings.Fields(tc.args)...)
			if (err != nil) != tc.fail || !strings.Contains(out, tc.want) {
				t.Errorf("kubectl %s: %v\n%s", tc.args, err, out)
			}
		})
	}
	commands, answered := map[string]string{}, false
	for _, e := range g.events(t) {
		if e.Command != nil {
			commands[e.Command.Text] = e.Command.Decision + e.Command.Code
		}
		answered = answered || e.Output != nil && strings.Contains(string(e.Output.Data), "green")
	}
	for text, want := range map[string]string{
		"GET /api/v1/namespaces/shop/configmaps/paint":    "Allowed",
		"DELETE /api/v1/namespaces/shop/configmaps/paint": "DeniedCDA-2001",
		"GET /api/v1/namespaces/shop/secrets?limit=500":   "DeniedCDA-1006",
	} {
		if commands[text] != want {
			t.Errorf("%s is recorded as %q, want %q of %v", text, commands[text], want, commands)
		}
	}
	if !answered {
		t.Error("no answer is recorded")
	}
}

// G2: what runs when a grant ends is told so, and ends, in whatever form it runs.
func TestRevocationEndsAWatch(t *testing.T) {
	configMap(t, "shop", "paint")
	for _, form := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(form, func(t *testing.T) { revokeInAWatch(t, form) })
	}
}

func revokeInAWatch(t *testing.T, form string) {
	g := start(t, "reader", "")
	g.config.AcceptContentTypes, g.config.ContentType = form, form
	c, err := kubernetes.NewForConfig(g.config)
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.CoreV1().ConfigMaps("shop").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.ResultChan(); e.Type != "ADDED" {
		t.Fatalf("the first event is %+v", e)
	}
	path := filepath.Join(g.dir, "gate.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Replace(string(b), "reason: a test", "reason: a test\n  desiredState: Revoked", 1))
	for e := range w.ResultChan() {
		if e.Type == "ERROR" {
			err = apierrors.FromObject(e.Object)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "CDA-1004") {
		t.Errorf("the watch ended with %v", err)
	}
	if _, err := c.CoreV1().ConfigMaps("shop").List(context.WithoutCancel(t.Context()), metav1.ListOptions{}); err == nil {
		t.Error("a revoked grant lists")
	}
}

// G1: who shows no certificate of a grant is told so, and nothing reaches the API server.
func TestNoCertificate(t *testing.T) {
	g := start(t, "reader", "")
	config := rest.AnonymousClientConfig(g.config)
	config.BearerToken = "cda_stolen"
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	status := new(apierrors.StatusError)
	if _, err := c.CoreV1().ConfigMaps("shop").List(t.Context(), metav1.ListOptions{}); !errors.As(err, &status) || status.ErrStatus.Code != http.StatusUnauthorized || !strings.Contains(err.Error(), "CDA-1001") {
		t.Errorf("err = %v", err)
	}
}

// A watch begins at once, also one that has nothing to show yet.
func TestWatchOfNothing(t *testing.T) {
	g := start(t, "writer", "")
	c, err := kubernetes.NewForConfig(g.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := c.CoreV1().ConfigMaps("shop").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=nothing"})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
}
