//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/sshtest"
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
	server := sshtest.Start(t, sshtest.Options{Listen: "0.0.0.0"})
	ca := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(ca, server.UserCA, 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "-n", gate, "create", "secret", "generic", "orders-host-ca", "--type=kubernetes.io/ssh-auth", "--from-file=ssh-privatekey="+ca)
	kubectl(t, "-n", gate, "label", "secret", "orders-host-ca", v1alpha1.LabelTarget+"=orders-host")
	node := get[corev1.NodeList](t, "nodes").Items[0].Status.Addresses[0].Address
	samples, err := filepath.Glob(filepath.Join(root(), "config/samples/ssh/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(server.Dir, "app.log")
	if err := os.WriteFile(log, []byte("paid with 4111 1111 1111 1111\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	adapt := strings.NewReplacer("orders-host.shop.svc", node, "port: 22\n", "port: "+strconv.Itoa(server.Port)+"\n", "[deploy]", "["+server.Login+"]",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjuBYZOeTMYaX8z7fcWYOogL2ZSHWFn9u3bBhW8QqKl", strings.TrimSpace(server.HostKey),
		"/srv/orders/uploads", server.Dir+"/uploads", `"df -h"`, `"df -h", "sleep"`)
	for _, s := range samples {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		applyWith(t, adapt.Replace(string(b)), "-")
	}
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
	if err := os.Mkdir(filepath.Join(server.Dir, "uploads"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		program string
		args    []string
		shows   string
		fails   bool
	}{
		"one not listed": {"ssh", []string{"orders-host", "id; ps"}, "only a few commands", true},
		"one listed":     {"ssh", []string{"orders-host", "id"}, server.Login, false},
		"masked output":  {"ssh", []string{"orders-host", "tail " + log}, "paid with [card]", false},
		"a removal":      {"ssh", []string{"orders-host", "cd /; rm -rf " + server.Dir}, "CDA-2001", true},
		"an upload":      {"scp", []string{"-q", up, "orders-host:" + server.Dir + "/uploads/"}, "", false},
		"another folder": {"scp", []string{"-q", up, "orders-host:" + server.Dir + "/elsewhere"}, "uploads-only", true},
		"a masked file":  {"scp", []string{"-q", "orders-host:" + log, up + "2"}, "CDA-2004", true},
	} {
		out, err := through(tc.program, tc.args...)
		if (err != nil) != tc.fails || !strings.Contains(out, tc.shows) {
			t.Errorf("%s: %v\n%s\nwant it to show %q", name, err, out, tc.shows)
		}
	}
	if _, err := os.Stat(log); err != nil {
		t.Error("the refused command ran")
	}

	held := make(chan string, 1)
	go func() { out, _ := through("ssh", "orders-host", "systemctl restart orders"); held <- out }()
	request := pending(t, hostGrant)
	before := server.Commands(t)
	decide(t, request, "Denied")
	wantContains(t, <-held, "CDA-3002")
	if after := server.Commands(t); after != before {
		t.Error("the denied command ran")
	}

	cut := make(chan string, 1)
	running := server.Commands(t)
	go func() { out, _ := through("ssh", "orders-host", "sleep 600"); cut <- out }()
	eventually(t, "the command runs", func() error {
		if server.Commands(t) == running {
			return os.ErrNotExist
		}
		return nil
	})
	revoke(t, hostGrant)
	wantContains(t, <-cut, "CDA-1004")
	if out, err := through("ssh", "orders-host", "id"); err == nil {
		t.Errorf("ssh still works: %s", out)
	}
	kubectl(t, "-n", gate, "delete", "accessgrant/"+hostGrant, "target/orders-host", "secret/orders-host-ca", "maskingrule/host-output",
		"commandrule/what-may-run-on-hosts", "commandrule/hold-restarts", "commandrule/uploads-only")
}
