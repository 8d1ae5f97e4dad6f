package ssh

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

var noRemoval = rule("no-removal", `{shell: {commands: ["rm **"]}}`, "action: Deny, message: nothing is removed here")

// TestCommands runs commands with OpenSSH's client: what they print, how they end, and that
// what is refused does not reach the server.
func TestCommands(t *testing.T) {
	w := start(t, setup{more: []string{noRemoval}})
	victim := filepath.Join(w.server.Dir, "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		command, stdin string
		args           []string
		want           outcome
		refused        string // what the refusal says
	}{
		"output":                    {command: "echo hello", want: outcome{Stdout: "hello\n"}},
		"both streams":              {command: "echo out; echo err >&2", want: outcome{Stdout: "out\n", Stderr: "err\n"}},
		"exit status":               {command: "exit 42", want: outcome{Code: 42}},
		"input":                     {command: "wc -c", stdin: "12345", want: outcome{Stdout: "5\n"}},
		"bytes":                     {command: "cat", stdin: "\x00\xff\xfe\n\x80", want: outcome{Stdout: "\x00\xff\xfe\n\x80"}},
		"environment":               {command: "printenv LC_X", args: []string{"-o", "SetEnv=LC_X=y"}, want: outcome{Stdout: "y\n"}},
		"environment not permitted": {command: "printenv CARDEA_X", args: []string{"-o", "SetEnv=CARDEA_X=y"}, want: outcome{Code: 1}},
		"denied":                    {command: "rm -f " + victim, refused: "CDA-2001: CommandRule/gate/no-removal denies the command: nothing is removed here"},
		"denied in a list":          {command: "cd /; rm -f " + victim, refused: "CDA-2001"},
		"denied in a substitution":  {command: "echo $(rm -f " + victim + ")", refused: "CDA-2001"},
		"denied by sh -c":           {command: "sh -c 'rm -f " + victim + "'", refused: "CDA-2001"},
		"denied behind env":         {command: "env A=b rm -f " + victim, refused: "CDA-2001"},
		"unknown":                   {command: "eval \"$(echo cm0= | base64 -d) " + victim + "\"", refused: "CDA-2003"},
		"an interpreter with code":  {command: "perl -e 'unlink \"" + victim + "\"'", refused: "CDA-2003"},
		"a shell":                   {command: "", stdin: "rm -f " + victim + "\n", refused: "CDA-1006", args: []string{"-T"}},
		"keys for oneself":          {command: "echo key | tee -a ~/.ssh/authorized_keys", refused: "CDA-2001"},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.server.Commands(t)
			args := append(slices.Clone(tc.args), "host")
			if tc.command != "" {
				args = append(args, tc.command)
			}
			got := w.run(t, tc.stdin, "ssh", args...)
			if tc.refused == "" {
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			if got.Code != 126 || got.Stdout != "" || !strings.Contains(got.Stderr, tc.refused) {
				t.Errorf("got %+v, want status 126 and %q", got, tc.refused)
			}
			if _, err := os.Stat(victim); err != nil {
				t.Error("the file is gone")
			}
			if after := w.server.Commands(t); after != before {
				t.Errorf("the server started %d commands", after-before)
			}
		})
	}
}

// TestNothingReachesTheServerBeforeItIsPermitted looks at whether the server is connected to.
func TestG1NothingReachesTheServerBeforeItIsPermitted(t *testing.T) {
	w := start(t, setup{more: []string{noRemoval}})
	connections := func() int { return strings.Count(w.server.Log(t), "Connection from") }
	before := connections()
	w.ssh(t, "rm x")
	if after := connections(); after != before {
		t.Errorf("the server was connected to %d times", after-before)
	}
	w.ssh(t, "true")
	if after := connections(); after == before {
		t.Error("a permitted command does not reach the server: the test sees nothing")
	}
}

// TestApproval holds a command while the client waits.
func TestApproval(t *testing.T) {
	w := start(t, setup{more: []string{rule("hold", `{shell: {commands: ["touch **"]}}`, held)}})
	for name, tc := range map[string]struct {
		decision v1alpha1.DecisionValue
		code     int
		says     string
		done     bool
	}{
		"approved": {"Approved", 0, "", true},
		"denied":   {"Denied", 126, "CDA-3002", false},
	} {
		t.Run(name, func(t *testing.T) {
			made := filepath.Join(w.server.Dir, name)
			before := w.server.Commands(t)
			ended := make(chan outcome, 1)
			go func() { ended <- w.ssh(t, "touch "+made) }()
			asked := w.answer(t, tc.decision, func() {
				if w.server.Commands(t) != before {
					t.Error("the command was started before it was approved")
				}
			})
			got := <-ended
			if got.Code != tc.code || !strings.Contains(got.Stderr, "held for approval until") || !strings.Contains(got.Stderr, asked.Name) || !strings.Contains(got.Stderr, tc.says) {
				t.Errorf("got %+v", got)
			}
			if _, err := os.Stat(made); (err == nil) != tc.done {
				t.Errorf("the file is there: %v, want %v", err == nil, tc.done)
			}
			if want := "$ touch " + made; asked.Spec.Command.Text != want {
				t.Errorf("the approver sees %q, want %q", asked.Spec.Command.Text, want)
			}
		})
	}
}

