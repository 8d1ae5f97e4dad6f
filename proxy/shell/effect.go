package shell

import (
	"regexp"
	"slices"
	"strings"
)

// changing are builtins that change what later commands mean, or that shells differ in.
var changing = set("alias unalias hash enable shopt bind complete compgen fc history mapfile readarray let coproc unset typeset declare local nameref function select print whence" +
	" autoload emulate getopts jobs [[ ((")

// builtin says why a builtin of shells keeps what follows from being known; empty if it does
// not. Programs of such a name exist as well, and are taken for the builtin.
func builtin(name string, args []Word) string {
	switch {
	case name == "." || name == "source":
		return "it reads commands of a file"
	case changing[name]:
		return name + " is not understood: shells differ in what it means, or it changes what later commands mean"
	case name == "set" && !plainSet(args):
		return "an option of set is not understood"
	case evaluates(name, args):
		return "shells differ in what an argument of " + name + " means"
	}
	return ""
}

// plainSet reports whether set changes only how errors are handled, or positional parameters.
func plainSet(args []Word) bool {
	for _, a := range args {
		switch {
		case !a.Literal:
			return false
		case a.Text == "--":
			return true
		case a.Text == "-o" || a.Text == "+o" || a.Text == "pipefail" || a.Text == "errexit" || a.Text == "nounset" || a.Text == "xtrace":
		case len(a.Text) < 2 || a.Text[0] != '-' && a.Text[0] != '+' || strings.Trim(a.Text[1:], "eux") != "":
			return false
		}
	}
	return true
}

// evaluates reports whether a builtin is given a variable with a subscript, which bash
// evaluates, or one to set.
func evaluates(name string, args []Word) bool {
	return slices.ContainsFunc(args, func(a Word) bool {
		subscript := len(a.Text) > 1 && strings.Contains(a.Text, "[")
		switch name {
		case "printf":
			return strings.HasPrefix(a.Text, "-v")
		case "wait":
			return a.Text == "-p" || subscript
		case "read":
			return a.Text == "-a" || subscript
		case "test", "[":
			return a.Text == "-v" || subscript
		}
		return false
	})
}

// interpreters are programs that run code which they are given, by the options that give it;
// without a file they read it.
var interpreters = map[string][]string{
	"python": {"-c"}, "perl": {"-e", "-E", "-M", "-m"}, "ruby": {"-e", "-r"}, "node": {"-e", "--eval", "-p", "--print", "-r", "--require"}, "nodejs": {"-e", "--eval", "-p", "--print", "-r"},
	"php": {"-r", "-B", "-R", "-E"}, "lua": {"-e", "-l"}, "tclsh": nil, "osascript": {"-e"}, "pwsh": {"-c", "-Command", "-e"}, "expect": {"-c"}, "Rscript": {"-e"}, "jshell": nil, "scala": {"-e"},
	"zsh": {"-c"}, "fish": {"-c"}, "csh": {"-c"}, "tcsh": {"-c"}, "yash": {"-c"}, "elvish": {"-c"}, "nu": {"-c"}, "xonsh": {"-c"}, "hush": {"-c"},
}

// openers are programs that start others by a language of their own.
var openers = set("awk gawk mawk nawk gdb lldb parallel watch entr socat ssh at batch crontab screen tmux systemd-run pkexec dzdo sg newgrp capsh bwrap firejail start-stop-daemon" +
	" docker podman nerdctl crictl ctr kubectl oc setuidgid chpst envdir softlimit gosu su-exec s6-setuidgid unbuffer ltrace perf valgrind expect m4 ed ex vi vim nvim emacs" +
	" ld.so ld-linux.so.2 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 ld-musl-x86_64.so.1 ld-musl-aarch64.so.1 logrotate run-parts")

// opening are programs that start others by some of their options.
var opening = map[string][]string{
	"tar": {"--to-command", "--checkpoint-action", "-I", "--use-compress-program", "--rsh-command", "-F", "--info-script", "--new-volume-script", "--rmt-command"},
	"nc":  {"-e", "-c"}, "ncat": {"-e", "-c", "--exec", "--sh-exec", "--lua-exec"}, "rsync": {"-e", "--rsh", "--rsync-path"}, "scp": {"-S", "-o"}, "sftp": {"-S", "-o", "-D"},
	"git": {"-c", "--exec-path", "--upload-pack", "--receive-pack", "--config-env", "--ext-diff"}, "zip": {"-TT", "--unzip-command"}, "tcpdump": {"-z"}, "man": {"-P", "-H"},
	"apt": {"-o", "-c"}, "apt-get": {"-o", "-c"}, "dpkg": {"--pre-invoke", "--post-invoke"}, "sort": {"--compress-program"}, "split": {"--filter"}, "nmap": {"--script"}, "openssl": {"-engine", "-provider"},
	"psql": {"-f"}, "sqlite3": {"-cmd", "-init"}, "wget": {"--use-askpass"}, "mysql": {"--pager", "--tee"}, "cpio": {"--rsh-command"},
}

