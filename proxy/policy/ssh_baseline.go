package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// writers are programs that write to files among their arguments.
var writers = []string{"tee", "cp", "mv", "install", "ln", "dd", "sed", "rm", "truncate", "touch", "chmod", "chown", "rsync", "ssh-copy-id", "ssh-keygen", "patch", "sponge", "shred", "unlink"}

// letsIn matches what would let somebody sign in past the gate: writes to where keys are kept
// that the server trusts. Of commands it sees what is plain.
func letsIn(f *sshapi.Facts) bool {
	if o := f.File; o != nil {
		return o.Access != v1alpha1.FileRead && o.Access != v1alpha1.FileList && slices.ContainsFunc(o.Paths, keepsKeys)
	}
	if f.Shell == nil {
		return false
	}
	for _, c := range f.Shell.Commands {
		for _, file := range c.Files {
			if file.Write && keepsKeys(file.Path.Text) {
				return true
			}
		}
		if len(c.Words) == 0 || !slices.Contains(writers, path.Base(c.Words[0].Text)) {
			continue
		}
		for _, w := range c.Words[1:] {
			// dd of=PATH
			if _, value, ok := strings.Cut(w.Text, "="); keepsKeys(w.Text) || ok && keepsKeys(value) {
				return true
			}
		}
	}
	return false
}

// keepsKeys reports whether a path is one where keys are kept: anything in a folder .ssh, a
// file authorized_keys, or the server's own configuration. Letter case does not count: some
// file systems ignore it.
func keepsKeys(p string) bool {
	p = strings.ToLower(p)
	if p == "/etc/ssh" || strings.HasPrefix(p, "/etc/ssh/") {
		return true
	}
	for _, part := range strings.Split(p, "/") {
		if part == ".ssh" || strings.HasPrefix(part, "authorized_keys") {
			return true
		}
	}
	return false
}
