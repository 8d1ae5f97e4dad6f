// Package sshtest runs a real OpenSSH server for tests: its own keys, its own port on the
// loopback interface, and nothing left behind.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/test/ports"
)

// sshd is where Debian has the server.
const sshd = "/usr/sbin/sshd"

// Server is a running OpenSSH server. It lets the user of the test in, with a certificate of
// its authority or with Key.
type Server struct {
	Port  int
	Dir   string // for files of tests too
	Login string // the user of the test
	// HostKey is the server's public key, and HostCA that of the authority which signed it for
	// the host 127.0.0.1; lines.
	HostKey, HostCA string
	// UserCA and Key are private keys in PEM.
	UserCA, Key []byte

	log string
}

// Options are what differs between servers.
type Options struct {
	// Certificate has the server prove itself by a host certificate alone.
	Certificate bool
	// Config are more lines of sshd_config(5).
	Config []string
}

// Start starts a server and ends it with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if _, err := os.Stat(sshd); err != nil {
		t.Fatal("sshd is not installed; on Debian: apt-get install openssh-server")
	}
	port, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: port, Dir: t.TempDir(), Login: me.Username}
	s.log = filepath.Join(s.Dir, "sshd.log")
	hostCA, _ := s.key(t, "hostca")
	host, hostLine := s.key(t, "host")
	s.HostKey, s.HostCA = hostLine, line(hostCA.PublicKey())
	s.certify(t, host.PublicKey(), hostCA)
	userCA, caLine := s.key(t, "userca")
	_, keyLine := s.key(t, "key")
	s.UserCA, s.Key = read(t, s.path("userca")), read(t, s.path("key"))
	_ = userCA
	write(t, s.path("userca.pub"), caLine)
	write(t, s.path("authorized"), keyLine)
	config := []string{
		fmt.Sprintf("Port %d", port), "ListenAddress 127.0.0.1", "HostKey " + s.path("host"), "TrustedUserCAKeys " + s.path("userca.pub"),
		"AuthorizedKeysFile " + s.path("authorized"), "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes",
		"StrictModes no", "UsePAM no", "PidFile none", "LogLevel VERBOSE", "Subsystem sftp internal-sftp", "MaxStartups 100:30:200", "MaxSessions 100",
		"PrintMotd no", "AcceptEnv LANG LC_* CARDEA_*",
		// A shell that takes itself for a nested one does not read the .bashrc of whoever runs the tests.
		"SetEnv SHLVL=2",
	}
	if o.Certificate {
		config = append(config, "HostCertificate "+s.path("host-cert.pub"))
	}
	write(t, s.path("sshd_config"), strings.Join(append(config, o.Config...), "\n")+"\n")
	if me.Uid == "0" {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { //nolint:gosec // where privileges are separated
			t.Fatal(err)
		}
	}
	s.run(t)
	return s
}

func (s *Server) run(t testing.TB) {
	t.Helper()
	cmd := exec.Command(sshd, "-D", "-f", s.path("sshd_config"), "-E", s.log)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("the server said:\n%s", s.Log(t))
		}
	})
	late := time.After(time.Minute)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if c, err := net.Dial("tcp", s.Address()); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-look.C:
		case <-exited:
			t.Fatalf("sshd ended:\n%s", s.Log(t))
		case <-late:
			t.Fatalf("sshd does not listen:\n%s", s.Log(t))
		}
	}
}

// Address is where it listens.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// Log returns what the server has logged.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.log)
	if err != nil {
		return ""
	}
	return string(b)
}

// Commands returns how many commands, shells and subsystems the server has started.
func (s *Server) Commands(t testing.TB) int {
	t.Helper()
	return strings.Count(s.Log(t), "Starting session:")
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// key makes a key in the folder of the server.
func (s *Server) key(t testing.TB, name string) (ssh.Signer, string) {
	t.Helper()
	signer, block := NewKey(t)
	write(t, s.path(name), string(block))
	return signer, line(signer.PublicKey())
}

// NewKey makes an Ed25519 key, and returns it in PEM too.
func NewKey(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func (s *Server) certify(t testing.TB, key ssh.PublicKey, by ssh.Signer) {
	t.Helper()
	cert := &ssh.Certificate{Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, by); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("host-cert.pub"), string(ssh.MarshalAuthorizedKey(cert)))
}

func line(key ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(key)) }

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
