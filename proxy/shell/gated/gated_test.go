package gated

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/shell"
)

// client is a terminal that is typed on and looked at.
type client struct {
	t    *testing.T
	keys *io.PipeWriter
	in   *io.PipeReader

	mu     sync.Mutex
	change *sync.Cond
	shown  bytes.Buffer

	lines []string
	code  chan int
	err   error
}

func (c *client) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *client) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown.Write(p)
	c.change.Broadcast()
	return len(p), nil
}

// see waits until a text was shown, and drops what was shown up to its end.
func (c *client) see(text string) string {
	c.t.Helper()
	limit := time.AfterFunc(20*time.Second, func() { c.mu.Lock(); c.change.Broadcast(); c.mu.Unlock() })
	defer limit.Stop()
	begin := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if at := strings.Index(c.shown.String(), text); at >= 0 {
			return string(c.shown.Next(at + len(text)))
		}
		if time.Since(begin) > 20*time.Second {
			c.t.Fatalf("%q is not shown:\n%s", text, c.shown.String())
		}
		c.change.Wait()
	}
}

func (c *client) typed(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.keys, text); err != nil {
		c.t.Fatal(err)
	}
}

var errRefused = errors.New("CDA-2001: no")

// start runs a gated shell whose rules refuse rm.
func start(t *testing.T, sh []string, decide func(ctx context.Context, line string) error) *client {
	t.Helper()
	c := &client{t: t, code: make(chan int, 1)}
	c.in, c.keys = io.Pipe()
	c.change = sync.NewCond(&c.mu)
	cmd := exec.Command(sh[0], sh[1:]...) //nolint:gosec // the shells of this test
	cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err1 := cmd.StdinPipe()
	stdout, w1, err2 := os.Pipe()
	stderr, w2, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w1, w2
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w1.Close()
	w2.Close()
	ended, exited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	go func() {
		defer close(ended)
		code, err := Run(context.Background(), Config{Terminal: c, Name: "web-0", Random: rand.Reader, Done: func(int) error { return nil },
			Decide: func(ctx context.Context, line string, f *shell.Facts) error {
				c.lines = append(c.lines, line)
				for _, cmd := range f.Commands {
					if cmd.Words[0].Text == "rm" {
						return errRefused
					}
				}
				if decide != nil {
					return decide(ctx, line)
				}
				return nil
			},
			Process: Process{Stdin: stdin, Stdout: stdout, Stderr: stderr,
				Ended: exited,
				Wait:  func() (int, error) { <-exited; return cmd.ProcessState.ExitCode(), nil },
				Signal: func(_ context.Context, signal string, group int) error {
					return syscall.Kill(-group, map[string]syscall.Signal{"INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[signal])
				}}})
		c.err = err
		c.code <- code
	}()
	t.Cleanup(func() {
		_ = c.keys.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		stdout.Close()
		stderr.Close()
	})
	c.see("$ ")
	return c
}

func everyShell(t *testing.T, f func(t *testing.T, sh []string)) {
	t.Helper()
	for name, sh := range map[string][]string{"dash": {"dash"}, "bash": {"bash"}, "bash as sh": {"bash", "--posix"}, "busybox": {"busybox", "sh"}} {
		path, err := exec.LookPath(sh[0])
		if err != nil {
			t.Logf("%s is not on this machine", sh[0])
			continue
		}
		t.Run(name, func(t *testing.T) { f(t, append([]string{path}, sh[1:]...)) })
	}
}

func TestLinesShareAShell(t *testing.T) {
	everyShell(t, func(t *testing.T, sh []string) {
		c := start(t, sh, nil)
		for _, step := range []struct{ line, shows string }{
			{"echo one two", "\r\none two\r\n"},
			{"echo it\\'s 'a \"b\"'", "\r\nit's a \"b\"\r\n"},
			{"mkdir sub; cd sub", "/sub $ "},
			{"cd ..; x=5", "$ "},
			{"echo $x", "\r\n5\r\n"},
			{"false", "[1] $ "},
			{"echo $?", "\r\n1\r\n"},
			{"ls nothing-here", "nothing-here"},
			{"printf abc; printf def | cat", "abcdef"},
			{"printf 'a\\nb\\n' | while read i; do echo \"<$i>\"; done", "\r\n<a>\r\n<b>\r\n"},
			{"cat", "$ "}, // has no input
			{"rm x", errRefused.Error()},
			{"echo $?", "\r\n126\r\n"},
			{"cat <<E\rin it\rE", "\r\nin it\r\n"},
			{"echo 'two\rlines'", "\r\ntwo\r\nlines\r\n"},
			{"vim x", "vim needs a terminal"},
			{"seq 20000 | tail -n 1", "\r\n20000\r\n"},
			{"head -c 300000 /dev/zero | tr '\\0' y | wc -c", "300000"},
			{"echo err >&2", "\r\nerr\r\n"},
			{"ls /proc/self/fd/3", "/proc/self/fd/3"}, // is not inherited
		} {
			c.typed(step.line + "\r")
			c.see(step.shows)
		}
		c.see("[")
		c.typed("exit 7\r")
		if code := <-c.code; code != 7 || c.err != nil {
			t.Errorf("%d, %v", code, c.err)
		}
		if want := "cat <<E\nin it\nE"; !strings.Contains(strings.Join(c.lines, "|"), want) {
			t.Errorf("%q", c.lines)
		}
	})
}

// A status, a fence or a report that a command prints is output like any other.
func TestOutputForgesNothing(t *testing.T) {
	everyShell(t, func(t *testing.T, sh []string) {
		c := start(t, sh, nil)
		c.typed("printf '7 1 /evil\\0' >&2; printf '7 1 /evil\\0'; printf '7 1 /evil\\0' >&3; echo end\r")
		if shown := c.see("\r\nend\r\n"); !strings.Contains(shown, "/evil") {
			t.Errorf("%q", shown)
		}
		if prompt := c.see("$ "); strings.Contains(prompt, "evil") || strings.Contains(prompt, "[7]") {
			t.Errorf("the prompt is %q", prompt)
		}
	})
}

func TestInterrupt(t *testing.T) {
	everyShell(t, func(t *testing.T, sh []string) {
		c := start(t, sh, nil)
		marker := filepath.Join(t.TempDir(), "ran")
		c.typed("echo begin; while true; do sleep 0.1; done; touch " + marker + "\r")
		c.see("\r\nbegin")
		c.typed("\x03")
		c.see("$ ")
		if _, err := os.Stat(marker); err == nil {
			t.Error("the rest of the line ran")
		}
		c.typed("echo still here\r")
		c.see("\r\nstill here")
		c.see("$ ")
		c.typed("echo never\x03")
		c.see("$ ")
		c.typed("echo after\r")
		c.see("\r\nafter")
		if joined := strings.Join(c.lines, "|"); strings.Contains(joined, "never") {
			t.Errorf("%q", c.lines)
		}
	})
}

// A command that ignores the interrupt ends with the shell, at the second one.
func TestInterruptsOfWhatIgnoresThem(t *testing.T) {
	c := start(t, []string{"/bin/sh"}, nil)
	c.typed("trap '' INT; x=1; while true; do echo on; sleep 0.1; done\r")
	c.see("\r\non")
	c.typed("\x03")
	c.see("^C\r\n")
	c.typed("\x03")
	c.see("again ends the shell")
	c.typed("\x03")
	if code := <-c.code; code != -1 {
		t.Errorf("exit code %d", code)
	}
}

// While a line is held, an interrupt ends the wait, and the line does not run.
func TestInterruptOfADecision(t *testing.T) {
	waits := make(chan struct{})
	c := start(t, []string{"/bin/sh"}, func(ctx context.Context, line string) error {
		if !strings.Contains(line, "held") {
			return nil
		}
		close(waits)
		<-ctx.Done()
		return errors.New("canceled")
	})
	c.typed("echo held\r")
	<-waits
	c.typed("\x03")
	c.see("canceled")
	c.see("$ ")
	c.typed("echo next\r")
	c.see("\r\nnext")
}

func TestEnds(t *testing.T) {
	stop := errors.New("revoked")
	for name, tc := range map[string]struct {
		typed string
		code  int
		err   error
	}{
		"end of input":         {"\x04", 0, nil},
		"a decision that ends": {"stop\r", 0, stop},
		"exit":                 {"exit 3\r", 3, nil},
		"exec of another":      {"exec sh -c 'exit 4'\r", 4, nil},
		"a failing option":     {"set -e; false\r", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, []string{"/bin/sh"}, func(_ context.Context, line string) error {
				if line == "stop" {
					return &Stop{stop}
				}
				return nil
			})
			c.typed(tc.typed)
			if code := <-c.code; code != tc.code || !errors.Is(c.err, tc.err) {
				t.Errorf("%d, %v", code, c.err)
			}
		})
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\r\n\u202ec\u009bd"); got != "a?[2Jb???c?d" {
		t.Errorf("%q", got)
	}
}

// A fence is found however the output is cut.
func TestFence(t *testing.T) {
	for cut := 1; cut < 12; cut++ {
		var out bytes.Buffer
		o := newOutput(nil, &out, nil)
		seen := o.until("abcabd")
		text := []byte("xabcabcabdyab")
		for len(text) > 0 {
			n := min(cut, len(text))
			o.take(text[:n])
			text = text[n:]
		}
		if !<-seen || out.String() != "xabcyab" {
			t.Errorf("cut at %d: %q", cut, out.String())
		}
	}
}

// late holds the last byte back and replaces digits.
type late struct{ held []byte }

func (l *late) Write(dst, p []byte) []byte {
	p = append(l.held, p...)
	for _, b := range p[:max(len(p)-1, 0)] {
		if b >= '0' && b <= '9' {
			b = '#'
		}
		dst = append(dst, b)
	}
	l.held = bytes.Clone(p[max(len(p)-1, 0):])
	return dst
}

func (l *late) Flush(dst []byte) []byte {
	dst = append(dst, l.held...)
	l.held = nil
	return dst
}

// Output is masked without the fence, and nothing of a command is held back behind its end.
func TestOutputIsMasked(t *testing.T) {
	for cut := 1; cut < 12; cut++ {
		var out bytes.Buffer
		o := newOutput(nil, &out, &late{})
		seen := o.until("5e6f")
		text := []byte("card 11x5e6f")
		for len(text) > 0 {
			n := min(cut, len(text))
			o.take(text[:n])
			text = text[n:]
		}
		if !<-seen || out.String() != "card ##x" {
			t.Errorf("cut at %d: %q", cut, out.String())
		}
		o.take([]byte("y"))
		o.end()
		if out.String() != "card ##xy" {
			t.Errorf("cut at %d, in the end: %q", cut, out.String())
		}
	}
}
