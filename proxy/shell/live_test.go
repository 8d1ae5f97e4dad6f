package shell

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// programs are what the lab has, each a recorder of its arguments.
var programs = strings.Fields("a b rm cat x nice env xargs timeout find sudo time")

// TestNothingElseIsStarted runs texts in the shells of this machine, with recorders for
// programs, and holds what they started against what was found.
func TestNothingElseIsStarted(t *testing.T) {
	l := newLab(t)
	for _, text := range texts(400) {
		f := Line(text, POSIX)
		for _, sh := range l.shells {
			for _, argv := range l.run(t, sh, text) {
				if !slices.ContainsFunc(f.Commands, func(c Command) bool { return starts(c, argv) }) {
					t.Errorf("%q in %v started %q, which is not among %s", text, sh, argv, shown(f))
				}
			}
		}
	}
}

// starts reports whether a command may be what was started.
func starts(c Command, argv []string) bool {
	if c.Words[0].Text != argv[0] {
		return false
	}
	for i, w := range c.Words {
		if !w.Literal {
			return true
		}
		if i >= len(argv) || argv[i] != w.Text {
			return false
		}
	}
	return len(argv) == len(c.Words)
}

// pieces are what texts are made of. None names a file outside of where a text is run.
var pieces = []string{
	"a", "b", "rm", "cat", "x", "-rf", "b/", "'", "\"", "\\", " ", " ", " ", ";", "&", "|", "&&", "||", "\n", "(", ")", "{", "}", "$", "`", "$(", "${", "}", "<", ">", ">>", "<<E\n", "\nE\n", "!", "#",
	"*", "?", "[", "]", "~", "=", "x=", "if ", "; then ", "; fi", "for i in ", "; do ", "; done", "while ", "case x in ", ") ", ";; ", "esac", "sh -c '", "eval ", "exec ", "command ", "time ", "nice ",
	"env ", "xargs ", "timeout 1 ", "\\\n", "a b;", "rm x|", "'rm x'", "\"rm x\"", "$(rm x)", "`rm x`", "$x", "${x:-rm}", "trap ", " EXIT", ". ", "sudo ", "find ", " -exec ", " \\;", "{}", "2>&1", ">/dev/null", "set -e;",
}

// texts are made of pieces at random, always the same ones, that are known.
func texts(n int) []string {
	random := rand.New(rand.NewPCG(7, 11))
	var out []string
	for len(out) < n {
		var b strings.Builder
		for range 2 + random.IntN(9) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		if text := b.String(); !slices.Contains(out, text) && Line(text, POSIX).Known {
			out = append(out, text)
		}
	}
	return out
}

type lab struct {
	dir    string
	shells [][]string
}

func newLab(t *testing.T) *lab {
	l := &lab{dir: t.TempDir()}
	bin := filepath.Join(l.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	recorder := "#!/bin/sh\nn=${0##*/}\nprintf '%s\\0' \"$#\" \"$n\" \"$@\" >>\"$HOME/log\"\n"
	for _, p := range programs {
		if err := os.WriteFile(filepath.Join(bin, p), []byte(recorder), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	for _, sh := range [][]string{{"dash", "-c"}, {"bash", "-c"}, {"bash", "--posix", "-c"}, {"busybox", "sh", "-c"}, {"ksh", "-c"}, {"mksh", "-c"}} {
		path, err := exec.LookPath(sh[0])
		if err != nil {
			t.Logf("%s is not on this machine", sh[0])
			continue
		}
		l.shells = append(l.shells, append([]string{path}, sh[1:]...))
	}
	if len(l.shells) < 2 {
		t.Fatal("there are no shells to compare with: install dash and bash")
	}
	// A shell that a text starts is the one that is tried.
	if err := os.Symlink("/bin/sh", filepath.Join(bin, "sh")); err != nil {
		t.Fatal(err)
	}
	return l
}

// run returns what a text started.
func (l *lab) run(t *testing.T, sh []string, text string) [][]string {
	t.Helper()
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), sh[0], append(slices.Clone(sh[1:]), text)...) //nolint:gosec // the texts of this test
	c.Dir, c.Env, c.Stdin = dir, []string{"PATH=" + filepath.Join(l.dir, "bin"), "HOME=" + dir}, bytes.NewReader(nil)
	var out bytes.Buffer // so that what runs in the background is waited for
	c.Stdout, c.Stderr = &out, &out
	_ = c.Run()                                      // most of them fail
	b, err := os.ReadFile(filepath.Join(dir, "log")) //nolint:gosec // of this test
	if err != nil {
		return nil
	}
	var started [][]string
	fields := strings.Split(string(b), "\x00")
	for len(fields) > 1 {
		var n int
		if _, err := fmt.Sscan(fields[0], &n); err != nil || len(fields) < n+2 {
			t.Fatalf("the log is not understood: %q", b)
		}
		started = append(started, fields[1:n+2])
		fields = fields[n+2:]
	}
	return started
}
