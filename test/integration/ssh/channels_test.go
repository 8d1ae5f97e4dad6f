package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// open opens a session as a channel, to do with it what a library would not.
func open(t testing.TB, c *ssh.Client) ssh.Channel {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	return ch
}

// ask sends a request with one string and returns whether it is granted.
func ask(t testing.TB, ch ssh.Channel, kind, text string) bool {
	t.Helper()
	ok, err := ch.SendRequest(kind, true, ssh.Marshal(struct{ Text string }{text}))
	if err != nil {
		t.Errorf("%s: %v", kind, err)
	}
	return ok
}

// says runs a command in a session of its own.
func says(t testing.TB, c *ssh.Client, command string) string {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Output(command)
	if err != nil {
		t.Errorf("%s: %v", command, err)
	}
	return string(out)
}

// TestManyChannels opens more channels than a connection may have, one by one and at once.
func TestManyChannels(t *testing.T) {
	w := start(t, setup{})
	c := w.client(t)
	for range 10_000 {
		_ = open(t, c).Close()
	}
	var held []ssh.Channel
	refused := new(ssh.OpenChannelError)
	for range 65 {
		ch, requests, err := c.OpenChannel("session", nil)
		if err != nil {
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			break
		}
		go ssh.DiscardRequests(requests)
		held = append(held, ch)
	}
	// Of those closed before some may still be there: no more than 64 are.
	if len(held) > 64 || refused.Reason != ssh.ResourceShortage || !strings.Contains(refused.Message, "CDA-1012") {
		t.Errorf("%d channels are open, and one is refused by %q", len(held), refused.Message)
	}
	if got := w.ssh(t, "echo in"); got.Stdout != "in\n" {
		t.Errorf("another client sees %+v", got)
	}
	for _, ch := range held {
		_ = ch.Close()
	}
	eventually(t, "a channel to be free again", func() bool {
		ch, _, err := c.OpenChannel("session", nil)
		if err == nil {
			_ = ch.Close()
		}
		return err == nil
	})
}

// TestWindowExhaustion has clients that do not read what they asked for.
func TestWindowExhaustion(t *testing.T) {
	w := start(t, setup{})
	c := w.client(t)
	for range 8 {
		if !ask(t, open(t, c), "exec", "yes") {
			t.Fatal("not started")
		}
	}
	if got := says(t, c, "echo in"); got != "in\n" {
		t.Errorf("another channel: %q", got)
	}
	if got := says(t, w.client(t), "echo in"); got != "in\n" {
		t.Errorf("another connection: %q", got)
	}
	w.edit(t, "reason: a test", "reason: a test\n  desiredState: Revoked")
	if err := c.Wait(); err == nil {
		t.Error("the connection lives on")
	}
}

