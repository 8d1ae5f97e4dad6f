package standalone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// binary is the proxy as it is shipped; built once.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cardea-standalone-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary = os.Getenv("CARDEA_PROXY"); binary == "" {
		binary = filepath.Join(dir, "cardea-proxy")
		cmd := exec.Command("go", "build", "-tags", "netgo,osusergo", "-ldflags", "-linkmode external -extldflags -static", "-o", binary, "../../cmd/proxy")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build proxy: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// patience is how long anything may take that should be quick.
const patience = 2 * time.Minute

// schema is the database of the samples.
const schema = `
create table customers (id int primary key, name text, email text, ssn text);
insert into customers values (1, 'Ada', 'ada@example.com', '123-45-6789'), (2, 'Bob', 'bob@example.org', '987-65-4321');
create table orders (id int primary key, customer int, total numeric);
insert into orders select g, 1 + g % 2, g * 10 from generate_series(1, 5) g;
grant select on customers, orders to app; grant delete, insert, update on orders to app;`

// upstreamPassword is planted: it must be nowhere but in the manifest.
const upstreamPassword = "upstream-password-Zk3vQ9"

// database starts a PostgreSQL server with the database of the samples.
func database(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.Start(t)
	s.Exec(t, "postgres", "create role app login password '"+upstreamPassword+"'")
	s.Exec(t, "postgres", "create database orders owner postgres")
	s.Exec(t, "orders", schema)
	return s
}

// gate is a folder of manifests and, once started, the proxy that runs from it.
type gate struct {
	t       *testing.T
	dir     string
	db      *pgtest.Server
	port    int
	metrics int

	cmd    *exec.Cmd
	output output
	exited chan struct{}
}

// newGate fills a folder with the samples, changed to reach db.
func newGate(t *testing.T, db *pgtest.Server) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir(), db: db, port: pgtest.FreePort(t), metrics: pgtest.FreePort(t)}
	samples, err := filepath.Glob("../../config/samples/postgres/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, path := range samples {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := strings.NewReplacer("host: orders.shop.svc", "host: localhost", "port: 5432", fmt.Sprintf("port: %d", db.Port),
			"sample-password-to-replace", upstreamPassword).Replace(string(b))
		g.write(filepath.Base(path), s)
	}
	ca, err := os.ReadFile(db.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	g.write("21-ca.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: orders-ca, namespace: shop-gate}\ndata:\n  ca.crt: |\n    "+
		strings.ReplaceAll(strings.TrimSpace(string(ca)), "\n", "\n    ")+"\n")
	return g
}

func (g *gate) path(name string) string { return filepath.Join(g.dir, name) }

func (g *gate) write(name, content string) {
	g.t.Helper()
	// Renamed into place, as a careful editor does.
	path := g.path(name)
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"~")
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) read(name string) string {
	g.t.Helper()
	b, err := os.ReadFile(g.path(name))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

// edit replaces text in a file of the folder.
func (g *gate) edit(name, from, to string) {
	g.t.Helper()
	s := g.read(name)
	if !strings.Contains(s, from) {
		g.t.Fatalf("%s does not hold %q:\n%s", name, from, s)
	}
	g.write(name, strings.Replace(s, from, to, 1))
}

// start starts the proxy and waits until it is ready.
func (g *gate) start(args ...string) *gate {
	g.t.Helper()
	g.run(args...)
	g.eventually("the proxy is ready", func() bool {
		select {
		case <-g.exited:
			g.t.Fatalf("the proxy ended:\n%s", g.output.String())
		default:
		}
		return strings.Contains(g.output.String(), "cardea-proxy is ready")
	})
	return g
}

// run starts the proxy.
func (g *gate) run(args ...string) {
	g.t.Helper()
	g.cmd = exec.Command(binary, append([]string{"--manifests", g.dir, "--address", "127.0.0.1", "--postgres-port", fmt.Sprint(g.port),
		"--metrics-port", fmt.Sprint(g.metrics), "--drain", "1s", "-v", "1"}, args...)...)
	g.cmd.Stdout, g.cmd.Stderr = &g.output, &g.output
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	cmd, exited := g.cmd, make(chan struct{})
	g.exited = exited
	go func() { _ = cmd.Wait(); close(exited) }()
	g.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			g.t.Error("the proxy does not end on SIGTERM")
		}
		if g.t.Failed() {
			g.t.Logf("the proxy said:\n%s", g.output.String())
		}
	})
}

