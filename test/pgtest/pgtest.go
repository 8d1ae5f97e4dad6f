// Package pgtest runs a real PostgreSQL server for tests: its own data directory, its own
// port on the loopback interface, TLS with a certificate authority of its own, and
// nothing left behind.
package pgtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/test/ports"
)

// Server is a running PostgreSQL server. Its superuser is "postgres" with the password
// Password.
type Server struct {
	Host     string // 127.0.0.1
	Port     int
	Dir      string // holds the data directory and the log
	CAFile   string // PEM of the authority that signed the server's certificate
	Password string
	LogFile  string
}

// Bin returns the path of a program of the newest installed PostgreSQL.
func Bin(t testing.TB, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) > 0 {
		return found[len(found)-1]
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed; on Debian: apt-get install postgresql", name)
	}
	return path
}

func version(path string) int {
	v, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return v
}

// Start starts a server and stops it when the test ends: the newest installed release, or
// the major that the environment names. Each setting is a line of postgresql.conf.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return start(t, chosen(t), settings)
}

func start(t testing.TB, major int, settings []string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "cardea-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{Host: "127.0.0.1", Port: FreePort(t), Dir: dir, Password: "pgtest",
		CAFile: filepath.Join(dir, "ca.crt"), LogFile: filepath.Join(dir, "log")}
	writeCertificates(t, dir)
	write(t, filepath.Join(dir, "pw"), s.Password, 0o600)
	bin := programs(t, major, dir)
	who := unprivileged(t, dir)
	data := filepath.Join(dir, "data")
	cluster(t, who, filepath.Join(bin, "initdb"), data, filepath.Join(dir, "pw"))
	conf := append([]string{
		"listen_addresses = '127.0.0.1'", fmt.Sprintf("port = %d", s.Port), "unix_socket_directories = '" + dir + "'",
		"ssl = on", "ssl_cert_file = '" + dir + "/tls.crt'", "ssl_key_file = '" + dir + "/tls.key'",
		"fsync = off", "autovacuum = off", "max_connections = 200", "shared_buffers = 64MB", "log_statement = all", "log_line_prefix = '%a|%u|%d|'",
	}, settings...)
	write(t, filepath.Join(data, "conf.extra"), strings.Join(conf, "\n")+"\n", 0o644)
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "include 'conf.extra'")
	f.Close()

	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGINT}
	cmd.Dir = dir
	logFile, err := os.OpenFile(s.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	started := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		// Pdeathsig belongs to the thread that starts the process: this goroutine keeps it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(done)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGQUIT); <-done })
	s.await(t, done)
	return s
}

func (s *Server) await(t testing.TB, done <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		c, err := pgx.Connect(ctx, s.URI("postgres", "postgres", s.Password))
		if err == nil {
			c.Close(ctx)
			return
		}
		select {
		case <-done:
			b, _ := os.ReadFile(s.LogFile)
			t.Fatalf("postgres ended: %s", b)
		case <-ctx.Done():
			t.Fatalf("postgres does not answer: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// URI returns a connection URI with the server's certificate verified.
func (s *Server) URI(user, database, password string) string {
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=verify-full&sslrootcert=%s", user, password, s.Host, s.Port, database, s.CAFile)
}

// Exec runs SQL as superuser in a database, by the simple protocol.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.URI("postgres", database, s.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Query returns the rows of a query as superuser, values as text and NULL as "NULL".
func (s *Server) Query(t testing.TB, database, sql string) [][]string {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.URI("postgres", database, s.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var rows [][]string
	for _, r := range results {
		for _, row := range r.Rows {
			var out []string
			for _, v := range row {
				if v == nil {
					v = []byte("NULL")
				}
				out = append(out, string(v))
			}
			rows = append(rows, out)
		}
	}
	return rows
}

// Log returns what the server logged so far: with log_statement = all every statement
// that reached it.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unprivileged returns the user that the server runs as: PostgreSQL refuses root.
func unprivileged(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal("there is no user postgres for the server to run as; on Debian: apt-get install postgresql")
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	entries, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, p := range append(entries, dir) {
		if err := os.Chown(p, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func run(t testing.TB, who *syscall.Credential, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "/tmp"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// FreePort returns a TCP port of the loopback interface for a server of the test.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func writeCertificates(t testing.TB, dir string) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pgtest CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "pgtest"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		var b bytes.Buffer
		_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
		return b.String()
	}
	write(t, filepath.Join(dir, "ca.crt"), encode("CERTIFICATE", caDER), 0o644)
	write(t, filepath.Join(dir, "tls.crt"), encode("CERTIFICATE", der), 0o644)
	write(t, filepath.Join(dir, "tls.key"), encode("PRIVATE KEY", keyDER), 0o600)
}
