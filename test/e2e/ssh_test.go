//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const hostGrant = "host-agent"

// sshFiles writes the files of a delivered credential for use on the node, which resolves no
// names of the cluster, and returns the options that every client of OpenSSH takes.
func sshFiles(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	for key, value := range get[corev1.Secret](t, "-n", tenant, "secret", "cardea-"+hostGrant).Data {
		content := strings.ReplaceAll(string(value), "/var/run/cardea", dir)
		if err := os.WriteFile(filepath.Join(dir, key), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := get[corev1.Service](t, "-n", gate, "service", v1alpha1.ProxyName).Spec.ClusterIP
	return []string{"-F", filepath.Join(dir, "config"), "-o", "HostName=" + address, "-o", "HostKeyAlias=" + v1alpha1.ProxyName + "." + gate + ".svc",
		"-o", "ConnectTimeout=60"}
}

// hostAccess gives OpenSSH's clients what a grant permits on a host, and takes it away in the
// middle of a command.
func hostAccess(t *testing.T) {
	mustRun(t, "bash", "-ec", ". hack/demo/lib.sh; . hack/demo/shop.sh; shop_host")
	applyWith(t, "", "bin/demo/ssh/")
	kubectl(t, "-n", gate, "wait", "--for=condition=Ready", "accessgrant/"+hostGrant, timeout)
	options := sshFiles(t)
	through := func(program string, args ...string) (string, error) {
		return command(program, append(append([]string{}, options...), args...)...)
	}
	eventually(t, "the gate opens", func() error { _, err := through("ssh", "orders-host", "id"); return err })

	up := filepath.Join(t.TempDir(), "up")
	if err := os.WriteFile(up, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const log, uploads = "/var/log/orders/today.log", "/srv/orders/uploads/"
	for name, tc := range map[string]struct {
		program string
		args    []string
		shows   string
		fails   bool
	}{
		"one not listed": {"ssh", []string{"orders-host", "id; uname"}, "only a few commands", true},
		"one listed":     {"ssh", []string{"orders-host", "id"}, "deploy", false},
		"masked output":  {"ssh", []string{"orders-host", "tail " + log}, "paid with [card]", false},
		"a removal":      {"ssh", []string{"orders-host", "cd /; rm -rf /srv"}, "CDA-2001", true},
		"an upload":      {"scp", []string{"-q", up, "orders-host:" + uploads}, "", false},
		"another folder": {"scp", []string{"-q", up, "orders-host:/srv/orders/elsewhere"}, "uploads-only", true},
		"a masked file":  {"scp", []string{"-q", "orders-host:" + log, up + "2"}, "CDA-2004", true},
	} {
		out, err := through(tc.program, tc.args...)
		if (err != nil) != tc.fails || !strings.Contains(out, tc.shows) {
			t.Errorf("%s: %v\n%s\nwant it to show %q", name, err, out, tc.shows)
		}
	}
	if got := strings.TrimSpace(kubectl(t, "-n", tenant, "exec", "deployment/orders-host", "--", "ls", "/srv/orders", uploads)); !strings.HasSuffix(got, "\nup") || strings.Contains(got, "elsewhere") {
		t.Errorf("the host has %s", got)
	}

	held := make(chan string, 1)
	go func() { out, _ := through("ssh", "orders-host", "kill -HUP 1"); held <- out }()
	request := pending(t, hostGrant)
	begun := func() int {
		return strings.Count(kubectl(t, "-n", tenant, "exec", "deployment/orders-host", "--", "cat", log), "begins")
	}
	if begun() != 1 {
		t.Error("the service was restarted before that was approved")
	}
	decide(t, request, "Approved")
	wantContains(t, <-held, "held for approval until")
	eventually(t, "the service is restarted", func() error {
		if n := begun(); n != 2 {
			return fmt.Errorf("it began %d times", n)
		}
		return nil
	})

	cut := make(chan string, 1)
	go func() { out, _ := through("ssh", "orders-host", "tail -f "+log); cut <- out }()
	eventually(t, "the command is a session", func() error { return sessionOpen(t, hostGrant) })
	revoke(t, hostGrant)
	wantContains(t, <-cut, "CDA-1004")
	if out, err := through("ssh", "orders-host", "id"); err == nil {
		t.Errorf("ssh still works: %s", out)
	}
	kubectl(t, "delete", "-f", "bin/demo/ssh/")
	kubectl(t, "-n", gate, "delete", "secret", "orders-host-ca")
	kubectl(t, "delete", "-f", "bin/demo/host.yaml")
}
