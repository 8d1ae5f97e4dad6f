package sftp_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	client "github.com/pkg/sftp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// TestNoSpellingGetsRoundTheBaseline: in a home with .ssh no way to name a protected file changes
// anything.
func TestNoSpellingGetsRoundTheBaseline(t *testing.T) {
	put := func(path string) func(*client.Client) error {
		return func(c *client.Client) error {
			f, err := c.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
			if err != nil {
				return err
			}
			_, err = f.Write([]byte("key"))
			return errors.Join(err, f.Close())
		}
	}
	for name, attack := range map[string]func(*client.Client) error{
		"the file":               put(".ssh/authorized_keys"),
		"beside it":              put(".ssh/rc"),
		"anywhere":               put("d/authorized_keys2"),
		"dots":                   put("d/../.ssh/rc"),
		"dots and slashes":       put(".//d//..//.ssh//./rc"),
		"through a link":         put("alias/rc"),
		"through two links":      put("twice/rc"),
		"through a link of home": put("home/alias/rc"),
		"dots behind a link":     put("alias/../.ssh/rc"),
		"a link up":              put("d/up/alias/rc"),
		"a link at the end":      put("torc"),
		"a link to nothing yet":  put("tonew"),
		"a link to a link":       put("totorc"),
		"upper case":             put(".SSH/rc"),
		"trailing slash":         put(".ssh/rc/"),
		"a magic link of proc":   put("/proc/self/cwd/.ssh/rc"),
		"process memory":         put("/proc/self/mem"),
		"truncation":             func(c *client.Client) error { return c.Truncate("torc", 0) },
		"truncation by opening": func(c *client.Client) error {
			_, err := c.OpenFile("torc", os.O_TRUNC)
			return err
		},
		"mode":                        func(c *client.Client) error { return c.Chmod("alias", 0o777) },
		"removal":                     func(c *client.Client) error { return c.Remove("alias/rc") },
		"a directory":                 func(c *client.Client) error { return c.Mkdir("d/.ssh") },
		"rename into":                 func(c *client.Client) error { return c.Rename("d/f", "alias/f") },
		"rename to the name":          func(c *client.Client) error { return c.Rename("d/f", "d/authorized_keys") },
		"posix rename into":           func(c *client.Client) error { return c.PosixRename("d/f", "alias/rc") },
		"posix rename of a directory": func(c *client.Client) error { return c.PosixRename("d", ".ssh") },
		"rename of it":                func(c *client.Client) error { return c.Rename(".ssh", "x") },
		"rename of it by a link":      func(c *client.Client) error { return c.Rename("home/.ssh/", "x") },
		"hard link of it":             func(c *client.Client) error { return c.Link("alias/rc", "x") },
		"hard link into it":           func(c *client.Client) error { return c.Link("d/f", "alias/f") },
		"hard link of a link":         func(c *client.Client) error { return c.Link("torc", "x") },
		"link to it":                  func(c *client.Client) error { return c.Symlink(".ssh", "x") },
		"link to it by dots":          func(c *client.Client) error { return c.Symlink("../d/../.ssh", "d/x") },
		"link to a link to it":        func(c *client.Client) error { return c.Symlink("../alias", "d/x") },
		"link to what is not there":   func(c *client.Client) error { return c.Symlink("../.ssh/new/x", "d/x") },
		"link in it":                  func(c *client.Client) error { return c.Symlink("../d/f", ".ssh/x") },
		"link to the server's keys":   func(c *client.Client) error { return c.Symlink("/etc/ssh/sshd_config", "x") },
		"link to above them":          func(c *client.Client) error { return c.Symlink("/etc", "x") },
	} {
		for server, begin := range servers {
			t.Run(server+"/"+name, func(t *testing.T) {
				home := folder(t)
				s := start(t, baseline, begin(t, home), home)
				plant(t, home)
				before := tree(t, home)
				if err := attack(s.dial(t)); err == nil {
					t.Error("it was done")
				}
				s.end(t)
				if diff := cmp.Diff(before, tree(t, home)); diff != "" {
					t.Error(diff)
				}
				for _, o := range s.notes.outcomes {
					if o.Operation.Writes() && o.Result != files.Refused && o.Result != files.Unresolved {
						t.Errorf("%s: %s %s", o.Operation.String(), o.Result, o.Reason)
					}
				}
			})
		}
	}
}

// plant makes a home with .ssh and links that lead there.
func plant(t *testing.T, home string) {
	t.Helper()
	write(t, filepath.Join(home, ".ssh/rc"), "mine")
	write(t, filepath.Join(home, ".ssh/authorized_keys"), "mine")
	write(t, filepath.Join(home, "d/f"), "x")
	for link, to := range map[string]string{"alias": ".ssh", "twice": "alias", "home": home, "torc": "alias/rc", "totorc": "home/torc", "tonew": "alias/new", "d/up": ".."} {
		if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNamesDoNotChangeBetweenLookAndUse: requests sent without waiting for answers, of which the
// second makes the path of the first another.
func TestNamesDoNotChangeBetweenLookAndUse(t *testing.T) {
	s := start(t, baseline, nil, "")
	write(t, filepath.Join(s.home, ".ssh/rc"), "mine")
	write(t, filepath.Join(s.home, "d/rc"), "x")
	if err := os.Symlink(".ssh", filepath.Join(s.home, "alias")); err != nil {
		t.Fatal(err)
	}
	r := raw(t, s.client)
	for i := range uint32(200) {
		r.send(typeOpen, 4*i, "d/rc", uint32(0x1a), uint32(0)) // write, create, truncate
		r.send(typeRename, 4*i+1, "d", "e")
		r.send(typeRename, 4*i+2, "alias", "d")
		r.send(typeOpen, 4*i+3, "d/rc", uint32(0x1a), uint32(0))
		var handles []string
		for range 4 {
			if typ, _, rest := r.receive(); typ == typeHandle {
				handles = append(handles, rest.text())
			}
		}
		if len(handles) != 1 {
			t.Fatalf("%d were opened", len(handles))
		}
		r.send(typeClose, 0, handles[0])
		r.send(typeRename, 1, "d", "alias")
		r.send(typeRename, 2, "e", "d")
		for range 3 {
			if typ, _, rest := r.receive(); typ != typeStatus || rest.number() != 0 {
				t.Fatal(typ)
			}
		}
	}
	s.end(t)
	if got, err := os.ReadFile(filepath.Join(s.home, ".ssh/rc")); err != nil || string(got) != "mine" {
		t.Errorf("%q, %v", got, err)
	}
}
