package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/shell"
)

// maxPatternLength bounds a pattern of a command, in bytes.
const maxPatternLength = 253

// shellMatch is one compiled item about what a command starts. One list is set, or unknown.
type shellMatch struct {
	commands []commandPattern
	except   []commandPattern
	unknown  bool
}

func compileShellMatch(m *v1alpha1.ShellMatch, strict bool) (*shellMatch, error) {
	set := 0
	for _, is := range []bool{len(m.Commands) > 0, len(m.Except) > 0, m.Unknown != ""} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return nil, errors.New("shell: exactly one of commands, except and unknown must be set")
	case m.Unknown != "" && m.Unknown != v1alpha1.ShellUnknownAny:
		return nil, fmt.Errorf("shell.unknown: %q is not Any", Printable(string(m.Unknown), maxShownName))
	case strict && len(m.Except) > 0:
		return nil, errors.New("shell.except: not with action Allow: list what is allowed in a rule that denies the rest")
	}
	c := &shellMatch{unknown: m.Unknown == v1alpha1.ShellUnknownAny}
	var err error
	if c.commands, err = compilePatterns("shell.commands", m.Commands); err != nil {
		return nil, err
	}
	c.except, err = compilePatterns("shell.except", m.Except)
	return c, err
}

// matches reports whether the item governs what is started: in doubt it does.
func (m *shellMatch) matches(f *shell.Facts) bool {
	switch {
	case m.unknown:
		return misunderstood(f) != ""
	case len(m.except) > 0:
		return !f.Known || len(f.Commands) == 0 || slices.ContainsFunc(f.Commands, func(c shell.Command) bool { return !covered(m.except, c) })
	}
	return slices.ContainsFunc(f.Commands, func(c shell.Command) bool {
		return slices.ContainsFunc(m.commands, func(p commandPattern) bool { return p.mayMatch(c.Words) })
	})
}

// admits reports whether the item admits what would be refused: all that is not understood is
// among what it names.
func (m *shellMatch) admits(f *shell.Facts) bool {
	if m.unknown {
		return true
	}
	return f.Known && len(m.commands) > 0 && len(f.Commands) > 0 && !slices.ContainsFunc(f.Commands, func(c shell.Command) bool { return c.Opaque != "" && !covered(m.commands, c) })
}

// covered reports whether a command certainly is one of a list. What only starts others needs
// no place in it; what opens a file by redirection is not in it.
func covered(list []commandPattern, c shell.Command) bool {
	return len(c.Files) == 0 && (c.Transparent || slices.ContainsFunc(list, func(p commandPattern) bool { return p.matches(c.Words) }))
}

// misunderstood says what of a command is not understood; empty if all of it is.
func misunderstood(f *shell.Facts) string {
	switch {
	case !f.Known && f.Unknown == "":
		return "what it starts is not known"
	case !f.Known:
		return f.Unknown
	case len(f.Commands) == 0:
		return "it starts nothing"
	}
	for _, c := range f.Commands {
		if c.Opaque != "" {
			return c.Opaque
		}
	}
	return ""
}

// commandPattern is a program and its arguments.
type commandPattern []wordPattern

// wordPattern is one word of a pattern, or, with rest, any number of words.
type wordPattern struct {
	glob
	text string
	rest bool
}

func compilePatterns(field string, patterns []string) ([]commandPattern, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%s: has more than %d items", field, maxPatterns)
	}
	var out []commandPattern
	for i, p := range patterns {
		words, err := patternWords(p)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		c := make(commandPattern, 0, len(words)+1)
		for _, w := range words {
			c = append(c, wordPattern{glob: newGlob(w, false), text: w, rest: w == "**"})
		}
		if c[0].rest {
			return nil, fmt.Errorf("%s[%d]: begins with \"**\": name a program, or \"*\" for every one", field, i)
		}
		if len(c) == 1 {
			c = append(c, wordPattern{rest: true})
		}
		out = append(out, c)
	}
	return out, nil
}

// patternWords splits a pattern at its spaces; quotes keep those within.
func patternWords(p string) ([]string, error) {
	if len(p) > maxPatternLength {
		return nil, fmt.Errorf("is longer than %d bytes", maxPatternLength)
	}
	var words []string
	var word strings.Builder
	within, quote := false, rune(0)
	for _, r := range p {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, within = r, true
		case r == ' ':
			if within {
				words = append(words, word.String())
			}
			word.Reset()
			within = false
		default:
			word.WriteRune(r)
			within = true
		}
	}
	if within {
		words = append(words, word.String())
	}
	switch {
	case quote != 0:
		return nil, errors.New("has a quote that does not end")
	case len(words) == 0 || words[0] == "":
		return nil, errors.New("names no program")
	}
	return words, nil
}

// matches reports whether words certainly are what the pattern says.
func (p commandPattern) matches(words []shell.Word) bool {
	return p.walk(words, func(w wordPattern, i int) bool { return words[i].Literal && w.certain(words[i].Text) }, false)
}

// mayMatch reports whether words may be what the pattern says.
func (p commandPattern) mayMatch(words []shell.Word) bool {
	return p.walk(words, func(w wordPattern, i int) bool {
		text := words[i].Text
		return !words[i].Literal || w.match(text) || i == 0 && !strings.Contains(w.text, "/") && w.match(path.Base(text))
	}, true)
}

// certain is match for a rule that admits: a star is neither for an option nor for a path that
// leads elsewhere.
func (w wordPattern) certain(text string) bool {
	if !strings.Contains(w.text, "*") {
		return w.text == text
	}
	if strings.HasPrefix(text, "-") && !strings.HasPrefix(w.text, "-") || slices.Contains(strings.Split(text, "/"), "..") {
		return false
	}
	return w.match(text)
}

// walk holds a pattern against words. With expand a word that is not literal stands for any
// number of words.
func (p commandPattern) walk(words []shell.Word, one func(w wordPattern, i int) bool, expand bool) bool {
	// now[j] says that the pattern up to here matches the first j words.
	now := make([]bool, len(words)+1)
	now[0] = true
	for at, w := range p {
		next := make([]bool, len(words)+1)
		for j := range next {
			switch {
			case w.rest:
				next[j] = now[j] || j > 0 && next[j-1]
			case j == 0:
			default:
				next[j] = now[j-1] && one(w, j-1)
			}
			if expand && j > 0 && !words[j-1].Literal {
				// It may be nothing, or a word more.
				next[j] = next[j] || next[j-1] || at > 0 && now[j]
			}
		}
		now = next
	}
	return now[len(words)]
}
