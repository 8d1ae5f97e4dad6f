//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const clusterGrant = "cluster-agent"

// kubeconfigOf writes the kubeconfig of a delivered credential for use on the node, which
// resolves no names of the cluster: it connects to the Service's address and expects its name.
func kubeconfigOf(t *testing.T, grant string) string {
	t.Helper()
	secret := get[corev1.Secret](t, "-n", tenant, "secret", "cardea-"+grant)
	var config map[string]any
	if err := json.Unmarshal(secret.Data["kubeconfig"], &config); err != nil {
		t.Fatal(err)
	}
	address := get[corev1.Service](t, "-n", gate, "service", v1alpha1.ProxyName).Spec.ClusterIP
	cluster := config["clusters"].([]any)[0].(map[string]any)["cluster"].(map[string]any)
	cluster["server"] = "https://" + net.JoinHostPort(address, "6443")
	cluster["tls-server-name"] = v1alpha1.ProxyName + "." + gate + ".svc"
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// clusterAccess gives kubectl through the gate what a grant permits, and nothing else, and
// takes it away in the middle of a watch.
func clusterAccess(t *testing.T) {
	applyWith(t, "", "config/samples/kubernetes/")
	kubectl(t, "-n", gate, "wait", "--for=condition=Ready", "accessgrant/"+clusterGrant, timeout)
	config := kubeconfigOf(t, clusterGrant)
	through := func(args ...string) (string, error) {
		return command("kubectl", append([]string{"--kubeconfig", config}, args...)...)
	}
	eventually(t, "the gate opens", func() error { _, err := through("get", "pods"); return err })

	grant := get[v1alpha1.AccessGrant](t, "-n", gate, "accessgrant", clusterGrant)
	user := "cardea:grant:" + gate + ":" + clusterGrant + ":" + string(grant.UID)
	for name, tc := range map[string]struct {
		args  []string
		shows string
		fails bool
	}{
		"who one is":                  {[]string{"auth", "whoami"}, user, false},
		"its namespace":               {[]string{"get", "pods"}, "orders-", false},
		"a Deployment":                {[]string{"get", "deployment", "orders", "-o", "name"}, "deployment.apps/orders", false},
		"another namespace":           {[]string{"get", "pods", "-n", "kube-system"}, "CDA-", true},
		"all namespaces":              {[]string{"get", "pods", "-A"}, "CDA-", true},
		"Secrets":                     {[]string{"get", "secret", "orders-admin", "-o", "jsonpath={.data.password}"}, "W21hc2tlZCBieSBjYXJkZWFd", false},
		"what its role does not give": {[]string{"scale", "deployment/orders", "--replicas=0"}, "forbidden", true},
		"somebody else":               {[]string{"get", "pods", "--as=system:admin"}, "orders-", false}, // the header is not passed on
		"the truth of what it may":    {[]string{"auth", "can-i", "create", "configmaps"}, "yes", false},
		"and may not":                 {[]string{"auth", "can-i", "create", "pods"}, "no", true},
		"logs":                        {[]string{"logs", "deployment/orders", "--tail=1"}, "", false},
		"a write":                     {[]string{"create", "configmap", "through-the-gate", "--from-literal=a=b"}, "created", false},
		"a command":                   {[]string{"exec", "deployment/orders", "--", "echo", "from within"}, "from within", false},
		"a command in a shell":        {[]string{"exec", "deployment/orders", "--", "sh", "-c", "echo one; echo two | cat"}, "CDA-", true},
		"one that is not listed":      {[]string{"exec", "deployment/orders", "--", "sh", "-c", "echo; rm -rf /var/lib"}, "only a few commands", true},
		"a terminal":                  {[]string{"exec", "-t", "deployment/orders", "--", "sh"}, "CDA-", true},
	} {
		out, err := through(tc.args...)
		if (err != nil) != tc.fails || !strings.Contains(out, tc.shows) {
			t.Errorf("%s: kubectl %s: %v\n%s\nwant it to show %q", name, strings.Join(tc.args, " "), err, out, tc.shows)
		}
	}

	held := make(chan string, 1)
	go func() { out, _ := through("delete", "configmap", "through-the-gate"); held <- out }()
	request := pending(t, clusterGrant)
	kubectl(t, "-n", tenant, "get", "configmap", "through-the-gate")
	decide(t, request, "Approved")
	wantContains(t, <-held, "deleted")

	gatedShell(t, config)

	watch := exec.Command("kubectl", "--kubeconfig", config, "get", "configmaps", "--watch")
	var shown strings.Builder
	watch.Stdout, watch.Stderr = &shown, &shown
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	eventually(t, "the watch is a session", func() error {
		return sessionOpen(t, clusterGrant)
	})
	written := revoke(t, clusterGrant)
	select {
	case err := <-ended:
		t.Logf("the watch ended %v after the revocation was written: %v", time.Since(written).Round(time.Millisecond), err)
	case <-time.After(patience):
		_ = watch.Process.Kill()
		t.Fatal("the watch goes on after the revocation")
	}
	if out, err := through("get", "pods"); err == nil {
		t.Errorf("kubectl still works: %s", out)
	}
	eventually(t, "nothing gives the grant's user any right", func() error {
		return errors.Join(empty("-n", tenant, "get", "rolebindings", "-l", v1alpha1.LabelGrant, "-o", "name"),
			empty("get", "clusterroles,clusterrolebindings", "-l", v1alpha1.LabelGate+"="+gate, "-o", "name"))
	})
	kubectl(t, "delete", "-f", "config/samples/kubernetes/")
}

// gatedShell types into a shell in a container, over a real terminal.
func gatedShell(t *testing.T, config string) {
	t.Helper()
	shell := exec.Command("script", "-qec", "kubectl --kubeconfig "+config+" exec -it deployment/orders -- sh", "/dev/null")
	keys, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var shown session
	shell.Stdout, shell.Stderr = &shown, &shown
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- shell.Wait() }()
	seen := 0
	sees := func(text string) {
		t.Helper()
		eventually(t, "the terminal shows "+text, func() error {
			at := strings.Index(shown.output()[seen:], text)
			if at < 0 {
				return errors.New(shown.output())
			}
			seen += at + len(text)
			return nil
		})
	}
	types := func(text string) {
		t.Helper()
		if _, err := keys.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	sees(":/ $ ")
	types("id\r")
	sees("\nuid=")
	types("cd /etc; ls | rm -rf /var/lib\r")
	sees("only a few commands")
	sees("[126] $ ")
	types("sh -c 'echo begin; sleep 600'\r")
	sees("\nbegin")
	types("\x03")
	sees("[130] $ ")
	types("kill -HUP 1\r")
	sees("held for approval")
	decide(t, pending(t, clusterGrant), "Approved")
	sees(":/ $ ")
	types("exit 3\r")
	if err := <-ended; shell.ProcessState.ExitCode() != 3 {
		t.Errorf("the shell ended with %v:\n%s", err, shown.output())
	}
}

func sessionOpen(t *testing.T, grant string) error {
	t.Helper()
	for _, s := range get[v1alpha1.SessionList](t, "-n", gate, "sessions").Items {
		if s.Spec.GrantRef.Name == grant && s.Status.EndedAt == nil {
			return nil
		}
	}
	return fmt.Errorf("no session of %s is open", grant)
}
