package ssh

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/ports"
	"github.com/cardea-dev/cardea/test/sshtest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// patience is how long may take what should be quick.
const patience = 2 * time.Minute

// setup says what stands behind the gate, and what it lets through.
type setup struct {
	server sshtest.Options
	// target and grant are lines of YAML: of spec.ssh, each, beside what is needed.
	target, grant string
	// spec are lines of the Target's spec.
	spec string
	// port is where the Target has its server; where the server listens if zero.
	port int
	more []string
}

// world is a gate before a server.
type world struct {
	*gatetest.Gate
	server *sshtest.Server
	port   int
}

// rule returns a CommandRule for every Target.
func rule(name, match, action string) string {
	return fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: CommandRule\nmetadata: {name: %s, namespace: gate}\nspec: {targetSelector: {}, match: [%s], %s}", name, match, action)
}

// held is what follows of a rule that holds.
const held = "action: RequireApproval, approval: {required: 1, approvers: [{kind: User, name: ops}], timeout: 5m, whilePending: Wait, inTransaction: Reject}"

func indent(text string, by int) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+strings.Repeat(" ", by))
}

func start(t testing.TB, s setup) *world {
	t.Helper()
	server := sshtest.Start(t, s.server)
	if s.target == "" {
		s.target = fmt.Sprintf("hostKeys: [%q]\nuserCA: {secretRef: {name: key}}", strings.TrimSpace(server.HostKey))
	}
	if s.grant == "" {
		s.grant = "channels: [Exec]"
	}
	if s.port == 0 {
		s.port = server.Port
	}
	key := server.UserCA
	if strings.Contains(s.target, "\nkey:") {
		key = server.Key
	}
	expand := func(text string) string {
		return strings.NewReplacer("HOSTKEY", strings.TrimSpace(server.HostKey), "HOSTCA", strings.TrimSpace(server.HostCA), "DIR", server.Dir,
			"PORT", strconv.Itoa(server.Port)).Replace(text)
	}
	docs := []string{
		fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: gate, labels: {access.cardea.dev/target: host}}\ntype: kubernetes.io/ssh-auth\nstringData:\n  ssh-privatekey: |\n    %s", indent(string(key), 4)),
		fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: Target\nmetadata: {name: host, namespace: gate}\nspec:\n  %s\n  ssh:\n    host: 127.0.0.1\n    port: %d\n    logins: [%s]\n    %s",
			indent(s.spec, 2), s.port, server.Login, indent(expand(s.target), 4)),
		fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: AccessGrant\nmetadata: {name: client, namespace: gate}\nspec:\n  subject: {kind: User, name: tester}\n  targetRef: {name: host}\n  duration: 4h\n  reason: a test\n  ssh:\n    logins: [%s]\n    %s",
			server.Login, indent(expand(s.grant), 4)),
	}
	for _, m := range s.more {
		docs = append(docs, expand(m))
	}
	port, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	g := gatetest.StartWith(t, "client", strings.Join(docs, "\n---\n")+"\n", "--postgres-port", "0", "--ssh-port", strconv.Itoa(port))
	return &world{Gate: g, server: server, port: port}
}

// outcome is what a client saw.
type outcome struct {
	Stdout, Stderr string
	Code           int
}

// run runs a client of OpenSSH with the grant's configuration.
func (w *world) run(t testing.TB, stdin string, program string, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-F", w.Credential("config"), "-o", "ConnectTimeout=120"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	o := outcome{}
	exited := new(exec.ExitError)
	switch err := cmd.Run(); {
	case errors.As(err, &exited):
		o.Code = exited.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	o.Stdout, o.Stderr = out.String(), errs.String()
	return o
}

// ssh runs a command by the ssh of OpenSSH.
func (w *world) ssh(t testing.TB, command ...string) outcome {
	t.Helper()
	return w.run(t, "", "ssh", append([]string{"host"}, command...)...)
}

// client connects as the holder of the grant does, in Go.
func (w *world) client(t testing.TB) *ssh.Client {
	t.Helper()
	c, err := w.dial(t, w.signer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) dial(t testing.TB, signers ...ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	return ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), &ssh.ClientConfig{User: w.server.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience}) //nolint:gosec // the test is about the other side
}

// key returns the grant's private key.
func (w *world) key(t testing.TB) ssh.Signer {
	t.Helper()
	b, err := os.ReadFile(w.Credential("id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate returns the grant's certificate.
func (w *world) certificate(t testing.TB) *ssh.Certificate {
	t.Helper()
	b, err := os.ReadFile(w.Credential("id_ed25519-cert.pub"))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(b)
	blob, err := base64.StdEncoding.DecodeString(string(fields[1]))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ssh.Certificate)
}

func (w *world) signer(t testing.TB) ssh.Signer {
	t.Helper()
	s, err := ssh.NewCertSigner(w.certificate(t), w.key(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.After(patience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// answer waits for a question to approvers, calls look, and answers it.
func (w *world) answer(t testing.TB, decision v1alpha1.DecisionValue, look func()) *v1alpha1.ApprovalRequest {
	t.Helper()
	var found *v1alpha1.ApprovalRequest
	var path string
	eventually(t, "an ApprovalRequest", func() bool {
		entries, _ := filepath.Glob(filepath.Join(w.Dir, ".approvals", "*.yaml"))
		for _, e := range entries {
			b, err := os.ReadFile(e)
			if err != nil {
				continue
			}
			r := &v1alpha1.ApprovalRequest{}
			if yaml.Unmarshal(b, r) == nil && len(r.Status.Decisions) == 0 && r.Status.Consumed == nil {
				found, path = r, e
				return true
			}
		}
		return false
	})
	look()
	found.Status.Decisions = []v1alpha1.ApprovalDecision{{Approver: "ops", Decision: decision}}
	b, err := yaml.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return found
}

// edit changes the gate's manifests.
func (w *world) edit(t testing.TB, old, replacement string) {
	t.Helper()
	path := filepath.Join(w.Dir, "gate.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("the manifests do not hold %q", old)
	}
	if err := os.WriteFile(path+".new", []byte(strings.Replace(string(b), old, replacement, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// until reads from a stream until a text is there.
func until(t testing.TB, from io.Reader, text string) string {
	t.Helper()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), text) {
		n, err := from.Read(buf)
		seen.Write(buf[:n])
		if err != nil && !strings.Contains(seen.String(), text) {
			t.Fatalf("%q did not come, but %q and then %v", text, seen.String(), err)
		}
	}
	return seen.String()
}