// TestRecording looks at what a recording holds of a command.
func TestG6Recording(t *testing.T) {
	w := start(t, setup{more: []string{noRemoval}})
	w.run(t, "some input", "ssh", "host", "cat; echo problem >&2; exit 7")
	w.ssh(t, "rm x")
	type command struct{ Text, Decision, End, Stdin, Stdout, Stderr string }
	var got []command
	at := map[uint64]int{}
	for _, e := range w.Events(t) {
		switch {
		case e.Command != nil:
			at[e.Command.ID] = len(got)
			got = append(got, command{Text: e.Command.Text, Decision: e.Command.Decision})
		case e.Input != nil:
			got[at[e.Input.ID]].Stdin += string(e.Input.Data)
		case e.Output != nil:
			c := &got[at[e.Output.ID]]
			if e.Output.Stream == "stdout" {
				c.Stdout += string(e.Output.Data)
			} else {
				c.Stderr += string(e.Output.Data)
			}
		case e.Response != nil:
			got[at[e.Response.ID]].End = e.Response.Tag
		}
	}
	want := []command{
		{"$ cat; echo problem >&2; exit 7", "Allowed", "exit 7", "some input", "some input", "problem\n"},
		{Text: "$ rm x", Decision: "Denied"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLargeStreams passes more than any window or buffer holds, both ways at once.
func TestLargeStreams(t *testing.T) {
	w := start(t, setup{})
	s, err := w.client(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	sum := sha256.New()
	s.Stdin = io.TeeReader(io.LimitReader(&repeated{block: block}, size), sum)
	out := sha256.New()
	s.Stdout = out
	if err := s.Run("cat"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sum.Sum(nil), out.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
}

// repeated repeats a block.
type repeated struct {
	block []byte
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}

// TestForcedCommand runs the grant's command whatever is asked for.
func TestForcedCommand(t *testing.T) {
	w := start(t, setup{grant: "channels: [Exec]\nforcedCommand: \"sh -c 'echo forced; eval true'\""})
	for name, args := range map[string][]string{"a command": {"host", "id"}, "a shell": {"host"}, "a terminal": {"-tt", "host", "id"}} {
		if got := w.run(t, "", "ssh", args...); got.Stdout != "forced\n" && got.Stdout != "forced\r\n" || got.Code != 0 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if got := w.run(t, "", "sftp", "host"); got.Code == 0 {
		t.Errorf("sftp: got %+v", got)
	}
}

// TestDetectors masks what detectors find in output, also where packets split it.
func TestG3Detectors(t *testing.T) {
	w := start(t, setup{grant: "channels: [Exec, Shell]\nterminal: Raw", more: []string{
		"apiVersion: access.cardea.dev/v1alpha1\nkind: MaskingRule\nmetadata: {name: found, namespace: gate}\nspec:\n  targetSelector: {}\n  detectors: [CreditCard, Email]"}})
	const card = "4111111111111111"
	for name, command := range map[string]string{
		"at once":    "echo card " + card[:8] + "'" + card[8:] + "'",
		"in parts":   "printf card\\ 41111111; sleep 0.3; echo 11111111",
		"on stderr":  "echo card " + card[:8] + "'" + card[8:] + "' >&2",
		"at the end": "printf %s%s 41111111 11111111",
	} {
		got := w.ssh(t, command)
		if all := got.Stdout + got.Stderr; got.Code != 0 || strings.Contains(all, card) || all == "" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	c := w.client(t)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{ssh.ECHO: 0}); err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("echo card " + card[:8] + "'" + card[8:] + "'; echo done"); err != nil {
		t.Fatal(err)
	}
	if said := until(t, out, "done"); strings.Contains(said, card) {
		t.Errorf("in a terminal: %q", said)
	}
	_ = c.Close()
	for _, e := range w.Events(t) {
		if e.Output != nil && strings.Contains(string(e.Output.Data), card) {
			t.Errorf("the recording holds %q", e.Output.Data)
		}
	}
}

// TestG2Ends ends sessions in the middle of a command.
func TestG2Ends(t *testing.T) {
	for name, tc := range map[string]struct{ old, replacement, says string }{
		"revoked": {"reason: a test", "reason: a test\n  desiredState: Revoked", "CDA-1004"},
		"locked":  {"apiVersion: v1\nkind: Secret", "apiVersion: access.cardea.dev/v1alpha1\nkind: AccessLock\nmetadata: {name: stop, namespace: gate}\nspec: {targetSelector: {}, reason: a test}\n---\napiVersion: v1\nkind: Secret", "CDA-1005"},
		"removed": {"logins: [", "logins: [somebody, ", "CDA-"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{})
			s, err := w.client(t).NewSession()
			if err != nil {
				t.Fatal(err)
			}
			var errs bytes.Buffer
			s.Stderr = &errs
			out, err := s.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(fmt.Sprintf("echo begins; sleep 600; touch %s/late", w.server.Dir)); err != nil {
				t.Fatal(err)
			}
			until(t, out, "begins")
			w.edit(t, tc.old, tc.replacement)
			if err := s.Wait(); err == nil || !strings.Contains(errs.String(), tc.says) {
				t.Errorf("the client was told %q and %v", errs.String(), err)
			}
		})
	}
}

// TestIdle ends a session in which nothing is sent.
func TestIdle(t *testing.T) {
	w := start(t, setup{spec: "idleTimeout: 10s"})
	if got := w.ssh(t, "sleep 600"); got.Code != 255 || !strings.Contains(got.Stderr, "CDA-1015") {
		t.Errorf("got %+v", got)
	}
}
