package scp

import (
	"path"
	"slices"
	"strings"
)

// Command is the remote side of `scp -O`.
type Command struct {
	// Sink: the target takes files, from the client. Otherwise it sends them.
	Sink bool
	// Path is the target or the source, as it was written: relative to the login's home. The last
	// name of a source may be a pattern that the target's shell expands.
	Path string
	// Recursive allows directories, Directory says that the sink must be one, Times that times are
	// sent.
	Recursive, Directory, Times bool
}

// programs are the names that scp is started by; another file of that name may be anything.
var programs = []string{"scp", "/usr/bin/scp", "/bin/scp"}

// Parse recognises a command by its words, all of them literal. It is false for whatever OpenSSH's
// client does not send: more than one path, or options that it does not use there.
func Parse(words []string) (Command, bool) {
	var c Command
	if len(words) < 3 || !slices.Contains(programs, words[0]) {
		return c, false
	}
	var to, from bool
	rest := words[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") && rest[0] != "-" {
		option := rest[0]
		if rest = rest[1:]; option == "--" {
			break
		}
		for _, letter := range option[1:] {
			switch letter {
			case 't':
				to = true
			case 'f':
				from = true
			case 'r':
				c.Recursive = true
			case 'd':
				c.Directory = true
			case 'p':
				c.Times = true
			case 'v', 'q':
			default:
				return Command{}, false
			}
		}
	}
	if to == from || len(rest) != 1 || !usable(rest[0], from) {
		return Command{}, false
	}
	c.Sink, c.Path = to, rest[0]
	return c, true
}

// usable tells whether what a path means can be told: one directory, and for a sink no pattern.
func usable(p string, pattern bool) bool {
	if p == "" || len(p) > maxPath || strings.ContainsAny(p, "\x00\n") {
		return false
	}
	if pattern {
		p, _ = path.Split(strings.TrimRight(p, "/"))
	}
	return !strings.ContainsAny(p, "*?[") && !strings.HasPrefix(p, "~")
}

// places are the names that a file or directory of the topmost record may have on the target. The
// second is empty if there is only one.
func (c *Command) places(name string) (one, other string) {
	if !c.Sink {
		directory, _ := path.Split(strings.TrimRight(c.Path, "/"))
		return directory + name, ""
	}
	into := strings.TrimRight(c.Path, "/") + "/" + name
	last := path.Base(c.Path)
	if c.Directory || strings.HasSuffix(c.Path, "/") || last == "." || last == ".." {
		return into, ""
	}
	return into, c.Path
}

// expects tells whether a source's topmost record may have a name: what the command asks for.
func (c *Command) expects(name string) bool {
	if c.Sink {
		return true
	}
	wanted := path.Base(c.Path)
	matches, err := path.Match(wanted, name)
	return wanted == name || err == nil && matches
}