// simpleSed is a script of sed that neither runs nor writes anything.
var simpleSed = regexp.MustCompile(`^(([0-9]+|\$)(,([0-9]+|\$))?)?[pdq=]$|^s/([^/\\\n]|\\[^\n])*/([^/\\\n]|\\[^\n])*/[gpIi0-9]*$|^s\|([^|\\\n]|\\[^\n])*\|([^|\\\n]|\\[^\n])*\|[gpIi0-9]*$`)

// fixedStart is the source of a word that, not literal, begins as it says: no variable may
// split it, and what its pattern matches is no option.
var fixedStart = regexp.MustCompile("^[A-Za-z0-9/._][^$`]*$")

// opens reports whether an argument of a program may be one of some options, wherever it
// stands. Long options may be cut short and short ones stand together; tar takes its first
// argument for options without a hyphen.
func opens(options []string, name string, at int, text string) bool {
	if name == "tar" && at == 0 && !strings.HasPrefix(text, "-") {
		text = "-" + text
	}
	if !strings.HasPrefix(text, "-") {
		return false
	}
	long, _, _ := strings.Cut(text, "=")
	// The options of git itself stand alone, and letters behind its commands are theirs.
	together := name != "git" && !strings.HasPrefix(text, "--")
	return slices.ContainsFunc(options, func(o string) bool {
		return strings.HasPrefix(text, o) || strings.HasPrefix(text, "-"+o) || strings.HasPrefix("-"+text, o) ||
			len(long) > 2 && strings.HasPrefix(o, long) || together && !strings.HasPrefix(o, "--") && strings.Contains(text, o[1:])
	})
}

// opaque says why it is not known what a program does; empty where that is its own.
func opaque(name string, args []Word) string {
	if openers[name] {
		return name + " may start other programs"
	}
	if why := opened(name, args); why != "" {
		return why
	}
	if name == "sed" {
		return opaqueSed(args)
	}
	return opaqueInterpreter(name, args)
}

// opened says which of a program's arguments may start others.
func opened(name string, args []Word) string {
	options := opening[name]
	if options == nil {
		return ""
	}
	for i, a := range args {
		switch {
		case !a.Literal && !fixedStart.MatchString(a.Text):
			return "some options of " + name + " start other programs, and what it is given is not literal"
		case opens(options, name, i, a.Text):
			return "an option of " + name + " may start other programs"
		}
	}
	return ""
}

func opaqueInterpreter(name string, args []Word) string {
	code, ok := interpreters[strings.TrimRight(name, "0123456789.")]
	if !ok {
		return ""
	}
	for _, a := range args {
		if !a.Literal {
			return name + " is an interpreter, and what it is given is not literal"
		}
		if a.Text == "-" || !strings.HasPrefix(a.Text, "-") {
			if a.Text == "-" {
				break
			}
			return "" // a file
		}
		for _, o := range code {
			if strings.HasPrefix(a.Text, o) || len(o) == 2 && !strings.HasPrefix(a.Text, "--") && strings.Contains(a.Text, o[1:]) {
				return name + " is an interpreter that is given code"
			}
		}
		if a.Text == "--version" || a.Text == "-V" {
			return ""
		}
		if a.Text == "-m" {
			return ""
		}
	}
	return name + " is an interpreter that reads code"
}

func opaqueSed(args []Word) string {
	const why = "sed is given a script that may write files or start programs"
	seen := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case !a.Literal:
			return why
		case a.Text == "-n" || a.Text == "-E" || a.Text == "-r" || a.Text == "-i" || a.Text == "-s" || a.Text == "-u" || a.Text == "-z":
		case a.Text == "-e" && i+1 < len(args) && args[i+1].Literal && simpleSed.MatchString(args[i+1].Text):
			seen = true
			i++
		case strings.HasPrefix(a.Text, "-") && len(a.Text) > 1:
			return why
		case seen:
		case simpleSed.MatchString(a.Text):
			seen = true
		default:
			return why
		}
	}
	return ""
}