// TestFloods sends more requests than anybody needs.
func TestFloods(t *testing.T) {
	w := start(t, setup{})
	c := w.client(t)
	for range 10_000 {
		if _, _, err := c.SendRequest("flood@example.com", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		if ok, _, err := c.SendRequest("keepalive@openssh.com", true, nil); !ok || err != nil {
			t.Fatalf("keep-alive: %v, %v", ok, err)
		}
	}
	ch := open(t, c)
	taken := 0
	for i := range 1000 {
		if ok, err := ch.SendRequest("env", true, ssh.Marshal(struct{ Name, Value string }{fmt.Sprintf("LC_%d", i), "x"})); err != nil {
			t.Fatal(err)
		} else if ok {
			taken++
		}
	}
	if taken != 32 {
		t.Errorf("%d variables were taken, want 32", taken)
	}
	for name, v := range map[string]struct{ Name, Value string }{"no name": {}, "long": {"LC_X", strings.Repeat("x", 2000)}, "LD_PRELOAD": {"LD_PRELOAD", "/x"},
		"NUL": {"LC_X", "a\x00b"}, "two": {"LC_X=y\nPATH", "/x"}, "PATH": {"PATH", "/x"}} {
		if ok, err := open(t, c).SendRequest("env", true, ssh.Marshal(v)); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if !ask(t, ch, "exec", "cat") {
		t.Fatal("not started")
	}
	for i := range uint32(10_000) {
		if _, err := ch.SendRequest("window-change", false, ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{i, i, i, i})); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.SendRequest("flood@example.com", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := says(t, c, "echo in"); got != "in\n" {
		t.Errorf("another channel: %q", got)
	}
	comesBack(t, ch)
}

// TestOrder does things of a channel in an order that no client of OpenSSH has.
func TestOrder(t *testing.T) {
	w := start(t, setup{})
	c := w.client(t)
	ch := open(t, c)
	if _, err := io.WriteString(ch, "early, "); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"x11-req", "auth-agent-req@openssh.com", "signal", "window-change", "exit-status", "unknown@example.com"} {
		if ok, err := ch.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("%s: %v, %v", kind, ok, err)
		}
	}
	if ok, err := ch.SendRequest("exec", true, []byte{0, 0, 1}); ok || err != nil {
		t.Errorf("a command cut short: %v, %v", ok, err)
	}
	if ask(t, ch, "exec", strings.Repeat("x", 65<<10)) {
		t.Error("a command of 65 KiB is taken")
	}
	if !ask(t, ch, "exec", "cat") {
		t.Fatal("not started")
	}
	before := w.server.Commands(t)
	for _, kind := range []string{"exec", "shell", "subsystem", "pty-req", "env"} {
		if ask(t, ch, kind, "id") {
			t.Errorf("%s is taken while a command runs", kind)
		}
	}
	if _, err := io.WriteString(ch, "late"); err != nil {
		t.Fatal(err)
	}
	if err := ch.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(ch); string(out) != "early, late" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if after := w.server.Commands(t); after > before+1 {
		t.Errorf("the server started %d commands", after-before)
	}
	t.Run("a signal", func(t *testing.T) {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("echo begins; sleep 600"); err != nil {
			t.Fatal(err)
		}
		until(t, out, "begins")
		if err := s.Signal(ssh.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// OpenSSH signals nothing of root, but says so.
		ended := make(chan error, 1)
		go func() { ended <- s.Wait() }()
		var got error
		eventually(t, "the signal to reach the server", func() bool {
			select {
			case got = <-ended:
				return true
			default:
				return strings.Contains(w.server.Log(t), "session signalling requires privilege separation")
			}
		})
		if exit := new(ssh.ExitError); got != nil && (!errors.As(got, &exit) || exit.Signal() != "TERM") {
			t.Errorf("it ends by %v", got)
		}
		_ = s.Close()
	})
	t.Run("an unknown subsystem", func(t *testing.T) {
		before := w.server.Commands(t)
		ch := open(t, c)
		_, _ = ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"netconf"}))
		if said, err := io.ReadAll(ch.Stderr()); err != nil || !strings.Contains(string(said), "CDA-") {
			t.Errorf("the client is told %q, %v", said, err)
		}
		if w.server.Commands(t) != before {
			t.Error("the server has started it")
		}
	})
}

// TestG5WhileHeld does other things while a command awaits approval: no forward opens, and the
// connection stays usable.
func TestG5WhileHeld(t *testing.T) {
	port, listens := echo(t), take(t)
	w := start(t, setup{grant: fmt.Sprintf("channels: [Exec, LocalForward, RemoteForward]\nforwards: [\"localhost:%d\"]\nlistens: [\"127.0.0.1:%d\"]", port, listens),
		more: []string{rule("hold", `{shell: {commands: ["touch **"]}}`, held)}})
	c := w.client(t)
	made := filepath.Join(w.server.Dir, "made")
	var errs bytes.Buffer
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	s.Stderr = &errs
	if err := s.Start("touch " + made); err != nil {
		t.Fatal(err)
	}
	w.answer(t, v1alpha1.DecisionApproved, func() {
		refused := new(ssh.OpenChannelError)
		if _, err := forward(c, "localhost", port); !errors.As(err, &refused) || !strings.Contains(refused.Message, "CDA-3001") {
			t.Errorf("a forward: %v", err)
		}
		if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(place{"127.0.0.1", listens})); ok || err != nil {
			t.Errorf("listening: %v, %v", ok, err)
		}
		// More than anything keeps: none of it may stop the connection.
		for i := range 200 {
			if err := s.WindowChange(i, i); err != nil {
				t.Fatal(err)
			}
			if err := s.Signal(ssh.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		}
		if got := says(t, c, "echo in"); got != "in\n" {
			t.Errorf("another channel: %q", got)
		}
	})
	// The signals that were kept reach the command, which need not survive them.
	_ = s.Wait()
	ch, err := forward(c, "localhost", port)
	if err != nil {
		t.Fatalf("once it is decided: %v (%s)", err, errs.String())
	}
	comesBack(t, ch)
}
