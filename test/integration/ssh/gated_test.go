package ssh

import (
	"bytes"
	"crypto/md5" //nolint:gosec // a proof that a shell has what was typed
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// typist is at a terminal of a shell.
type typist struct {
	t       *testing.T
	session *ssh.Session
	keys    io.Writer
	seen    int

	mu    sync.Mutex
	shown bytes.Buffer
}

// Write implements io.Writer: what the terminal shows.
func (p *typist) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.Write(b)
}

func (p *typist) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

// shell opens a shell in a terminal.
func (w *world) shell(t *testing.T) *typist {
	t.Helper()
	s, err := w.client(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	p := &typist{t: t, session: s}
	s.Stdout, s.Stderr = p, p
	if p.keys, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 200, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *typist) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, text); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until something is shown behind what was seen before, and returns what came up to
// its end.
func (p *typist) sees(text string) string {
	p.t.Helper()
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the terminal shows %q", p.screen())
		}
	}()
	var part string
	eventually(p.t, "the terminal to show "+text, func() bool {
		shown := p.screen()[p.seen:]
		at := strings.Index(shown, text)
		if at < 0 {
			return false
		}
		part = shown[:at+len(text)]
		p.seen += len(part)
		return true
	})
	return part
}

// recorded returns what the recording holds of a stream, and the texts of commands by decision.
func (w *world) recorded(t *testing.T) (streams map[string]string, commands map[string]string) {
	t.Helper()
	streams, commands = map[string]string{}, map[string]string{}
	for _, e := range w.Events(t) {
		switch {
		case e.Command != nil:
			commands[e.Command.Text] = e.Command.Decision
		case e.Input != nil:
			streams[e.Input.Stream] += string(e.Input.Data)
		case e.Output != nil:
			streams[e.Output.Stream] += string(e.Output.Data)
		}
	}
	return streams, commands
}

// TestG4GatedShell decides on each line of a shell before it runs; the shell lives on.
func TestG4GatedShell(t *testing.T) {
	w := start(t, setup{grant: "channels: [Shell]", more: []string{noRemoval, rule("hold", `{shell: {commands: ["touch **"]}}`, held)}})
	p := w.shell(t)
	p.sees("This is a gated shell")
	p.sees("$ ")
	made, never := filepath.Join(w.server.Dir, "made"), filepath.Join(w.server.Dir, "never")
	for _, step := range []struct{ line, shows string }{
		{"echo one; echo two", "\r\none\r\ntwo\r\n"},
		{"cd /; x=5", "@host:/ "},
		{"ls / | rm -rf x", "CDA-2001"},
		{"echo \"x is $x\"", "\r\nx is 5\r\n"},
		{"eval \"$x\"", "CDA-2003"},
		{"vim /etc/passwd", "vim needs a terminal of its own"},
		{"false", "[1] "},
	} {
		p.types(step.line + "\r")
		p.sees(step.shows)
		p.sees("$ ")
	}
	if err := p.session.WindowChange(40, 100); err != nil {
		t.Fatal(err)
	}
	p.types("echo begin; sleep 600; echo after\r")
	p.sees("\r\nbegin\r\n")
	p.types("\x03")
	if shown := p.sees("[130] $ "); strings.Contains(shown, "\r\nafter") {
		t.Errorf("an interrupted line went on: %q", shown)
	}
	for path, decision := range map[string]v1alpha1.DecisionValue{made: v1alpha1.DecisionApproved, never: v1alpha1.DecisionDenied} {
		p.types("touch " + path + "\r")
		p.sees("held for approval until")
		w.answer(t, decision, func() {
			if _, err := os.Stat(path); err == nil {
				t.Error("what is held runs")
			}
		})
		p.sees("$ ")
		if _, err := os.Stat(path); (err == nil) != (path == made) {
			t.Errorf("%s: %v", decision, err)
		}
	}
	p.types("exit 3\r")
	exit := new(ssh.ExitError)
	if err := p.session.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 3 {
		t.Errorf("the shell ended with %v", err)
	}
	streams, commands := w.recorded(t)
	for line, want := range map[string]string{"gated shell": "Allowed", "$ echo one; echo two": "Allowed", "$ ls / | rm -rf x": "Denied", "$ eval \"$x\"": "Denied",
		"$ touch " + made: "Approved", "$ touch " + never: "Denied"} {
		if got := commands[line]; got != want {
			t.Errorf("%q is recorded as %q, want %q", line, got, want)
		}
	}
	if !strings.Contains(streams["stdin"], "vim /etc/passwd\r") || !strings.Contains(streams["stdin"], "\x03") || !strings.Contains(streams["stdout"], "\r\none\r\ntwo\r\n") ||
		!strings.Contains(streams["stdout"], "CDA-2001") || !strings.Contains(streams["resize"], `"Width":100`) {
		t.Errorf("the recording holds %q", streams)
	}
}

