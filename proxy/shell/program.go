package shell

import (
	"path"
	"slices"
	"strings"
)

// program scans a program with its arguments, and what it starts in turn.
func (s *scan) program(words []Word, files []File, depth int) {
	c := Command{Words: words, Files: files}
	switch {
	case depth > maxDepth:
		s.unknown("it is nested too deeply")
		return
	case !words[0].Literal:
		s.unknown("which program it starts is not literal")
		return
	case words[0].Text == "":
		s.unknown("it starts a program without a name")
		return
	}
	name := path.Base(words[0].Text)
	if name == "command" && len(words) > 1 && (words[1].Text == "-v" || words[1].Text == "-V") {
		s.add(c) // it only says what would be started
		return
	}
	if w, ok := wrappers[name]; ok {
		s.wrapped(c, w, depth)
		return
	}
	if starts := starter(name); starts != nil {
		starts(s, c, depth)
		return
	}
	if why := builtin(name, words[1:]); why != "" {
		s.unknown(why)
	}
	if name == "read" {
		s.reads(words[1:])
	}
	c.Opaque = opaque(name, words[1:])
	s.add(c)
}

// starter returns how a program or builtin is scanned that starts others in a way of its own;
// nil for others.
func starter(name string) func(s *scan, c Command, depth int) {
	switch name {
	case "find":
		return (*scan).find
	case "su", "runuser":
		return (*scan).su
	case "trap":
		return (*scan).trap
	case "eval":
		return (*scan).eval
	case "env":
		return (*scan).env
	}
	if shells[name] {
		return (*scan).subshell
	}
	return nil
}

// reads is about the variables that read sets.
func (s *scan) reads(args []Word) {
	for _, w := range args {
		if !w.Literal || !strings.HasPrefix(w.Text, "-") {
			s.assigns(w.Text)
		}
	}
}

// shells are those whose language is known.
var shells = set("sh dash ash bash rbash ksh mksh ksh93")

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// subshell is about a shell: with -c its text is a script, without operands it reads one
// that is not known, and with a file it is a program like others.
func (s *scan) subshell(c Command, depth int) {
	text, args := false, c.Words[1:]
	for len(args) > 0 {
		a := args[0]
		if !a.Literal {
			s.add(c)
			s.unknown("the options of a shell are not literal")
			return
		}
		if a.Text == "--" || a.Text == "-" {
			args = args[1:]
			break
		}
		if len(a.Text) < 2 || a.Text[0] != '-' && a.Text[0] != '+' {
			break
		}
		if strings.HasPrefix(a.Text, "--") && slices.Contains([]string{"--login", "--norc", "--noprofile", "--posix"}, a.Text) {
			args = args[1:]
			continue
		}
		if strings.Trim(a.Text[1:], "ceuxl") != "" {
			s.add(c)
			s.unknown("an option of a shell is not understood")
			return
		}
		text = text || a.Text[0] == '-' && strings.Contains(a.Text, "c")
		args = args[1:]
	}
	switch {
	case len(args) == 0:
		s.add(c)
		s.unknown("a shell reads commands that are not known yet")
	case !text:
		s.add(c)
	case !args[0].Literal:
		s.add(c)
		s.unknown("the text that a shell reads is not literal")
	default:
		c.Transparent = true
		s.add(c)
		s.script(args[0].Text, depth+1)
	}
}

func (s *scan) eval(c Command, depth int) {
	c.Transparent = true
	s.add(c)
	var texts []string
	for _, w := range c.Words[1:] {
		if !w.Literal {
			s.unknown("eval reads a text that is not literal")
			return
		}
		texts = append(texts, w.Text)
	}
	s.script(strings.Join(texts, " "), depth+1)
}

func (s *scan) trap(c Command, depth int) {
	s.add(c)
	words := c.Words[1:]
	switch {
	case len(words) > 0 && !words[0].Literal:
		s.unknown("trap reads a text that is not literal")
	case len(words) > 1 && words[0].Text != "-":
		s.script(words[0].Text, depth+1)
	}
}

// find starts what follows -exec and its kin, up to a semicolon or a plus.
func (s *scan) find(c Command, depth int) {
	if slices.ContainsFunc(c.Words, func(w Word) bool { return !w.Literal }) {
		c.Opaque = "find starts other programs, and what it is given is not literal"
	}
	s.add(c)
	args := c.Words[1:]
	for i := 0; i < len(args); i++ {
		if !args[i].Literal {
			continue
		}
		switch args[i].Text {
		case "-exec", "-execdir", "-ok", "-okdir":
		default:
			continue
		}
		end := slices.IndexFunc(args[i+1:], func(w Word) bool { return w.Literal && (w.Text == ";" || w.Text == "+") })
		if end < 1 {
			s.unknown("what find starts does not end")
			return
		}
		s.program(unfilled(args[i+1:i+1+end]), nil, depth+1)
		i += 1 + end
	}
}

