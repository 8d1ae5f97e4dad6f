// Package shell says which programs a command would start, before it starts them. A command
// comes as an argument vector, as Kubernetes takes it, or as a line that a shell of the
// target will read, as SSH does.
//
// A shell is a programming language, so that what a command does cannot be established in
// general. This package establishes it for commands that are literal: every program that is
// started is named in the text, and every construct means the same to every shell that may
// read it. All else is unknown, and says why. What a program then does with its arguments is
// its own: that a program is an interpreter which was given code is said where it is known
// (Command.Opaque), and no list of such programs is complete. So the boundary is a list of
// what may run; a list of what may not is a guard rail.
//
// The package is pure, and reads no files.
package shell

import "mvdan.cc/sh/v3/syntax"

// Bounds of what is understood.
const (
	maxText     = 64 << 10
	maxCommands = 256
	maxDepth    = 16
)

// Facts are what is known of one command. The zero Facts are those of a command that is not
// understood. They are never changed once they are made.
type Facts struct {
	// Known says that Commands are all programs that the command can start, besides those that
	// these start themselves. Unknown says why not; Commands are then those that were found.
	Known   bool
	Unknown string
	// Stateful says that the command may change the shell that reads it: its folder, variables,
	// options, or its end.
	Stateful bool
	// Commands are in the order in which the text names them, what starts another one before
	// it. Builtins of the shell are commands too.
	Commands []Command
}

// Command is one program, or builtin, with its arguments.
type Command struct {
	// Words are the program, which is literal, and its arguments.
	Words []Word
	// Transparent says that it only starts the commands behind it, as the same user on the same
	// machine, as they would have been started: nice, env, sh -c. A command of that kind does
	// nothing else; ":" stands for one without a program, as x=5.
	Transparent bool
	// Opaque says why it is not known what the program does; empty where that is its own.
	Opaque string
	// Files are what the shell opens for it, /dev/null excepted.
	Files []File
}

// Word is one argument, or, where it is not literal, any number of them.
type Word struct {
	// Text is the argument itself, or else what stands in the source for it.
	Text    string
	Literal bool
}

// File is a file that a redirection opens.
type File struct {
	Path  Word
	Write bool
}

// Reader is who reads a line.
type Reader uint8

const (
	// POSIX is sh, dash, ash, bash, ksh or mksh.
	POSIX Reader = iota
	// Login is the login shell of an account, whichever that is: a POSIX one, zsh, fish or csh.
	Login
)

// Argv returns what is known of a program that is started with arguments, and no shell.
func Argv(argv []string) *Facts {
	s := &scan{}
	words := make([]Word, 0, len(argv))
	size := 0
	for _, a := range argv {
		words = append(words, Word{Text: a, Literal: true})
		size += len(a)
	}
	switch {
	case len(argv) == 0:
		s.unknown("there is no command")
	case size > maxText:
		s.unknown("it is too long")
	default:
		s.program(words, nil, 0)
	}
	return s.facts()
}

// Line returns what is known of a text that a shell reads.
func Line(text string, by Reader) *Facts {
	s := &scan{login: by == Login}
	s.script(text, 0)
	return s.facts()
}

// scan collects what is found in one command.
type scan struct {
	login    bool
	variant  syntax.LangVariant // in which texts are parsed now; 0 where nothing is
	commands []Command
	stateful bool
	why      string
}

// unknown notes the first reason for which not everything is known.
func (s *scan) unknown(why string) {
	if s.why == "" {
		s.why = why
	}
}

func (s *scan) facts() *Facts {
	return &Facts{Known: s.why == "", Unknown: s.why, Stateful: s.stateful || s.why != "", Commands: s.commands}
}

func (s *scan) add(c Command) {
	if len(s.commands) == maxCommands {
		s.unknown("it has too many commands")
		return
	}
	s.commands = append(s.commands, c)
	s.stateful = s.stateful || stateful[c.Words[0].Text]
}

// stateful are builtins that change the shell.
var stateful = set("cd export readonly set umask ulimit read exit return trap wait shift exec eval command . source")
