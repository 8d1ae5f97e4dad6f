package sftp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	client "github.com/pkg/sftp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/sftp"
)

// socketVariable makes the test binary a program that copies its standard streams to a socket: what
// OpenSSH's clients start in the place of ssh or of a server.
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
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, c)
	return err
}

// pair returns two ends of a socket.
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
		f.Close()
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return ends[0], ends[1]
}

// server starts OpenSSH's sftp-server in a directory, which relative paths are relative to.
func server(t testing.TB, home string) *net.UnixConn {
	t.Helper()
	ours, theirs := pair(t)
	f, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_ = theirs.Close()
	cmd := exec.Command("/usr/lib/openssh/sftp-server", "-d", home)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ours.Close()
		_ = cmd.Wait()
	})
	return ours
}

// lexical starts the server of pkg/sftp, whose REALPATH resolves no links.
func lexical(t testing.TB, home string) *net.UnixConn {
	t.Helper()
	ours, theirs := pair(t)
	s, err := client.NewServer(theirs, client.WithServerWorkingDirectory(home))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve()
		_ = theirs.Close()
	}()
	t.Cleanup(func() {
		_ = ours.Close()
		<-done
	})
	return ours
}

// servers are those that attacks are tried on.
var servers = map[string]func(testing.TB, string) *net.UnixConn{"OpenSSH": server, "pkg_sftp": lexical}

// judge is a guard with a rule, which remembers what it was asked.
type judge struct {
	rule func(ctx context.Context, op files.Operation) error

	mu    sync.Mutex
	asked []files.Operation
}

func (j *judge) Operation(ctx context.Context, op files.Operation) error {
	j.mu.Lock()
	j.asked = append(j.asked, op)
	j.mu.Unlock()
	if j.rule == nil {
		return nil
	}
	return j.rule(ctx, op)
}

// baseline refuses what lets somebody in.
func baseline(_ context.Context, op files.Operation) error {
	if op.Facts().LetsIn() {
		return &files.Refusal{Message: "the baseline denies it"}
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

// of returns the outcomes of an action.
func (n *notes) of(a files.Action) (of []files.Outcome) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.outcomes {
		if o.Operation.Action == a {
			of = append(of, o)
		}
	}
	return of
}

// session is a relay before a server.
type session struct {
	home   string
	judge  *judge
	notes  *notes
	client *net.UnixConn // for the test to speak
	cancel context.CancelCauseFunc
	ended  chan error
}

// start relays between a client and a server. Its files are in a directory of the test.
func start(t testing.TB, rule func(context.Context, files.Operation) error, to files.Channel, home string) *session {
	t.Helper()
	s := &session{home: home, judge: &judge{rule: rule}, notes: &notes{}, ended: make(chan error, 1)}
	if to == nil {
		s.home = folder(t)
		to = server(t, s.home)
	}
	var far *net.UnixConn
	s.client, far = pair(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- sftp.Relay{Guard: s.judge, Log: s.notes, Patience: 20 * time.Millisecond}.Run(ctx, far, to)
	}()
	t.Cleanup(func() {
		cancel(nil)
		<-done
	})
	return s
}

// folder is a temporary directory by its real path.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// dial speaks SFTP to the relay.
func (s *session) dial(t testing.TB, o ...client.ClientOption) *client.Client {
	t.Helper()
	c, err := client.NewClientPipe(s.client, s.client, o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// end waits for the relay's end.
func (s *session) end(t testing.TB) {
	t.Helper()
	_ = s.client.CloseWrite()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	s.ended <- nil
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

func refusedBy(err error) bool {
	return errors.Is(err, os.ErrPermission)
}