// unfilled are words of which those that have {} are filled in later.
func unfilled(words []Word) []Word {
	out := slices.Clone(words)
	for i, w := range out {
		if strings.Contains(w.Text, "{}") {
			out[i].Literal = false
		}
	}
	return out
}

// env starts a program in another environment.
func (s *scan) env(c Command, depth int) {
	args := c.Words[1:]
	for len(args) > 0 && args[0].Literal {
		a := args[0].Text
		switch name, _, assigns := strings.Cut(a, "="); {
		case a == "-i" || a == "-" || a == "--ignore-environment" || a == "-0" || a == "--":
		case strings.HasPrefix(a, "-"):
			s.add(c)
			s.unknown("an option of env is not understood")
			return
		case assigns:
			s.assigns(name)
		default:
			c.Transparent = true
			s.add(c)
			s.program(args, nil, depth+1)
			return
		}
		args = args[1:]
	}
	s.add(c)
	if len(args) > 0 {
		s.unknown("which program env starts is not literal")
	}
}

// su takes its options behind its operands too.
func (s *scan) su(c Command, depth int) {
	s.add(c)
	name, args, users := path.Base(c.Words[0].Text), c.Words[1:], 0
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case !a.Literal:
			s.unknown("an argument of " + name + " is not literal")
			return
		case name == "runuser" && a.Text == "-u" && len(args) > 1:
			s.program(args[1:], nil, depth+1)
			return
		case a.Text == "-" || a.Text == "-l" || a.Text == "--login":
		case a.Text == "-c" && len(args) > 0 && args[0].Literal:
			s.script(args[0].Text, depth+1)
			return
		case strings.HasPrefix(a.Text, "-") || users > 0:
			s.unknown("an argument of " + name + " is not understood")
			return
		default:
			users++
		}
	}
	s.unknown("the shell that " + name + " starts reads commands that are not known yet")
}

// wrapper is a program that starts another one, which follows its options and operands.
type wrapper struct {
	transparent bool
	flags       string   // options without a value, by their letters
	valued      string   // options with one
	long        []string // long options without a value, or with one behind "="
	operands    int      // before the program
	assigns     bool     // operands that assign variables may come before the program
	optional    bool     // it has a use without a program
	appends     bool     // arguments that are not known are added to the program's
	text        byte     // the option whose value is a text for a shell; 0 for none
}

// wrappers are the usual ones. Another option than these is not understood.
var wrappers = map[string]wrapper{
	"nice":      {transparent: true, valued: "n", long: []string{"adjustment"}, optional: true},
	"nohup":     {transparent: true},
	"time":      {transparent: true, flags: "pv", long: []string{"portability", "verbose"}, optional: true},
	"timeout":   {transparent: true, flags: "fpv", valued: "ks", long: []string{"foreground", "preserve-status", "verbose", "kill-after", "signal"}, operands: 1},
	"stdbuf":    {transparent: true, valued: "ioe", long: []string{"input", "output", "error"}},
	"setsid":    {transparent: true, flags: "cfw", long: []string{"ctty", "fork", "wait"}},
	"ionice":    {transparent: true, flags: "t", valued: "cn", long: []string{"ignore", "class", "classdata"}, optional: true},
	"exec":      {transparent: true, flags: "cl", valued: "a", optional: true},
	"busybox":   {transparent: true, optional: true},
	"toybox":    {transparent: true, optional: true},
	"sudo":      {flags: "AbEHknPS", valued: "CgpRrtTUu", long: []string{"askpass", "background", "close-from", "preserve-env", "group", "set-home", "host", "reset-timestamp", "non-interactive", "preserve-groups", "prompt", "stdin", "user"}, assigns: true, optional: true},
	"doas":      {flags: "Ln", valued: "u"},
	"chroot":    {long: []string{"groups", "userspec", "skip-chdir"}, operands: 1, optional: true},
	"nsenter":   {flags: "amuinpUCT", valued: "tGS", long: []string{"all", "target", "mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time"}, optional: true},
	"unshare":   {flags: "muinpUCTrfc", long: []string{"mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time", "fork", "map-root-user", "map-current-user"}, optional: true},
	"xargs":     {flags: "0rtxp", valued: "adEILnPs", long: []string{"null", "no-run-if-empty", "verbose", "exit", "interactive", "arg-file", "delimiter", "max-args", "max-procs", "max-lines", "max-chars"}, appends: true, optional: true},
	"flock":     {flags: "sexnuoF", valued: "wE", long: []string{"shared", "exclusive", "nonblock", "unlock", "close", "no-fork", "wait", "timeout", "conflict-exit-code"}, operands: 1, optional: true, text: 'c'},
	"script":    {flags: "aefq", valued: "EmOTIB", long: []string{"append", "return", "flush", "quiet"}, operands: 1, optional: true, text: 'c'},
	"command":   {transparent: true, flags: "p", optional: true},
	"builtin":   {transparent: true, optional: true},
	"setpriv":   {long: []string{"reuid", "regid", "clear-groups", "keep-groups", "init-groups", "groups", "no-new-privs", "inh-caps", "ambient-caps", "bounding-set"}, optional: true},
	"taskset":   {transparent: true, flags: "ac", long: []string{"all-tasks", "cpu-list"}, operands: 1, optional: true},
	"chrt":      {transparent: true, flags: "abfior", operands: 1, optional: true},
	"prlimit":   {transparent: true, optional: true},
	"strace":    {flags: "cCdfiqrtTvVxyz", valued: "aeEIobOPpsSuX", optional: true},
	"tini":      {transparent: true, flags: "gsvw", valued: "ep"},
	"dumb-init": {transparent: true, flags: "cv", valued: "r"},
}

