package sshapi

import (
	"strings"
	"unicode"
)

// protectedDirectories are names of directories below which nothing is to be written, wherever
// they are, and protectedPrefixes begin names of files that are not to be written.
var (
	protectedDirectories = []string{".ssh"}
	protectedPrefixes    = []string{"authorized_keys"}
)

// protectedTrees are absolute paths below which nothing is to be written: the server's own keys
// and configuration, and processes, of which a writable memory is a way to run code.
var protectedTrees = []string{"/etc/ssh", "/proc"}

// Protected tells whether a path is one whose change would give lasting access to the target, or
// access past the gate: anything in or below a directory .ssh, that directory itself, any file
// named authorized_keys…, /etc/ssh and /proc. Letter case and characters that file systems ignore
// make no difference, a backslash separates like a slash, and a relative path is judged by its names.
func Protected(path string) bool {
	names := split(path)
	for _, name := range names {
		for _, d := range protectedDirectories {
			if name == d {
				return true
			}
		}
		for _, prefix := range protectedPrefixes {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return rooted(path) && within(names)
}

// HoldsProtected tells whether an absolute path is a directory that holds a protected tree: who
// renames, removes or links it does so to the tree.
func HoldsProtected(path string) bool {
	if !rooted(path) {
		return false
	}
	names := split(path)
	for _, tree := range protectedTrees {
		if of := split(tree); len(names) < len(of) && equal(names, of[:len(names)]) {
			return true
		}
	}
	return false
}

// within tells whether the names of an absolute path lie in a protected tree.
func within(names []string) bool {
	for _, tree := range protectedTrees {
		if of := split(tree); len(names) >= len(of) && equal(names[:len(of)], of) {
			return true
		}
	}
	return false
}

func equal(a, b []string) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func rooted(path string) bool { return strings.HasPrefix(path, "/") || strings.HasPrefix(path, `\`) }

// split returns the names of a path as a file system that tells little apart would compare them.
func split(path string) []string {
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
	kept := names[:0]
	for _, name := range names {
		if name = fold(name); name != "" {
			kept = append(kept, name)
		}
	}
	return kept
}

// fold leaves out what HFS+ ignores and Windows cuts, and folds letter case beyond ASCII, as in
// the long s that equals an s.
func fold(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return unicode.ToLower(least)
	}, name)
	if kept := strings.TrimRight(name, ". "); kept != "" {
		name = kept
	}
	if name == "." {
		return ""
	}
	return name
}
