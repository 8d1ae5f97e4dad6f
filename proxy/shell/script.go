package shell

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// variants are the languages in which a text has to mean the same. sh is any of them,
// depending on the machine.
var variants = []syntax.LangVariant{syntax.LangPOSIX, syntax.LangBash, syntax.LangMirBSDKorn}

// script scans a text that a shell reads.
func (s *scan) script(text string, depth int) {
	if why := s.unportable(text, depth); why != "" {
		s.unknown(why)
		return
	}
	if s.variant != 0 {
		login := s.login
		s.login = false // what reads this text is named
		s.parse(text, depth)
		s.login = login
		return
	}
	var first *scan
	for _, v := range variants {
		as := &scan{login: s.login && depth == 0, variant: v, commands: s.commands[:len(s.commands):len(s.commands)], why: s.why}
		as.parse(text, depth)
		switch {
		case first == nil:
			first = as
		case !reflect.DeepEqual(first.commands, as.commands) || first.why != as.why:
			first.unknown("shells differ in what it means")
		}
	}
	s.commands, s.why, s.stateful = first.commands, first.why, s.stateful || first.stateful
}

// Incomplete reports whether a text is the beginning of a command that goes on in the next
// line.
func Incomplete(text string) bool {
	_, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text+"\n"), "") // which a here-document needs
	return err != nil && syntax.IsIncomplete(err)
}

// parse scans a text, and the texts within it, in one variant.
func (s *scan) parse(text string, depth int) {
	f, err := syntax.NewParser(syntax.Variant(s.variant)).Parse(strings.NewReader(text), "")
	if err != nil {
		s.unknown("it cannot be parsed as a command of a POSIX shell")
		return
	}
	s.statements(f.Stmts, depth)
}

// unportable says why a text is not given to the parser.
func (s *scan) unportable(text string, depth int) string {
	switch {
	case depth > maxDepth:
		return "it is nested too deeply"
	case len(text) > maxText:
		return "it is too long"
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0x85 || r == 0xa0 }):
		return "it has characters that shells read in different ways"
	case strings.Contains(text, "$'") || strings.Contains(text, `$"`):
		return "shells differ in what a quote behind a dollar sign means"
	case strings.Contains(text, "\\\n") && strings.Contains(text, "#"):
		return "a backslash at the end of a comment, or what looks like one, does not continue the line"
	case s.login && depth == 0 && strings.ContainsAny(text, "!^"):
		return "it has characters that some login shells replace by earlier commands"
	}
	return ""
}

func (s *scan) statements(stmts []*syntax.Stmt, depth int) {
	for _, st := range stmts {
		s.statement(st, depth)
	}
}

func (s *scan) statement(st *syntax.Stmt, depth int) {
	if depth > maxDepth {
		s.unknown("it is nested too deeply")
		return
	}
	if st.Coprocess || st.Disown {
		s.unknown("it starts a coprocess")
	}
	files := s.files(st.Redirs, depth)
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		s.call(c, files, depth)
		return
	case nil:
		s.nothing(files)
		return
	case *syntax.BinaryCmd:
		if c.Op == syntax.PipeAll {
			s.unknown("shells differ in what |& means")
		}
		s.statement(c.X, depth+1)
		s.statement(c.Y, depth+1)
	case *syntax.Subshell:
		s.statements(c.Stmts, depth+1)
	case *syntax.Block:
		s.statements(c.Stmts, depth+1)
	case *syntax.IfClause:
		for i := c; i != nil; i = i.Else {
			s.statements(i.Cond, depth+1)
			s.statements(i.Then, depth+1)
		}
	case *syntax.WhileClause:
		s.statements(c.Cond, depth+1)
		s.statements(c.Do, depth+1)
	case *syntax.ForClause:
		s.loop(c, depth)
	case *syntax.CaseClause:
		s.choice(c, depth)
	case *syntax.TimeClause:
		s.timed(c, files, depth)
		return
	case *syntax.DeclClause:
		s.declare(c, files, depth)
		return
	case *syntax.FuncDecl:
		s.unknown("it defines a function")
	default:
		s.unknown(fmt.Sprintf("%s is not understood", construct(c)))
	}
	if len(files) > 0 {
		s.nothing(files)
	}
}

func construct(n syntax.Node) string {
	name := reflect.TypeOf(n).Elem().Name()
	return "the construct " + strings.TrimSuffix(strings.TrimSuffix(name, "Clause"), "Cmd")
}

func (s *scan) loop(c *syntax.ForClause, depth int) {
	iter, ok := c.Loop.(*syntax.WordIter)
	if !ok || c.Select || c.Braces {
		s.unknown("shells differ in what its loop means")
		return
	}
	s.assigns(iter.Name.Value)
	s.words(iter.Items, depth)
	s.statements(c.Do, depth+1)
}

func (s *scan) choice(c *syntax.CaseClause, depth int) {
	s.word(c.Word, depth)
	for _, item := range c.Items {
		s.words(item.Patterns, depth)
		s.statements(item.Stmts, depth+1)
		if item.Op != syntax.Break {
			s.unknown("shells differ in what its case means")
		}
	}
}