func (g *gate) signal(s os.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
	select {
	case <-g.exited:
	case <-time.After(patience):
		g.t.Fatal("the proxy does not end")
	}
}

func (g *gate) eventually(what string, f func() bool) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			g.t.Fatalf("not within %s: %s\n%s", patience, what, g.output.String())
		}
		<-time.After(10 * time.Millisecond)
	}
}

// credential returns one key of the grant's credential.
func (g *gate) credential(name string) string {
	g.t.Helper()
	return g.read(".credentials/report-agent/" + name)
}

// uri returns the credential's uri with parameters replaced or added.
func (g *gate) uri(params ...string) string {
	g.t.Helper()
	return strings.Join(append([]string{g.credential("uri")}, params...), "&")
}

// psql runs statements with the real psql and returns what it printed and its exit code.
func (g *gate) psql(uri string, statements ...string) (string, int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := []string{"-X", "-A", "-t", uri}
	for _, s := range statements {
		args = append(args, "-c", s)
	}
	out, err := exec.CommandContext(ctx, pgtest.Bin(g.t, "psql"), args...).CombinedOutput()
	if ctx.Err() != nil {
		g.t.Fatalf("psql does not end: %s", out)
	}
	if err != nil {
		if exit := new(exec.ExitError); !errors.As(err, &exit) {
			g.t.Fatal(err)
		}
		return string(out), 1
	}
	return string(out), 0
}

// terminal is an interactive psql.
type terminal struct {
	g      *gate
	cmd    *exec.Cmd
	in     interface{ Write([]byte) (int, error) }
	output output
	exited chan struct{}
}

// open starts a psql that reads statements one by one.
func (g *gate) open(uri string) *terminal {
	g.t.Helper()
	p := &terminal{g: g, cmd: exec.Command(pgtest.Bin(g.t, "psql"), "-X", "-A", "-t", uri), exited: make(chan struct{})}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	p.in = in
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	g.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.exited })
	return p
}

func (p *terminal) send(s string) {
	p.g.t.Helper()
	if _, err := p.in.Write([]byte(s + "\n")); err != nil {
		p.g.t.Fatalf("psql is gone: %v\n%s", err, p.output.String())
	}
}

func (p *terminal) expect(want string) {
	p.g.t.Helper()
	deadline := time.Now().Add(patience)
	for !strings.Contains(p.output.String(), want) {
		if time.Now().After(deadline) {
			p.g.t.Fatalf("psql does not say %q but:\n%s", want, p.output.String())
		}
		<-time.After(5 * time.Millisecond)
	}
}

// only returns the one file of a folder, once it is there.
func (g *gate) only(dir string) string {
	g.t.Helper()
	name := ""
	g.eventually("one file in "+dir, func() bool {
		found, _ := filepath.Glob(g.path(dir + "/*.yaml"))
		if len(found) == 1 {
			name = dir + "/" + filepath.Base(found[0])
		}
		return len(found) == 1
	})
	return name
}

// files returns the content of every file of the folder by path, but for the named
// top-level entries.
func (g *gate) files(but ...string) map[string][]byte {
	g.t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(g.dir, path)
		for _, b := range but {
			if rel == b {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
		}
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out[rel] = content
		}
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (g *gate) exists(name string) bool {
	_, err := os.Stat(g.path(name))
	return err == nil
}

// approve writes an approval into a request's file.
func (g *gate) approve(request, approver string, groups ...string) {
	g.t.Helper()
	g.edit(request, "status:\n", "status:\n  decisions:\n  - approver: "+approver+"\n    groups: ["+strings.Join(groups, ", ")+"]\n    decision: Approved\n    comment: ok\n")
}

func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Reset()
}

// dial opens a connection to the gate.
func (g *gate) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}
