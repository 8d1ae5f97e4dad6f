package kubernetes

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// gatedRules let a few commands run, and hold one of them.
const gatedRules = `apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: few, namespace: gate}
spec:
  targetSelector: {}
  match: [{shell: {except: [echo, "ls /", cd, exit, sleep, "touch **", "id -u", "sh -c **"]}}]
  action: Deny
  message: only a few
---
apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: ask, namespace: gate}
spec:
  targetSelector: {}
  match: [{shell: {commands: ["touch **"]}}]
  action: RequireApproval
  approval: {required: 1, approvers: [{kind: Group, name: ops}], timeout: 10m, whilePending: Wait}`

// typist is a person at a terminal.
type typist struct {
	t     *testing.T
	keys  *io.PipeWriter
	shown output
	seen  int
	ended chan error
}

// open opens a shell in a terminal.
func open(t *testing.T, g *gate, protocol, query string) *typist {
	t.Helper()
	e, err := protocols[protocol](g.config, node.url(g, "exec", query))
	if err != nil {
		t.Fatal(err)
	}
	p := &typist{t: t, ended: make(chan error, 1)}
	var from *io.PipeReader
	from, p.keys = io.Pipe()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		p.ended <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: from, Stdout: &p.shown, Tty: true, TerminalSizeQueue: &size{}})
	}()
	t.Cleanup(func() { cancel(); _ = p.keys.Close(); <-gone })
	return p
}

func (p *typist) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, text); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until something is shown behind what was seen before, and returns what came up
// to its end.
func (p *typist) sees(text string) string {
	p.t.Helper()
	var part string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the terminal shows %q", p.shown.String())
		}
	}()
	until(p.t, "the terminal shows "+text, func() bool {
		shown := p.shown.String()
		at := strings.Index(shown[p.seen:], text)
		if at < 0 {
			return false
		}
		part = shown[p.seen : p.seen+at+len(text)]
		p.seen += at + len(text)
		return true
	})
	return part
}

// Each line of a gated shell is decided on before it runs, and recorded; the shell lives on.
func TestGatedShell(t *testing.T) {
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := start(t, "writer", "    exec: Gated\n", gatedRules)
			p := open(t, g, protocol, "command=sh&stdin=true&stdout=true&tty=true")
			p.sees("This is a gated shell")
			p.sees("$ ")
			marker := filepath.Join(t.TempDir(), "made")
			for _, step := range []struct{ line, shows string }{
				{"echo one; echo two", "\r\none\r\ntwo\r\n"},
				{"cd /; x=5", "web:/ "},
				{"ls / | rm -rf x", "CDA-2001"},
				{"echo \"x is $x\"", "\r\nx is 5\r\n"},
				{"eval \"$x\"", "CDA-"},
				{"$x", "CDA-"},
				{"vi /etc/passwd", "vi needs a terminal of its own"},
				{"id -u", "\r\n0\r\n"},
			} {
				p.types(step.line + "\r")
				p.sees(step.shows)
				p.sees("$ ")
			}
			p.types("sh -c 'echo begin; sleep 600'; echo after\r")
			p.sees("\r\nbegin\r\n")
			p.types("\x03")
			if shown := p.sees("[130] $ "); strings.Contains(shown, "\r\nafter") {
				t.Errorf("an interrupted line went on: %q", shown)
			}
			p.types("touch " + marker + "\r")
			p.sees("held for approval until")
			if _, err := os.Stat(marker); err == nil {
				t.Error("what is held runs")
			}
			decideOn(t, g, marker, "Approved")
			p.sees("$ ")
			if _, err := os.Stat(marker); err != nil {
				t.Errorf("what was approved did not run: %v", err)
			}
			p.types("exit 3\r")
			ended := new(utilexec.CodeExitError)
			if err := <-p.ended; !errors.As(err, ended) || ended.Code != 3 {
				t.Errorf("the shell ended with %v", err)
			}
			until(t, "the shell is left", func() bool { return node.running.Load() == 0 })
			g.stop(t)
			recordedShell(t, g, marker)
		})
	}
}

// decideOn decides on the request that shows a text.
func decideOn(t *testing.T, g *gate, text, decision string) {
	t.Helper()
	requests, err := filepath.Glob(filepath.Join(g.dir, ".approvals", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		b, err := os.ReadFile(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), text) {
			write(t, r, strings.Replace(string(b), "status:\n", "status:\n  decisions:\n  - {approver: olga, groups: [ops], decision: "+decision+"}\n", 1))
			return
		}
	}
	t.Fatalf("no request of %v shows %s", requests, text)
}

