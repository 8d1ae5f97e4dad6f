package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// writers are programs that write to files among their arguments.
var writers = []string{"tee", "cp", "mv", "install", "ln", "dd", "sed", "rm", "truncate", "touch", "chmod", "chown", "rsync", "ssh-copy-id", "ssh-keygen", "patch", "sponge", "shred", "unlink"}

// letsIn matches what would let somebody sign in past the gate: writes to where keys are kept
// that the server trusts. Of commands it sees what is plain.
func letsIn(f *sshapi.Facts) bool {
	if f.File != nil {
		return f.File.LetsIn()
	}
	if f.Shell == nil {
		return false
	}
	for _, c := range f.Shell.Commands {
		for _, file := range c.Files {
			if file.Write && sshapi.Protected(file.Path.Text) {
				return true
			}
		}
		if len(c.Words) == 0 || !slices.Contains(writers, path.Base(c.Words[0].Text)) {
			continue
		}
		for _, w := range c.Words[1:] {
			// dd of=PATH
			if _, value, ok := strings.Cut(w.Text, "="); sshapi.Protected(w.Text) || ok && sshapi.Protected(value) {
				return true
			}
		}
	}
	return false
}
