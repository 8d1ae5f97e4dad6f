package sftp_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	client "github.com/pkg/sftp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

func TestFilesPassAndAreLogged(t *testing.T) {
	s := start(t, nil, nil, "")
	c := s.dial(t)
	content := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	f, err := c.Create("up")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(s.home, "up")); err != nil || string(got) != content {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if f, err = c.Open("up"); err != nil {
		t.Fatal(err)
	}
	var down strings.Builder
	if _, err := f.WriteTo(&down); err != nil || down.String() != content {
		t.Fatalf("%d bytes, %v", down.Len(), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.end(t)

	digest := sha256.Sum256([]byte(content))
	empty := files.Content{SHA256: sha256.Sum256(nil), Sequential: true}
	path := filepath.Join(s.home, "up")
	want := []files.Outcome{{
		Operation: files.Operation{Action: files.Open, Asked: "up", Path: path, Access: files.Read | files.Write | files.Create | files.Truncate},
		Result:    files.Succeeded,
		Transfer:  &files.Transfer{Read: empty, Written: files.Content{Bytes: 1 << 20, SHA256: digest, Sequential: true}, Closed: true},
	}, {
		Operation: files.Operation{Action: files.Open, Asked: "up", Path: path, Access: files.Read},
		Result:    files.Succeeded,
		Transfer:  &files.Transfer{Read: files.Content{Bytes: 1 << 20, SHA256: digest, Sequential: true, ToEnd: true}, Written: empty, Closed: true},
	}}
	if diff := cmp.Diff(want, s.notes.of(files.Open)); diff != "" {
		t.Error(diff)
	}
}

func TestOperations(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(c *client.Client) error
		want files.Operation // paths are below the home
		// changed is what the files are afterwards; nil for what they were
		changed map[string]string
	}{
		"stat":                      {do: func(c *client.Client) error { _, err := c.Stat("d/f"); return err }, want: files.Operation{Action: files.Stat, Asked: "d/f", Path: "/d/f"}},
		"stat follows":              {do: func(c *client.Client) error { _, err := c.Stat("l/f"); return err }, want: files.Operation{Action: files.Stat, Asked: "l/f", Path: "/d/f"}},
		"lstat":                     {do: func(c *client.Client) error { _, err := c.Lstat("l"); return err }, want: files.Operation{Action: files.Stat, Asked: "l", Path: "/l"}},
		"lstat of what it leads to": {do: func(c *client.Client) error { _, err := c.Lstat("l/"); return err }, want: files.Operation{Action: files.Stat, Asked: "l/", Path: "/d"}},
		"readlink":                  {do: func(c *client.Client) error { _, err := c.ReadLink("./d/../l"); return err }, want: files.Operation{Action: files.ReadLink, Asked: "./d/../l", Path: "/l"}},
		"list":                      {do: func(c *client.Client) error { _, err := c.ReadDir("l"); return err }, want: files.Operation{Action: files.List, Asked: "l", Path: "/d"}},
		"statvfs":                   {do: func(c *client.Client) error { _, err := c.StatVFS("l"); return err }, want: files.Operation{Action: files.StatFileSystem, Asked: "l", Path: "/d"}},
		"remove": {do: func(c *client.Client) error { return c.Remove("l//f") }, want: files.Operation{Action: files.Remove, Asked: "l//f", Path: "/d/f"},
			changed: map[string]string{"l": "→d", "d": "/", "e": "/"}},
		"mkdir": {do: func(c *client.Client) error { return c.Mkdir("l/n") }, want: files.Operation{Action: files.MakeDirectory, Asked: "l/n", Path: "/d/n"},
			changed: map[string]string{"l": "→d", "d/f": "x", "d/n": "/", "e": "/"}},
		"rmdir": {do: func(c *client.Client) error { return c.RemoveDirectory("e/") }, want: files.Operation{Action: files.RemoveDirectory, Asked: "e/", Path: "/e"},
			changed: map[string]string{"l": "→d", "d/f": "x"}},
		"rename": {do: func(c *client.Client) error { return c.Rename("l/f", "e/g") }, want: files.Operation{Action: files.Rename, Asked: "l/f", Path: "/d/f", AskedTo: "e/g", To: "/e/g"},
			changed: map[string]string{"l": "→d", "d": "/", "e/g": "x"}},
		"posix-rename": {do: func(c *client.Client) error { return c.PosixRename("l/f", "e/../g") }, want: files.Operation{Action: files.Rename, Asked: "l/f", Path: "/d/f", AskedTo: "e/../g", To: "/g", Replace: true},
			changed: map[string]string{"l": "→d", "d": "/", "e": "/", "g": "x"}},
		"hard link": {do: func(c *client.Client) error { return c.Link("d/f", "g") }, want: files.Operation{Action: files.HardLink, Asked: "d/f", Path: "/d/f", AskedTo: "g", To: "/g"},
			changed: map[string]string{"l": "→d", "d/f": "x", "e": "/", "g": "x"}},
		"symbolic link": {do: func(c *client.Client) error { return c.Symlink("../l/f", "e/s") }, want: files.Operation{Action: files.SymbolicLink, Asked: "e/s", Path: "/e/s", AskedTo: "../l/f", To: "/d/f"},
			changed: map[string]string{"l": "→d", "d/f": "x", "e/s": "→../l/f"}},
		"dangling link": {do: func(c *client.Client) error { return c.Symlink("a/b/c", "e/s") }, want: files.Operation{Action: files.SymbolicLink, Asked: "e/s", Path: "/e/s", AskedTo: "a/b/c", To: "/e/a/b/c"},
			changed: map[string]string{"l": "→d", "d/f": "x", "e/s": "→a/b/c"}},
		"chmod": {do: func(c *client.Client) error { return c.Chmod("l/f", 0o600) }, want: files.Operation{Action: files.SetAttributes, Asked: "l/f", Path: "/d/f", Set: files.Attributes{HasMode: true, Mode: 0o600}}},
		"truncate": {do: func(c *client.Client) error { return c.Truncate("l/f", 0) }, want: files.Operation{Action: files.SetAttributes, Asked: "l/f", Path: "/d/f", Set: files.Attributes{HasSize: true}},
			changed: map[string]string{"l": "→d", "d/f": "", "e": "/"}},
		"realpath": {do: func(c *client.Client) error {
			got, err := c.RealPath("l/../x")
			if err == nil && !strings.HasSuffix(got, "/x") {
				err = io.ErrUnexpectedEOF
			}
			return err
		}, want: files.Operation{Action: files.RealPath, Asked: "l/../x", Path: "/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, allow := range []bool{true, false} {
				s := start(t, nil, nil, "")
				if !allow {
					s.judge.rule = func(_ context.Context, op files.Operation) error { return &files.Refusal{Message: "no, by rule"} }
				}
				write(t, filepath.Join(s.home, "d/f"), "x")
				if err := errors.Join(os.Mkdir(filepath.Join(s.home, "e"), 0o755), os.Symlink("d", filepath.Join(s.home, "l"))); err != nil {
					t.Fatal(err)
				}
				before := tree(t, s.home)
				c := s.dial(t)
				err := tc.do(c)
				if allow && err != nil || !allow && !refusedBy(err) {
					t.Fatal(err)
				}
				s.end(t)
				want := tc.want
				if want.Path = s.home + want.Path; want.To != "" {
					want.To = s.home + want.To
				}
				if diff := cmp.Diff(want, s.judge.asked[0]); diff != "" {
					t.Error(diff)
				}
				changed := tc.changed
				if changed == nil || !allow {
					changed = before
				}
				if diff := cmp.Diff(changed, tree(t, s.home)); diff != "" {
					t.Error(diff)
				}
				done := s.notes.outcomes
				if len(done) != len(s.judge.asked) || allow != (done[0].Result == files.Succeeded) || !allow && (done[0].Result != files.Refused || done[0].Reason != "no, by rule") {
					t.Errorf("%+v", done)
				}
			}
		})
	}
}

// tree is all that is below a directory: content, a slash for empty directories, what links hold.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir():
			if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
				return err
			}
			all[name] = "/"
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			all[name] = "→" + to
			return err
		default:
			content, err := os.ReadFile(path)
			all[name] = string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
