package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// sshMatch is one compiled item about what a client opens.
type sshMatch struct {
	channels []v1alpha1.SSHChannel
	logins   []glob
	places   []glob
}

func compileSSHMatch(m *v1alpha1.SSHMatch) (*sshMatch, error) {
	switch {
	case len(m.Channels)+len(m.Logins)+len(m.Places) == 0:
		return nil, errors.New("ssh: at least one of channels, logins and places must be set")
	case max(len(m.Channels), len(m.Logins), len(m.Places)) > maxPatterns:
		return nil, fmt.Errorf("ssh: a list has more than %d items", maxPatterns)
	}
	c := &sshMatch{channels: m.Channels}
	for _, l := range m.Logins {
		c.logins = append(c.logins, newGlob(l, false))
	}
	for _, p := range m.Places {
		c.places = append(c.places, newGlob(p, true))
	}
	return c, nil
}

func (m *sshMatch) matches(f *sshapi.Facts) bool {
	among := func(list []glob, text string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(g glob) bool { return g.match(text) })
	}
	if len(m.channels) > 0 && !slices.Contains(m.channels, f.Channel) || !among(m.logins, f.Login) {
		return false
	}
	return len(m.places) == 0 || f.Host != "" && among(m.places, f.Place())
}

// fileMatch is one compiled item about operations on files.
type fileMatch struct {
	operations    []v1alpha1.FileAccess
	paths, except []string
}

func compileFileMatch(m *v1alpha1.FileMatch) (*fileMatch, error) {
	switch {
	case len(m.Operations)+len(m.Paths)+len(m.Except) == 0:
		return nil, errors.New("files: at least one of operations, paths and except must be set")
	case len(m.Paths) > 0 && len(m.Except) > 0:
		return nil, errors.New("files: at most one of paths and except may be set")
	case max(len(m.Operations), len(m.Paths), len(m.Except)) > maxPatterns:
		return nil, fmt.Errorf("files: a list has more than %d items", maxPatterns)
	}
	for _, o := range m.Operations {
		switch o {
		case v1alpha1.FileRead, v1alpha1.FileWrite, v1alpha1.FileDelete, v1alpha1.FileRename, v1alpha1.FileLink, v1alpha1.FileAttributes, v1alpha1.FileList:
		default:
			return nil, fmt.Errorf("files.operations: %q is not Read, Write, Delete, Rename, Link, Attributes or List", Printable(string(o), maxShownName))
		}
	}
	for _, p := range slices.Concat(m.Paths, m.Except) {
		if p == "" || p[0] != '/' && p[0] != '*' || strings.ContainsRune(p, 0) || len(p) > 1024 {
			return nil, fmt.Errorf("files: %q is no pattern of absolute paths", Printable(p, maxShownName))
		}
	}
	return &fileMatch{operations: m.Operations, paths: m.Paths, except: m.Except}, nil
}

// matches reports whether the item governs an operation: in doubt, where a path could not be
// resolved, it does.
func (m *fileMatch) matches(f *sshapi.File) bool {
	if len(f.Access) == 0 || len(m.operations) > 0 && !slices.ContainsFunc(f.Access, func(a v1alpha1.FileAccess) bool { return slices.Contains(m.operations, a) }) {
		return false
	}
	switch {
	case len(m.paths) > 0:
		return !f.Resolved || len(f.Paths) == 0 || slices.ContainsFunc(f.Paths, func(p string) bool { return isAmong(m.paths, p) || leadsTo(m.paths, f, p) })
	case len(m.except) > 0:
		return !f.Resolved || len(f.Paths) == 0 || slices.ContainsFunc(f.Paths, func(p string) bool { return !isAmong(m.except, p) })
	}
	return true
}

func isAmong(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return pathMatches(pattern, p) })
}

// leadsTo reports whether an operation on a folder is one on what lies in it: who renames,
// removes or links a folder takes its files along.
func leadsTo(patterns []string, f *sshapi.File, p string) bool {
	if !f.Tree && !slices.ContainsFunc(f.Access, func(a v1alpha1.FileAccess) bool {
		return a == v1alpha1.FileRename || a == v1alpha1.FileDelete || a == v1alpha1.FileLink
	}) {
		return false
	}
	within := strings.TrimSuffix(p, "/") + "/"
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		// The pattern's beginning without wildcards lies below the folder, or one of its folders
		// matches it.
		if literal, _, _ := strings.Cut(pattern, "*"); strings.HasPrefix(literal, within) {
			return true
		}
		for at := path.Dir(pattern); at != "/" && at != "."; at = path.Dir(at) {
			if pathMatches(at, p) {
				return true
			}
		}
		return false
	})
}

// pathMatches reports whether a path is what a pattern says: "*" is any run of bytes without a
// slash, "**" any run.
func pathMatches(pattern, p string) bool {
	// now[j] says that the pattern up to here matches the first j bytes.
	now := make([]bool, len(p)+1)
	now[0] = true
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '*' {
			for j := len(p); j > 0; j-- {
				now[j] = now[j-1] && p[j-1] == pattern[i]
			}
			now[0] = false
			continue
		}
		slashes := i+1 < len(pattern) && pattern[i+1] == '*'
		if slashes {
			i++
		}
		for j := 1; j <= len(p); j++ {
			now[j] = now[j] || now[j-1] && (slashes || p[j-1] != '/')
		}
	}
	return now[len(p)]
}

// concernsSSH reports whether a rule that refuses, holds or marks speaks of a request.
func (r *commandRule) concernsSSH(f *sshapi.Facts) bool {
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.concernsSSH(f) })
}

func (m *match) concernsSSH(f *sshapi.Facts) bool {
	return m.aboutSSH(f) && (m.shell == nil || startedSSH(f) != nil && m.shell.matches(startedSSH(f))) &&
		(m.files == nil || f.File != nil && m.files.matches(f.File))
}

// concernsLineSSH is concernsSSH for a rule that holds lines of a gated shell: one that does not
// ask what is started is about the opening.
func (r *commandRule) concernsLineSSH(f *sshapi.Facts) bool {
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.shell != nil && m.concernsSSH(f) })
}

// admitsStartSSH reports whether one item of the rule admits what a request starts, which is
// refused without it.
func (r *commandRule) admitsStartSSH(f *sshapi.Facts) bool {
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.aboutSSH(f) && m.shell != nil && m.shell.admits(startedSSH(f)) })
}

// aboutSSH reports whether an item speaks of a request, besides what it starts and which files
// it is about.
func (m *match) aboutSSH(f *sshapi.Facts) bool {
	return !m.isSQL() && m.request == nil && (m.ssh == nil || m.ssh.matches(f))
}

// startedSSH is what a request starts on the host; nil for one that starts nothing.
func startedSSH(f *sshapi.Facts) *shell.Facts {
	switch {
	case !f.Starts():
		return nil
	case f.Shell != nil:
		return f.Shell
	}
	return &shell.Facts{}
}
