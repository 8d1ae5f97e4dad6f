// Package sshapi is what the gate knows of what a client of an SSH server asks for. It refuses
// nothing itself: policy decides on it, the SSH engine establishes it. It is pure, so that the
// operator can judge rules by it.
package sshapi

import (
	"net"
	"slices"
	"strconv"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/shell"
)

// Facts are what is known of one request. The zero Facts are those of a request that is not
// understood. They are never changed once they are made.
type Facts struct {
	// Known says that the request means what the other fields say, and nothing else. Unknown
	// says why not, without a value of the request.
	Known   bool
	Unknown string

	// Channel is what of a grant it takes.
	Channel v1alpha1.SSHChannel
	// Login is the account at the server.
	Login string

	// Shell is what a command starts; nil for a request that starts none.
	Shell *shell.Facts
	// Forced says that the command is the grant's own and not the client's.
	Forced bool
	// TTY says that there is a terminal.
	TTY bool
	// Opens says that a request for a shell becomes a gated one: it starts no more than a shell,
	// whose lines are decided on one by one. Line says that Shell is such a line.
	Opens, Line bool

	// File is an operation on files; nil for any other request.
	File *File

	// Host and Port are the place of a forward, as the client names it.
	Host string
	Port uint32
}

// File is an operation on files.
type File struct {
	// Access is what it does; empty for one that asks for names alone, and for the opening of a
	// channel for files.
	Access []v1alpha1.FileAccess
	// Paths are all that it is about: absolute, clean, and with symbolic links followed, as the
	// server resolved them. Asked are they as the client names them.
	Paths, Asked []string
	// Resolved says that Paths are so; otherwise they are those of Asked.
	Resolved bool
	// Tree says that it is about all that lies below, too.
	Tree bool
}

// Changes reports whether the operation may change anything at the server.
func (f *File) Changes() bool {
	return slices.ContainsFunc(f.Access, func(a v1alpha1.FileAccess) bool { return a != v1alpha1.FileRead && a != v1alpha1.FileList })
}

// LetsIn reports whether the operation changes what is Protected, or would put another name in
// the place of a tree that is.
func (f *File) LetsIn() bool {
	if !f.Changes() {
		return false
	}
	paths := slices.Concat(f.Paths, f.Asked)
	if slices.ContainsFunc(paths, Protected) {
		return true
	}
	moves := f.Tree || slices.ContainsFunc(f.Access, func(a v1alpha1.FileAccess) bool {
		return a == v1alpha1.FileDelete || a == v1alpha1.FileRename || a == v1alpha1.FileLink
	})
	return moves && slices.ContainsFunc(paths, HoldsProtected)
}

// Place is HOST:PORT of a forward.
func (f *Facts) Place() string {
	return net.JoinHostPort(f.Host, strconv.FormatUint(uint64(f.Port), 10))
}

// Starts reports whether a request starts programs of the client's choice.
func (f *Facts) Starts() bool {
	return (f.Channel == v1alpha1.SSHExec || f.Channel == v1alpha1.SSHShell) && !f.Opens
}