// timed is about bash's word before a pipeline. To other shells it is a program, and both are
// seen alike, where there is one command behind it.
func (s *scan) timed(c *syntax.TimeClause, files []File, depth int) {
	if c.PosixFormat || c.Stmt == nil {
		s.unknown("shells differ in what time means")
		return
	}
	call, ok := c.Stmt.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Assigns) > 0 || len(call.Args) == 0 || len(files) > 0 || c.Stmt.Negated {
		s.unknown("shells differ in what time means")
		return
	}
	files = s.files(c.Stmt.Redirs, depth)
	s.program(append([]Word{{Text: "time", Literal: true}}, s.words(call.Args, depth)...), files, depth)
}

// declare is about export and readonly, which are a command like others to some variants.
func (s *scan) declare(c *syntax.DeclClause, files []File, depth int) {
	if !declares[c.Variant.Value] {
		s.unknown("shells differ in what " + c.Variant.Value + " means")
		return
	}
	for _, a := range c.Args {
		if a.Name == nil {
			s.unknown("it declares what is not literal")
			continue
		}
		if a.Naked {
			s.assigns(a.Name.Value)
		}
		s.assignment(a, depth)
	}
	s.add(Command{Words: []Word{{Text: c.Variant.Value, Literal: true}}, Files: files})
}

var declares = set("export readonly")

// declared is the same of a command.
func (s *scan) declared(words []Word, files []File) {
	for _, w := range words[1:] {
		name, _, _ := strings.Cut(w.Text, "=")
		if !syntax.ValidName(name) {
			s.unknown("it declares what is not literal")
			continue
		}
		s.assigns(name)
	}
	s.add(Command{Words: words[:1], Files: files})
}

// files returns what redirections open.
func (s *scan) files(redirects []*syntax.Redirect, depth int) []File {
	var files []File
	for _, r := range redirects {
		if r.N != nil && len(r.N.Value) > 1 { // a variable, or a descriptor that POSIX does not have
			s.unknown("shells differ in what its redirection means")
		}
		switch r.Op {
		case syntax.RdrIn, syntax.RdrOut, syntax.AppOut, syntax.RdrInOut, syntax.RdrClob:
			w := s.word(r.Word, depth)
			if w.Literal && w.Text == "/dev/null" {
				continue
			}
			files = append(files, File{Path: w, Write: r.Op != syntax.RdrIn})
		case syntax.DplIn, syntax.DplOut:
			w := s.word(r.Word, depth)
			if !w.Literal || len(w.Text) != 1 || strings.Trim(w.Text, "-0123456789") != "" {
				s.unknown("shells differ in what its redirection means")
			}
		case syntax.Hdoc, syntax.DashHdoc:
			if r.Hdoc != nil {
				s.word(r.Hdoc, depth)
			}
		default:
			s.unknown("shells differ in what its redirection means")
		}
	}
	return files
}

// nothing is a command without a program: assignments, or redirections alone.
func (s *scan) nothing(files []File) {
	s.add(Command{Words: []Word{{Text: ":", Literal: true}}, Transparent: true, Files: files})
}

// call is about a simple command.
func (s *scan) call(c *syntax.CallExpr, files []File, depth int) {
	for _, a := range c.Assigns {
		s.assignment(a, depth)
	}
	words := s.words(c.Args, depth)
	if len(words) == 0 {
		s.nothing(files)
		return
	}
	if s.login && foreign[words[0].Text] {
		s.unknown("login shells differ in what " + words[0].Text + " means")
	}
	if declares[words[0].Text] {
		s.declared(words, files)
		return
	}
	s.program(words, files, depth)
}

// foreign are words that zsh, fish or csh take for their own, and POSIX for programs.
var foreign = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields("- @ and begin builtin chdir coproc else end endif endsw exec foreach function glob goto if limit login logout nocorrect" +
		" noglob nohup not onintr or repeat select set setenv setty source string switch then time unlimit unset unsetenv until where which while") {
		m[w] = true
	}
	return m
}()

func (s *scan) assignment(a *syntax.Assign, depth int) {
	if a.Index != nil || a.Array != nil || a.Append {
		s.unknown("shells differ in what its assignment means")
		return
	}
	if a.Naked {
		return
	}
	s.assigns(a.Name.Value)
	if a.Value != nil {
		s.word(a.Value, depth)
	}
}

// assigns notes that a variable is set.
func (s *scan) assigns(name string) {
	s.stateful = true
	if !harmless(name) {
		s.unknown("it sets the variable " + name + ", which may change what a program does")
	}
}

// special are variables in lower case that programs or shells read.
var special = map[string]bool{"path": true, "fpath": true, "cdpath": true, "manpath": true, "mailpath": true, "module_path": true, "home": true, "shell": true, "argv": true,
	"status": true, "prompt": true, "term": true, "user": true, "cwd": true, "histchars": true, "precmd": true, "perlopt": true}

// harmless reports whether a variable changes at most words of the same text, or in which
// language a program speaks. Programs read those in upper case.
func harmless(name string) bool {
	switch name {
	case "LANG", "LANGUAGE", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR", "DEBIAN_FRONTEND":
		return true
	}
	return name != "" && !special[name] && !strings.Contains(name, "proxy") &&
		!strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' })
}
