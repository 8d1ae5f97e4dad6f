package ssh

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/sftp"
)

// noEtc denies what changes anything below DIR/etc.
var noEtc = rule("no-etc", `{files: {operations: [Write, Delete, Rename, Link, Attributes], paths: ["DIR/etc/**", "DIR/etc"]}}`, "action: Deny, message: nothing is written there")

const filesGrant = "channels: [SFTP]"

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fill(t *testing.T, path string, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCopies copies files both ways with every program of OpenSSH, and rsync.
func TestCopies(t *testing.T) {
	w := start(t, setup{grant: filesGrant})
	local, remote := t.TempDir(), filepath.Join(w.server.Dir, "files")
	if err := os.Mkdir(remote, 0o700); err != nil {
		t.Fatal(err)
	}
	big := fill(t, filepath.Join(local, "tree", "big"), 5<<20)
	fill(t, filepath.Join(local, "tree", "below", "small"), 10)
	rsh := "ssh -F " + w.Credential("config")
	for name, tc := range map[string]struct{ up, down []string }{
		"scp":    {[]string{"scp", "-q", "-F", w.Credential("config"), "-r"}, []string{"scp", "-q", "-F", w.Credential("config"), "-r"}},
		"scp -O": {[]string{"scp", "-q", "-O", "-F", w.Credential("config"), "-r"}, []string{"scp", "-q", "-O", "-F", w.Credential("config"), "-r"}},
		"rsync":  {[]string{"rsync", "-a", "-e", rsh}, []string{"rsync", "-a", "-e", rsh}},
	} {
		t.Run(name, func(t *testing.T) {
			there := filepath.Join(remote, strings.ReplaceAll(name, " ", ""))
			if err := os.Mkdir(there, 0o700); err != nil {
				t.Fatal(err)
			}
			back := t.TempDir()
			for _, args := range [][]string{append(tc.up, filepath.Join(local, "tree"), "host:"+there), append(tc.down, "host:"+filepath.Join(there, "tree"), back)} {
				if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
			for _, f := range []string{"big", "below/small"} {
				if !bytes.Equal(content(t, filepath.Join(local, "tree", f)), content(t, filepath.Join(back, "tree", f))) {
					t.Errorf("%s is not the same", f)
				}
			}
		})
	}
	sum := sha256.Sum256(big)
	digest := hex.EncodeToString(sum[:])
	seen := map[string]bool{}
	for _, e := range w.Events(t) {
		if e.Response != nil && strings.Contains(e.Response.Tag, digest) {
			for _, verb := range []string{"read", "written"} {
				seen[verb] = seen[verb] || strings.Contains(e.Response.Tag, "bytes "+verb)
			}
		}
		if e.Input != nil && bytes.Contains(e.Input.Data, big[:64]) || e.Output != nil && bytes.Contains(e.Output.Data, big[:64]) {
			t.Error("the recording holds the content of a file")
		}
	}
	if !seen["read"] || !seen["written"] {
		t.Errorf("the recording does not hold the file's digest: %v", seen)
	}
}

// TestFilesRefused tries to write where a rule or the baseline denies it, in every way.
func TestFilesRefused(t *testing.T) {
	w := start(t, setup{grant: filesGrant, more: []string{noEtc}})
	dir := w.server.Dir
	secret := filepath.Join(dir, "etc", "conf")
	before := fill(t, secret, 20)
	fill(t, filepath.Join(dir, "free", "x"), 20)
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "etc", "keys": ".ssh", "free/up": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := sftp.NewClient(w.client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	in := func(p string) string { return filepath.Join(dir, "free") + "/../" + p }
	create := func(p string) error {
		f, err := c.Create(p)
		if err == nil {
			_ = f.Close()
		}
		return err
	}
	for name, attack := range map[string]func() error{
		"plainly":                  func() error { return create(secret) },
		"dots":                     func() error { return create(in("etc/new")) },
		"slashes":                  func() error { return create(dir + "//etc///new") },
		"a link":                   func() error { return create(dir + "/link/new") },
		"a link and dots":          func() error { return create(dir + "/free/up/etc/new") },
		"appending":                func() error { _, err := c.OpenFile(dir+"/link/conf", os.O_WRONLY|os.O_APPEND); return err },
		"truncating":               func() error { return c.Truncate(dir+"/link/conf", 0) },
		"mode":                     func() error { return c.Chmod(dir+"/link/conf", 0o777) },
		"removing":                 func() error { return c.Remove(dir + "/link/conf") },
		"renaming":                 func() error { return c.Rename(secret, dir+"/free/away") },
		"renaming by POSIX":        func() error { return c.PosixRename(dir+"/free/x", secret) },
		"renaming the folder":      func() error { return c.Rename(dir+"/etc", dir+"/gone") },
		"a hard link":              func() error { return c.Link(secret, dir+"/free/hard") },
		"a symbolic link into it":  func() error { return c.Symlink(secret, dir+"/free/soft") },
		"a folder":                 func() error { return c.Mkdir(dir + "/link/folder") },
		"keys":                     func() error { return create(dir + "/.ssh/authorized_keys") },
		"keys by a link":           func() error { return create(dir + "/keys/authorized_keys2") },
		"keys by another name":     func() error { return create(dir + "/keys/config") },
		"keys by renaming":         func() error { return c.Rename(dir+"/free/x", dir+"/free/authorized_keys") },
		"keys by making a folder":  func() error { return c.Mkdir(dir + "/free/.ssh") },
		"keys by renaming folders": func() error { return c.Rename(dir+"/free", dir+"/.ssh") },
	} {
		if err := attack(); err == nil {
			t.Errorf("%s: it was let pass", name)
		}
	}
	if !bytes.Equal(before, content(t, secret)) {
		t.Error("the file was changed")
	}
	var found []string
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if strings.Contains(p, dir+"/.ssh/") || strings.Contains(p, "authorized_keys") || strings.Contains(p, "/etc/") && p != secret || strings.HasPrefix(p, dir+"/free/") && p != dir+"/free/x" && p != dir+"/free/up" {
			found = append(found, p)
		}
		return err
	})
	if err != nil || len(found) > 0 {
		t.Errorf("there is now %v %v", found, err)
	}
	if err := create(dir + "/free/allowed"); err != nil {
		t.Errorf("what is permitted is refused: %v", err)
	}
	if _, err := c.Stat(secret); err != nil {
		t.Errorf("looking is refused: %v", err)
	}
	here := filepath.Join(t.TempDir(), "conf")
	fill(t, here, 10)
	fill(t, filepath.Join(filepath.Dir(here), ".ssh", "authorized_keys"), 10)
	// The folder of the server holds one, as that of an account does.
	if w.rsync(t, filepath.Dir(here)+"/", "/") == nil {
		t.Error("rsync to a home was let pass")
	}
	for _, path := range []string{"/link/new", "/etc/new", "/free/up/etc/new", "/keys/authorized_keys", "/link"} {
		if got := w.run(t, "", "scp", "-O", "-q", here, "host:"+dir+path); got.Code == 0 || !strings.Contains(got.Stderr, "CDA-2001") {
			t.Errorf("scp -O to %s: got %+v", path, got)
		}
		if got := w.rsync(t, here, path); got == nil {
			t.Errorf("rsync to %s was let pass", path)
		}
	}
	if !bytes.Equal(before, content(t, secret)) {
		t.Error("the file was changed")
	}
}

// rsync copies a file to the server's folder.
func (w *world) rsync(t *testing.T, from, to string) error {
	t.Helper()
	return exec.CommandContext(t.Context(), "rsync", "-a", "-e", "ssh -F "+w.Credential("config"), from, "host:"+w.server.Dir+to).Run()
}

// TestFilesNeedTheirChannel refuses transfers, by whichever program, to who may run commands.
func TestFilesNeedTheirChannel(t *testing.T) {
	w := start(t, setup{grant: "channels: [Exec]"})
	x := filepath.Join(t.TempDir(), "x")
	fill(t, x, 10)
	to := filepath.Join(w.server.Dir, "y")
	for name, run := range map[string]func() outcome{
		"sftp":        func() outcome { return w.run(t, "", "sftp", "-b", "/dev/null", "host") },
		"scp":         func() outcome { return w.run(t, "", "scp", x, "host:"+to) },
		"scp -O":      func() outcome { return w.run(t, "", "scp", "-O", x, "host:"+to) },
		"rsync":       func() outcome { return w.ssh(t, "rsync", "--server", "-logDtpre.iLsfxCIvu", ".", to) },
		"sftp-server": func() outcome { return w.ssh(t, "/usr/lib/openssh/sftp-server") },
		"scp behind":  func() outcome { return w.ssh(t, "env scp -t "+to) },
	} {
		if got := run(); got.Code == 0 || !strings.Contains(got.Stderr, "CDA-") {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("the file is there")
	}
}

// TestFilesWithDetectors refuses to read files where text is masked.
func TestG3FilesWithDetectors(t *testing.T) {
	w := start(t, setup{grant: filesGrant, more: []string{
		"apiVersion: access.cardea.dev/v1alpha1\nkind: MaskingRule\nmetadata: {name: found, namespace: gate}\nspec:\n  targetSelector: {}\n  detectors: [CreditCard]"}})
	there := filepath.Join(w.server.Dir, "cards")
	fill(t, there, 100)
	here := filepath.Join(t.TempDir(), "cards")
	for _, args := range [][]string{{"-q"}, {"-q", "-O"}} {
		if got := w.run(t, "", "scp", append(args, "host:"+there, here)...); got.Code == 0 || !strings.Contains(got.Stderr, "CDA-2004") {
			t.Errorf("%v: got %+v", args, got)
		}
	}
	if _, err := os.Stat(here); err == nil {
		t.Error("the file came")
	}
	if got := w.run(t, "", "scp", "-q", there, "host:"+there+"2"); got.Code != 0 {
		t.Errorf("writing: got %+v", got)
	}
}
