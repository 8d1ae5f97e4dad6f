package sftp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// openssh runs a client of OpenSSH against a session: -D makes it start a program, here one that joins
// it to the relay.
func (s *session) openssh(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	socket := filepath.Join(dir, "socket")
	wait := s.listen(t, socket)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], append([]string{"-D", program}, args[1:]...)...)
	cmd.Env = append(os.Environ(), socketVariable+"="+socket, "GORACE=atexit_sleep_ms=0")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = append(out, err.Error()...)
	}
	wait()
	return string(out)
}

func TestOpenSSH(t *testing.T) {
	content := make([]byte, 3<<20+17)
	_, _ = rand.Read(content)
	local := func(t *testing.T) string {
		dir := folder(t)
		write(t, filepath.Join(dir, "file"), string(content))
		write(t, filepath.Join(dir, "more/a/b"), "b")
		write(t, filepath.Join(dir, "more/c"), "c")
		return dir
	}
	same := func(t *testing.T, file string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", file, len(got), err)
		}
	}
	t.Run("sftp", func(t *testing.T) {
		s, dir := start(t, baseline, nil, ""), local(t)
		// A hyphen: what fails does not end the batch.
		out := s.openssh(t, dir, strings.Join([]string{
			"pwd", "put -p file", "get -p file back", "put -R more", "ls -la", "ls -n more", "df", "df -i .",
			"mkdir d", "rename file d/f", "ln d/f hard", "ln -s d/f soft", "chmod 640 d/f", "chmod -h 640 d/f",
			"get soft through", "get -R more again", "rm hard", "rm soft", "-reput file d/f", "-reget d/f back", "-get nothing",
			"-mkdir .ssh", "-put file authorized_keys", "-ln -s /etc/ssh x", "-chmod 777 /etc/ssh", "-rename d .ssh", "-cp d/f copy", "version", "bye",
		}, "\n"), "sftp", "-b", "-")
		s.end(t)
		same(t, filepath.Join(dir, "back"))
		same(t, filepath.Join(dir, "through"))
		same(t, filepath.Join(s.home, "d/f"))
		if got, err := os.ReadFile(filepath.Join(dir, "again/a/b")); err != nil || string(got) != "b" {
			t.Errorf("%q, %v", got, err)
		}
		want := map[string]string{"d/f": string(content), "more/a/b": "b", "more/c": "c"}
		if got := tree(t, s.home); !cmp.Equal(want, got) {
			t.Error(len(got))
		}
		for _, line := range []string{"remote mkdir \"" + s.home + "/.ssh\": Permission denied", "authorized_keys\": Permission denied", "Remote working directory: " + s.home} {
			if !strings.Contains(out, line) {
				t.Errorf("no %q", line)
			}
		}
		if t.Failed() {
			t.Log(out)
			for _, o := range s.notes.outcomes {
				t.Log(o.Operation.String(), o.Result, o.Reason)
			}
		}
	})
	for name, tc := range map[string]struct {
		args []string
		up   bool
	}{
		"scp up":        {[]string{"scp", "-pr", "file", "more", "host:"}, true},
		"scp up by ~":   {[]string{"scp", "file", "host:~root/cardea-nothing"}, true},
		"scp down":      {[]string{"scp", "-p", "host:file", "back"}, false},
		"scp down tree": {[]string{"scp", "-r", "host:.", "back"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := start(t, baseline, nil, ""), local(t)
			if !tc.up {
				write(t, filepath.Join(s.home, "file"), string(content))
			}
			if strings.HasSuffix(name, "~") {
				// ~ is the home of whoever runs the test, in which nothing is to be made.
				s.judge.rule = func(_ context.Context, op files.Operation) error {
					if op.Writes() {
						return &files.Refusal{Message: "not there"}
					}
					return nil
				}
			}
			out := s.openssh(t, dir, "", tc.args...)
			s.end(t)
			switch {
			case strings.HasSuffix(name, "~"):
				if root, _ := user.Lookup("root"); len(s.judge.asked) == 0 || s.judge.asked[0].Asked != "~root/cardea-nothing" || s.judge.asked[0].Path != filepath.Join(root.HomeDir, "cardea-nothing") {
					t.Errorf("%+v\n%s", s.judge.asked, out)
				}
			case tc.up:
				same(t, filepath.Join(s.home, "file"))
			case strings.HasSuffix(name, "tree"):
				same(t, filepath.Join(dir, "back/file"))
			default:
				same(t, filepath.Join(dir, "back"))
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}