// recordedShell looks at what the recording holds of TestGatedShell.
func recordedShell(t *testing.T, g *gate, marker string) {
	t.Helper()
	decisions, ends, terminal, typed := map[string]string{}, map[string]string{}, "", ""
	lines := map[uint64]string{}
	for _, e := range g.events(t) {
		switch {
		case e.Command != nil:
			line := e.Command.Text
			if strings.Contains(line, "/exec?") {
				line = strings.Join(e.Command.Parameters, " ")
			}
			lines[e.Command.ID] = line
			decisions[line] = e.Command.Decision + e.Command.Code
		case e.Response != nil && e.Response.Final:
			ends[lines[e.Response.ID]] = e.Response.Tag
		case e.Output != nil && e.Output.Stream == "stdout" && lines[e.Output.ID] == "sh":
			terminal += string(e.Output.Data)
		case e.Input != nil && e.Input.Stream == "stdin":
			typed += string(e.Input.Data)
		}
	}
	for line, want := range map[string]string{"sh": "Allowed", "$ echo one; echo two": "Allowed", "$ ls / | rm -rf x": "DeniedCDA-2001", "$ touch " + marker: "Approved", "$ exit 3": "Allowed"} {
		if decisions[line] != want {
			t.Errorf("the recording says of %q %q, want %q", line, decisions[line], want)
		}
	}
	for line, want := range map[string]string{"sh": "exit 3", "$ echo one; echo two": "exit 0", "$ sh -c 'echo begin; sleep 600'; echo after": "exit 130"} {
		if ends[line] != want {
			t.Errorf("the recording says that %q ended with %q, want %q", line, ends[line], want)
		}
	}
	for _, want := range []string{"This is a gated shell", "\r\none\r\ntwo\r\n", "only a few"} {
		if !strings.Contains(terminal, want) {
			t.Errorf("the recorded terminal does not show %q:\n%s", want, terminal)
		}
	}
	if !strings.Contains(typed, "echo one; echo two\r") || !strings.Contains(typed, "\x03") {
		t.Errorf("the recording has of what was typed %q", typed)
	}
}

// Under Gated there is no other terminal, and commands without one are decided on as ever.
func TestGatedShellAlone(t *testing.T) {
	g := start(t, "writer", "    exec: Gated\n", gatedRules)
	before := node.reached.Load()
	for name, query := range map[string]string{
		"a command in a terminal":   "command=ls&command=/&stdin=true&stdout=true&tty=true",
		"a shell with an argument":  "command=sh&command=-s&stdin=true&stdout=true&tty=true",
		"a shell with a script":     "command=sh&command=-c&command=" + url.QueryEscape("rm x") + "&stdin=true&stdout=true&tty=true",
		"a shell from a folder":     "command=/tmp/sh&stdin=true&stdout=true&tty=true",
		"a shell without input":     "command=sh&stdout=true&tty=true",
		"a shell without terminal":  "command=sh&stdin=true&stdout=true",
		"a command that is refused": "command=rm&command=x&stdout=true",
	} {
		p := open(t, g, "WebSocket v5", query)
		if err := <-p.ended; err == nil || !strings.Contains(err.Error(), "CDA-") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := open(t, g, "SPDY", "stdin=true&stdout=true&tty=true")
	if err := <-p.ended; err == nil {
		t.Error("a terminal of no command is opened")
	}
	if n := node.reached.Load() - before; n != 0 {
		t.Errorf("%d requests reached the kubelet", n)
	}
	if out, err := g.kubectl("exec", "web", "--", "echo", "as ever"); err != nil || !strings.Contains(out, "as ever") {
		t.Errorf("a command: %v, %s", err, out)
	}
	for name, query := range map[string]string{"k9s": "command=sh&command=-c&command=" + url.QueryEscape("command -v bash >/dev/null && exec bash || exec sh"), "a login shell": "command=/bin/sh&command=-l"} {
		p := open(t, g, "WebSocket v5", query+"&stdin=true&stdout=true&tty=true")
		p.sees("$ ")
		p.types("\x04")
		if err := <-p.ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// G2: a grant that is revoked ends a gated shell at its prompt and what runs in it, and a
// shell that dies ends the session.
func TestGatedShellEnds(t *testing.T) {
	hungUp := filepath.Join(t.TempDir(), "hung-up")
	job := "sh -c 'trap \"touch " + hungUp + "\" HUP; echo ready; sleep 600'"
	for name, line := range map[string]string{"at the prompt": "echo 'ready'", "with a job": job + " &", "in a line": job} {
		t.Run(name, func(t *testing.T) {
			g := start(t, "writer", "    exec: Gated\n")
			p := open(t, g, "WebSocket v5", "command=sh&stdin=true&stdout=true&tty=true")
			p.sees("$ ")
			p.types(line + "\r")
			p.sees("ready\r\n")
			path := filepath.Join(g.dir, "gate.yaml")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, strings.Replace(string(b), "reason: a test", "reason: a test\n  desiredState: Revoked", 1))
			if err := <-p.ended; err == nil || !strings.Contains(err.Error(), "CDA-1004") {
				t.Errorf("the shell ended with %v", err)
			}
			until(t, "the shell is left", func() bool { return node.running.Load() == 0 })
			if line != "echo 'ready'" {
				until(t, "what it started is told", func() bool { return os.Remove(hungUp) == nil })
			}
		})
	}
	t.Run("by itself", func(t *testing.T) {
		g := start(t, "writer", "    exec: Gated\n")
		p := open(t, g, "WebSocket v4", "command=sh&stdin=true&stdout=true&tty=true")
		p.sees("$ ")
		p.types("kill -9 $$\r")
		if err := <-p.ended; err == nil || !strings.Contains(err.Error(), "137") {
			t.Errorf("the shell ended with %v", err)
		}
	})
}
