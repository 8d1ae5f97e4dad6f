// Package rsync recognises the command that rsync's client starts on a target, by its words alone: the
// direction, and the paths that it names. It does not decode the protocol that follows, in which
// the client says which files it means, so that nothing below a path is judged and only counts are
// known of what passes. A modified client may also make a receiving rsync write elsewhere, through
// symbolic links that it sends first: whoever lets rsync receive trusts it as far as the login goes.
//
// Whatever it does not know of makes a command unknown: options that name other files (--files-from,
// --backup-dir, --log-file), follow links (-L) or take the paths from the stream (-s), and any that
// are newer than this package.
package rsync

import (
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// Command is the remote side of rsync.
type Command struct {
	// Sender: files leave the target. Otherwise it receives them.
	Sender bool
	// Paths are what the target sends, or the one place where it receives, as they were written:
	// relative to the login's home.
	Paths []string
	// Recursive, and Delete: what the client does not have is removed where files are received.
	Recursive, Delete bool
	// DryRun: nothing is to be changed, by the word of the target's own rsync.
	DryRun bool
}

// programs are the names that rsync is started by; another file of that name may be anything.
var programs = []string{"rsync", "/usr/bin/rsync", "/bin/rsync"}

// letters are short options that have no value and mean no other files than the paths.
const letters = "vqrlpogtDHAXSWnIcuxdiOJNUyzmRbCE"

// flags are long options that have no value, and valued those with one that is no path.
var (
	flags = []string{
		"--delete", "--delete-before", "--delete-during", "--delete-after", "--delete-delay", "--delete-excluded",
		"--dirs", "--existing", "--force", "--hard-links", "--ignore-errors", "--ignore-existing", "--inplace", "--list-only",
		"--no-implied-dirs", "--no-inc-recursive", "--no-i-r", "--no-r", "--no-W", "--numeric-ids", "--partial",
		"--safe-links", "--size-only", "--sparse", "--stats", "--whole-file", "--append", "--new-compress", "--old-compress",
	}
	valued = []string{
		"--block-size", "--bwlimit", "--checksum-choice", "--checksum-seed", "--compress-choice", "--compress-level",
		"--log-format", "--max-delete", "--max-size", "--min-size", "--modify-window", "--skip-compress", "--timeout",
	}
)

const (
	maxPaths = 1024
	maxPath  = 4096
)

// Parse recognises a command by its words, all of them literal.
func Parse(words []string) (Command, bool) {
	var c Command
	if len(words) < 2 || !slices.Contains(programs, words[0]) || words[1] != "--server" {
		return Command{}, false
	}
	rest := words[2:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		option := rest[0]
		if rest = rest[1:]; option == "--" {
			break
		}
		if !c.option(option) {
			return Command{}, false
		}
	}
	// The first word stands for the client's side.
	if len(rest) < 2 || rest[0] != "." || len(rest) > 1+maxPaths || !c.Sender && len(rest) != 2 {
		return Command{}, false
	}
	for _, p := range rest[1:] {
		if p == "" || len(p) > maxPath || strings.HasPrefix(p, "~") || strings.ContainsAny(p, "\x00*?[") {
			return Command{}, false
		}
	}
	c.Paths = rest[1:]
	return c, true
}

// option takes one option, and tells whether it is known.
func (c *Command) option(option string) bool {
	if name, value, has := strings.Cut(option, "="); has {
		return slices.Contains(valued, name) && value != ""
	}
	if strings.HasPrefix(option, "--") {
		if option == "--sender" {
			c.Sender = true
			return true
		}
		c.Delete = c.Delete || strings.HasPrefix(option, "--delete")
		return slices.Contains(flags, option)
	}
	for i, letter := range option[1:] {
		switch {
		case letter == 'e':
			return capabilities(option[1+i+1:])
		case !strings.ContainsRune(letters, letter):
			return false
		case letter == 'r':
			c.Recursive = true
		case letter == 'n':
			c.DryRun = true
		}
	}
	return true
}

// capabilities tells whether a value of -e is what a client says of itself, and no program.
func capabilities(value string) bool {
	rest := strings.TrimLeft(value, "0123456789.")
	return len(rest) < len(value) && strings.Trim(rest, "CILfisuvx") == ""
}

// Operations are what a guard is to be asked before the command is started. Every one means all that
// is below its path too.
func (c *Command) Operations() []files.Operation {
	all := make([]files.Operation, len(c.Paths))
	for i, p := range c.Paths {
		all[i] = files.Operation{Action: files.Open, Asked: p, Access: files.Read, Tree: true}
		if !c.Sender {
			all[i].Access = files.Write | files.Create | files.Truncate
		}
	}
	return all
}
