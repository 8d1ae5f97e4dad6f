//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// pgbouncer starts PgBouncer in session mode, the only one in which every version carries
// prepared statements; TLS from the client, none to the server.
func pgbouncer(b *testing.B, s *pgtest.Server) *way {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		b.Fatal("pgbouncer is not installed; on Debian: apt-get install pgbouncer")
	}
	dir, port := b.TempDir(), pgtest.FreePort(b)
	b.Cleanup(func() { os.RemoveAll(dir) })
	put(b, filepath.Join(dir, "users"), `"app" "app"`+"\n")
	put(b, filepath.Join(dir, "ini"), fmt.Sprintf(`[databases]
bench = host=127.0.0.1 port=%d dbname=bench user=app password=app
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s/users
pool_mode = session
default_pool_size = 100
client_tls_sslmode = require
client_tls_cert_file = %s/tls.crt
client_tls_key_file = %s/tls.key
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
`, s.Port, port, dir, dir, dir))
	for _, name := range []string{"tls.crt", "tls.key"} {
		content, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil {
			b.Fatal(err)
		}
		put(b, filepath.Join(dir, name), string(content))
	}
	who := owner(b, s.Dir)
	chown(b, dir, who)
	pid, _ := spawn(b, false, who, path, "-q", filepath.Join(dir, "ini"))
	w := &way{name: "pgbouncer", env: client(port, "app", "app", s.CAFile), pid: pid}
	await(b, w)
	return w
}

// gate starts the standalone proxy with identity, policy and recording on, and with more
// rules if there are any.
func gate(b *testing.B, s *pgtest.Server, name, rules string) *way {
	binary := build(b, "../../cmd/proxy")
	dir, port := b.TempDir(), pgtest.FreePort(b)
	put(b, filepath.Join(dir, "policy.yaml"), fmt.Sprintf(policy, s.Port, time.Now().Add(12*time.Hour).UTC().Format(time.RFC3339))+rules)
	pid, _ := spawn(b, true, nil, binary, "--manifests", dir, "--postgres-port", strconv.Itoa(port), "--metrics-port", "0")
	read := func(key string) string {
		content, err := os.ReadFile(filepath.Join(dir, ".credentials", "bench", key))
		if err != nil {
			b.Fatal(err)
		}
		return strings.TrimSpace(string(content))
	}
	w := &way{name: name, env: client(port, read("username"), read("password"), filepath.Join(dir, ".credentials", "bench", "ca.crt")), pid: pid}
	await(b, w)
	return w
}

// policy has a rule that every statement is matched against.
const policy = `apiVersion: v1
kind: Secret
metadata: {name: login, namespace: gate, labels: {access.cardea.dev/target: bench}}
type: kubernetes.io/basic-auth
stringData: {username: app, password: app}
---
apiVersion: access.cardea.dev/v1alpha1
kind: Target
metadata: {name: bench, namespace: gate}
spec:
  requires: [CommandRule]
  postgres:
    host: 127.0.0.1
    port: %d
    tls: {mode: Disable}
    login: {secretRef: {name: login}}
---
apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: destructive, namespace: gate}
spec:
  targetSelector: {}
  match: [{sql: {statements: [Drop, Truncate]}}, {sql: {writes: Unfiltered}}]
  action: Deny
---
apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: bench, namespace: gate}
spec:
  subject: {kind: User, name: bench}
  targetRef: {name: bench}
  expiresAt: %s
  reason: benchmark
  postgres: {databases: [bench], access: ReadWrite}
`

// masks masks a column of the database that no statement uses, so that every statement is
// analysed with its lineage.
const masks = `---
apiVersion: access.cardea.dev/v1alpha1
kind: MaskingRule
metadata: {name: pii, namespace: gate}
spec:
  targetSelector: {}
  columns: [{names: ["*.*.ssn"], function: {partial: {keepLast: 4}}}]
`

// uri is where w begins, for drivers.
func (w *way) uri() string {
	value := func(key string) string {
		for _, e := range w.env {
			if v, ok := strings.CutPrefix(e, key+"="); ok {
				return v
			}
		}
		return ""
	}
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%s/bench?sslmode=verify-full&sslrootcert=%s", value("PGUSER"), value("PGPASSWORD"), value("PGPORT"), value("PGSSLROOTCERT"))
}

// await waits until a way leads to the server.
func await(b *testing.B, w *way) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := pgx.Connect(ctx, w.uri())
		if err == nil {
			_ = c.Close(ctx)
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			b.Fatalf("%s does not answer: %v", w.name, err)
		}
	}
}

func put(b *testing.B, path, content string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
}

// owner is the user that owns a directory: the one that the server runs as, since
// PgBouncer refuses root too.
func owner(b *testing.B, dir string) *syscall.Credential {
	b.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		b.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
}

func chown(b *testing.B, dir string, who *syscall.Credential) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(who.Uid), int(who.Gid))
	})
	if err != nil {
		b.Fatal(err)
	}
	// The test's own directory above it is private to the user that runs the test.
	for parent := filepath.Dir(dir); strings.HasPrefix(parent, os.TempDir()) && parent != os.TempDir(); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			b.Fatal(err)
		}
	}
}