// wrapped scans what a wrapper starts.
func (s *scan) wrapped(c Command, w wrapper, depth int) {
	name := path.Base(c.Words[0].Text)
	args, text, why := w.options(c.Words[1:])
	if why != "" {
		s.add(c)
		s.unknown(why + " of " + name + " is not understood")
		return
	}
	args = args[min(w.operands, len(args)):]
	for w.assigns && len(args) > 0 && args[0].Literal && strings.Contains(args[0].Text, "=") {
		variable, _, _ := strings.Cut(args[0].Text, "=")
		s.assigns(variable)
		args = args[1:]
	}
	var files []File
	if c.Transparent = w.transparent && len(args) > 0; c.Transparent {
		files, c.Files = c.Files, nil
	}
	s.add(c)
	switch {
	case text != nil && !text.Literal:
		s.unknown("the text that " + name + " gives to a shell is not literal")
	case text != nil:
		s.script(text.Text, depth+1)
	case name == "script":
		s.unknown("the shell that " + name + " starts reads commands that are not known yet")
	case len(args) > 0 && w.appends:
		s.program(append(unfilled(args), Word{Text: "…"}), nil, depth+1)
	case len(args) > 0:
		s.program(args, files, depth+1)
	case !w.optional:
		s.unknown(name + " starts nothing")
	case !w.transparent && w.text == 0 && !w.appends:
		s.unknown("the shell that " + name + " may start reads commands that are not known yet")
	}
}

// options skips a wrapper's options. text is the value of the option that has a text for a
// shell. why is what is not understood.
func (w wrapper) options(args []Word) (left []Word, text *Word, why string) {
	for len(args) > 0 {
		a := args[0]
		if !a.Literal {
			return nil, nil, "a word before the program"
		}
		switch {
		case a.Text == "--":
			return args[1:], text, ""
		case len(a.Text) < 2 || a.Text[0] != '-':
			return args, text, ""
		case strings.HasPrefix(a.Text, "--"):
			name, _, _ := strings.Cut(a.Text[2:], "=")
			if !slices.Contains(w.long, name) || !strings.Contains(a.Text, "=") && longValued[name] {
				return nil, nil, "an option"
			}
			args = args[1:]
			continue
		}
		var value *Word
		if value, args, why = w.letters(a.Text[1:], args[1:]); why != "" {
			return nil, nil, why
		}
		if value != nil {
			text = value
		}
	}
	return nil, text, ""
}

// letters skips options of one letter each. text is the value of the one that has a text for a
// shell.
func (w wrapper) letters(letters string, args []Word) (text *Word, left []Word, why string) {
	for i := range len(letters) {
		o := letters[i]
		if strings.IndexByte(w.flags, o) >= 0 {
			continue
		}
		isText := w.text != 0 && o == w.text
		if !isText && strings.IndexByte(w.valued, o) < 0 {
			return nil, nil, "an option"
		}
		value := Word{Text: letters[i+1:], Literal: true}
		if value.Text == "" {
			if len(args) == 0 {
				return nil, nil, "an option"
			}
			value, args = args[0], args[1:]
		}
		switch {
		case !value.Literal:
			return nil, nil, "a word before the program"
		case o == 'I' && w.appends && value.Text != "{}":
			return nil, nil, "a word that is replaced"
		case isText:
			return &value, args, ""
		}
		return nil, args, ""
	}
	return nil, args, ""
}

// longValued are long options that need a value: written apart from it they are not
// understood.
var longValued = set("adjustment kill-after signal input output error class classdata close-from group host prompt user userspec groups target arg-file delimiter" +
	" max-args max-procs max-chars supp-group wait timeout conflict-exit-code reuid regid inh-caps ambient-caps bounding-set")
