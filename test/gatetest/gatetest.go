// Package gatetest runs the proxy as it is shipped, from a folder of manifests, in front of
// a real PostgreSQL server: for tests that bring the clients.
package gatetest

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// binary is the proxy; Main builds it.
var binary string

// Main builds the proxy, or takes the one that the environment variable CARDEA_PROXY names,
// runs the tests and returns the code to exit with. TestMain calls it.
func Main(m *testing.M) int {
	if binary = os.Getenv("CARDEA_PROXY"); binary == "" {
		dir, err := os.MkdirTemp("", "cardea-gatetest-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "cardea-proxy")
		cmd := exec.Command("go", "build", "-o", binary, "github.com/cardea-dev/cardea/cmd/proxy")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build proxy: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// patience is how long the proxy may take for what should be quick.
const patience = 2 * time.Minute

// Options say what the gate stands in front of and what it lets through.
type Options struct {
	Server   *pgtest.Server
	User     string // of the server, with Password
	Password string
	Access   string   // access level of the grant
	Masked   []string // columns as a MaskingRule names them; none makes no rule
	Function string   // of the masks, as YAML; partial with the last four shown if empty
	Disabled []string // baseline rules that are off
	More     []string // documents in namespace gate, or cardea-system
}

// Gate is a running proxy with one grant to all databases.
type Gate struct {
	Port     int
	Dir      string // of the manifests
	Grant    string // the name of the grant, which is the user at the gate
	Password string
	CAFile   string // PEM of the authority that signed the gate's certificate
	CertFile string // the grant's client certificate and its key
	KeyFile  string

	cmd    *exec.Cmd
	exited chan struct{}
	said   *output
}

// Said returns what the proxy has printed, its log.
func (g *Gate) Said() string { return g.said.tail(1 << 30) }

// Start starts a proxy and ends it with the test.
func Start(t testing.TB, o Options) *Gate {
	t.Helper()
	port := pgtest.FreePort(t)
	g := StartWith(t, "client", manifests(t, o), "--postgres-port", fmt.Sprint(port))
	g.Port = port
	g.Password = strings.TrimSpace(read(t, g.Credential("password")))
	g.CAFile, g.CertFile, g.KeyFile = g.Credential("ca.crt"), g.Credential("tls.crt"), g.Credential("tls.key")
	return g
}

// StartWith starts a proxy with manifests and flags, waits until the grant has its credential,
// and ends it with the test.
func StartWith(t testing.TB, grant, manifests string, flags ...string) *Gate {
	t.Helper()
	g := &Gate{Dir: t.TempDir(), Grant: grant}
	write(t, filepath.Join(g.Dir, "gate.yaml"), manifests)
	var said output
	cmd := exec.Command(binary, append([]string{"--manifests", g.Dir, "--address", "127.0.0.1", "--metrics-port", "0", "--drain", "1s", "-v", "1"}, flags...)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	g.cmd, g.exited, g.said = cmd, exited, &said
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		g.Stop(t)
		if t.Failed() {
			t.Logf("the proxy said:\n%s", said.tail(16<<10))
		}
	})
	late := time.After(patience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !strings.Contains(said.tail(1<<20), "cardea-proxy is ready") || !exists(g.Credential("uri")) {
		select {
		case <-look.C:
		case <-exited:
			t.Fatalf("the proxy ended:\n%s", said.tail(16<<10))
		case <-late:
			t.Fatalf("the proxy is not ready:\n%s", said.tail(16<<10))
		}
	}
	return g
}

// Credential returns the path of a file of the grant's credential.
func (g *Gate) Credential(key string) string {
	return filepath.Join(g.Dir, ".credentials", g.Grant, key)
}

// Process is the number of the proxy's process.
func (g *Gate) Process() int { return g.cmd.Process.Pid }

// URI returns a connection URI that verifies the gate's certificate; parameters are added.
func (g *Gate) URI(database string, parameters ...string) string {
	u := url.URL{Scheme: "postgresql", User: url.UserPassword(g.Grant, g.Password), Host: fmt.Sprintf("127.0.0.1:%d", g.Port), Path: "/" + database}
	u.RawQuery = strings.Join(append([]string{"sslmode=verify-full", "sslrootcert=" + g.CAFile}, parameters...), "&")
	return u.String()
}

// Environment returns the environment with the variables by which libpq and its like find
// the gate.
func (g *Gate) Environment(database string) []string {
	return append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", g.Port), "PGUSER="+g.Grant, "PGPASSWORD="+g.Password, "PGDATABASE="+database,
		"PGSSLMODE=verify-full", "PGSSLROOTCERT="+g.CAFile, "PGCONNECT_TIMEOUT=120", "PGURI="+g.URI(database), "LC_ALL=C.UTF-8", "PGCLIENTENCODING=UTF8", "PAGER=", "TZ=UTC")
}

// Stop ends the proxy, and with it all sessions and their recordings.
func (g *Gate) Stop(t testing.TB) {
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

// Events stops the proxy and returns what it recorded, session by session.
func (g *Gate) Events(t testing.TB) []recording.Event {
	t.Helper()
	g.Stop(t)
	root := filepath.Join(g.Dir, ".recordings")
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

// Refused stops the proxy and returns the commands that it refused.
func (g *Gate) Refused(t testing.TB) []recording.Command {
	t.Helper()
	var refused []recording.Command
	for _, e := range g.Events(t) {
		if e.Command != nil && e.Command.Decision == "Denied" {
			refused = append(refused, *e.Command)
		}
	}
	return refused
}

func manifests(t testing.TB, o Options) string {
	t.Helper()
	ca := strings.ReplaceAll(strings.TrimSpace(read(t, o.Server.CAFile)), "\n", "\n    ")
	docs := []string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca, namespace: gate}\ndata:\n  ca.crt: |\n    " + ca,
		fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: gate, labels: {access.cardea.dev/target: db}}\ntype: kubernetes.io/basic-auth\nstringData: {username: %q, password: %q}", o.User, o.Password),
		fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: Target\nmetadata: {name: db, namespace: gate}\nspec:\n  postgres:\n    host: localhost\n    port: %d\n    tls: {mode: VerifyFull, caRef: {kind: ConfigMap, name: ca, key: ca.crt}}\n    login: {secretRef: {name: login}}", o.Server.Port),
		fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: AccessGrant\nmetadata: {name: client, namespace: gate}\nspec:\n  subject: {kind: User, name: tester}\n  targetRef: {name: db}\n  duration: 4h\n  reason: a test\n  postgres: {databases: [\"*\"], access: %s}\n  credentials: {delivery: Secret}", o.Access),
	}
	if len(o.Disabled) > 0 {
		docs[2] += "\n  baseline: {disable: [" + strings.Join(o.Disabled, ", ") + "]}"
	}
	if len(o.Masked) > 0 {
		names := make([]string, 0, len(o.Masked))
		for _, m := range o.Masked {
			names = append(names, fmt.Sprintf("%q", m))
		}
		f := o.Function
		if f == "" {
			f = "{partial: {keepLast: 4}}"
		}
		docs = append(docs, fmt.Sprintf("apiVersion: access.cardea.dev/v1alpha1\nkind: MaskingRule\nmetadata: {name: masks, namespace: gate}\nspec:\n  targetSelector: {}\n  columns: [{names: [%s], function: %s}]", strings.Join(names, ", "), f))
	}
	docs = append(docs, o.More...)
	return strings.Join(docs, "\n---\n") + "\n"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
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

// tail returns the last n bytes.
func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := slices.Clone(o.b.Bytes())
	return string(b[max(0, len(b)-n):])
}
