package scp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/scp"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/sftp"
)

// socketVariable makes the test binary what scp -S starts in the place of ssh: it sends the command
// that it was given to a socket, and copies its standard streams.
const socketVariable = "CARDEA_TEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(socketVariable); socket != "" {
		if err := join(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func join(socket string) error {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	fmt.Fprintln(c, os.Args[len(os.Args)-1])
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, c)
	return err
}

func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return ends[0], ends[1]
}

type judge struct {
	mu      sync.Mutex
	asked   []files.Operation
	refused func(files.Operation) bool
}

func (j *judge) Operation(_ context.Context, op files.Operation) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, op)
	if j.refused != nil && j.refused(op) || op.Facts().LetsIn() {
		return &files.Refusal{Message: "no,\nby\x1brule"}
	}
	return nil
}

type notes struct {
	mu       sync.Mutex
	outcomes []files.Outcome
	err      error
}

func (n *notes) Done(o files.Outcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.outcomes = append(n.outcomes, o)
	return n.err
}

// buffered is a channel of which something was read already.
type buffered struct {
	*net.UnixConn
	from *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

// run runs OpenSSH's scp in dir against its own remote side in home, through the relay.
func run(t *testing.T, j *judge, n *notes, resolve bool, dir, home string, args ...string) (out string, relayed error) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder(t), "socket")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan error, 1)
	go func() { done <- serve(t, l, j, n, resolve, home) }()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("scp", append([]string{"-O", "-S", program}, args...)...)
	cmd.Env = append(os.Environ(), socketVariable+"="+l.Addr().String(), "GORACE=atexit_sleep_ms=0")
	cmd.Dir = dir
	both, err := cmd.CombinedOutput()
	if err != nil {
		both = append(both, err.Error()...)
	}
	_ = l.Close()
	return string(both), <-done
}

// serve takes one command and runs it, as a server does, in a home.
func serve(t *testing.T, l *net.UnixListener, j *judge, n *notes, resolve bool, home string) error {
	c, err := l.AcceptUnix()
	if err != nil {
		return err
	}
	from := bufio.NewReader(c)
	line, err := from.ReadString('\n')
	if err != nil {
		return err
	}
	line = strings.TrimSuffix(line, "\n")
	command, ok := scp.Parse(strings.Fields(line))
	if !ok {
		_ = c.Close()
		return fmt.Errorf("not recognised: %q", line)
	}
	relay := scp.Relay{Command: command, Guard: j, Log: n}
	if resolve {
		beside, wait, err := execute(t, home, "/usr/lib/openssh/sftp-server")
		if err != nil {
			return err
		}
		defer wait()
		r, err := sftp.NewResolver(context.Background(), beside)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		relay.Resolver = r
	}
	server, wait, err := execute(t, home, line)
	if err != nil {
		return err
	}
	defer wait()
	return relay.Run(context.Background(), buffered{c, from}, server)
}

// execute runs a command in a directory. The other end of its standard streams is to be closed before
// it is waited for.
func execute(t *testing.T, dir, line string) (*net.UnixConn, func(), error) {
	ours, theirs := pair(t)
	f, err := theirs.File()
	if err != nil {
		return nil, nil, err
	}
	_ = theirs.Close()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir, cmd.Stdin, cmd.Stdout = dir, f, f
	err = cmd.Start()
	_ = f.Close()
	return ours, func() { _ = cmd.Wait() }, err
}

func folder(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree is the content of all files below a directory.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		content, err := os.ReadFile(path)
		all[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