// TestG2GatedShellEnds revokes the grant while a line runs.
func TestG2GatedShellEnds(t *testing.T) {
	w := start(t, setup{grant: "channels: [Shell]"})
	p := w.shell(t)
	p.sees("$ ")
	late := filepath.Join(w.server.Dir, "late")
	p.types("echo begin; sleep 600; touch " + late + "\r")
	p.sees("\r\nbegin\r\n")
	w.edit(t, "reason: a test", "reason: a test\n  desiredState: Revoked")
	p.sees("CDA-1004")
	if err := p.session.Wait(); err == nil {
		t.Error("the shell ended well")
	}
	if _, err := os.Stat(late); err == nil {
		t.Error("the line went on")
	}
}

// TestG6RawShell records both directions of a terminal that is not understood; of what is typed
// and not shown, that it was.
func TestG6RawShell(t *testing.T) {
	w := start(t, setup{grant: "channels: [Exec, Shell]\nterminal: Raw"})
	p := w.shell(t)
	const secret = "swordfish-17"
	p.types("PS1=RE''ADY\r")
	p.sees("READY")
	p.types("printf '%s\\n' o''ne\r")
	p.sees("one\r\n")
	p.sees("READY")
	p.types("stty -echo; echo o''ff; read -r x; stty echo; echo \"$x\" | md5sum\r")
	p.sees("off\r\n")
	p.types(secret + "\r")
	sum := md5.Sum([]byte(secret + "\n")) //nolint:gosec // a proof that the shell has it
	p.sees(hex.EncodeToString(sum[:]))
	if err := p.session.WindowChange(40, 100); err != nil {
		t.Fatal(err)
	}
	// The size reaches the terminal on its own way.
	for !strings.Contains(p.screen(), "40 100\r\n") {
		before := strings.Count(p.screen(), "asked\r\n")
		p.types("stty size; echo as''ked\r")
		eventually(t, "an answer", func() bool { return strings.Count(p.screen(), "asked\r\n") > before })
	}
	p.types("exit 4\r")
	exit := new(ssh.ExitError)
	if err := p.session.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 4 {
		t.Errorf("the shell ended with %v", err)
	}
	streams, commands := w.recorded(t)
	if !strings.Contains(streams["stdin"], "o''ne\r") || !strings.Contains(streams["stdout"], "one\r\n") || !strings.Contains(streams["resize"], `"Width":100`) || commands["shell"] != "Allowed" {
		t.Errorf("the recording holds %q and %q", streams, commands)
	}
	if strings.Contains(streams["stdin"]+streams["stdout"], secret) || !strings.Contains(streams["stdin"], "md5sum\r\r") {
		t.Errorf("of what is not shown the recording holds %q", streams["stdin"])
	}
	if strings.Contains(streams["stdin"]+streams["stdout"], secret) || !strings.Contains(streams["stdin"], "md5sum\r\r") {
		t.Errorf("of what is not shown the recording holds %q", streams["stdin"])
	}
}
