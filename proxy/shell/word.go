package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

func (s *scan) words(ws []*syntax.Word, depth int) []Word {
	out := make([]Word, 0, len(ws))
	for _, w := range ws {
		out = append(out, s.word(w, depth))
	}
	return out
}

// word returns an argument, and scans the commands within it.
func (s *scan) word(w *syntax.Word, depth int) Word {
	var text strings.Builder
	if !s.parts(&text, w.Parts, depth, false) && !plain(w.Lit(), s.login) {
		return Word{Text: source(w)}
	}
	return Word{Text: text.String(), Literal: true}
}

// plain reports whether a word is itself, although it has a character that expands in others:
// the program [ with its end, and what find and xargs take.
func plain(w string, login bool) bool {
	return w == "[" || w == "]" || (w == "{}" || w == "-I{}") && !login
}

// source is a word as it stands in the text.
func source(w *syntax.Word) string {
	var b strings.Builder
	if err := syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, w); err != nil {
		return "?"
	}
	return b.String()
}

// parts collects the value of parts, and reports whether it is literal.
func (s *scan) parts(text *strings.Builder, parts []syntax.WordPart, depth int, quoted bool) bool {
	literal := true
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			literal = s.literal(text, p.Value, quoted) && literal
		case *syntax.SglQuoted:
			if p.Dollar {
				s.unknown("shells differ in what a quote behind a dollar sign means")
			}
			if s.login && strings.Contains(p.Value, `\`) {
				s.unknown("login shells differ in what a backslash between single quotes means")
			}
			text.WriteString(p.Value)
		case *syntax.DblQuoted:
			literal = s.parts(text, p.Parts, depth, true) && literal
		case *syntax.CmdSubst:
			literal = false
			if p.TempFile || p.ReplyVar {
				s.unknown("shells differ in what its substitution means")
			}
			s.statements(p.Stmts, depth+1)
		case *syntax.ParamExp:
			literal = false
			s.parameter(p, depth)
		default:
			// Arithmetic may run commands that a variable holds.
			literal = false
			s.unknown(construct(p) + " is not understood")
		}
	}
	return literal
}

// expanding are characters by which a word may become others.
const expanding = "*?[]{}~"

// literal adds the value of a literal part, in which backslashes quote. Between double
// quotes they quote a few characters alone.
func (s *scan) literal(text *strings.Builder, v string, quoted bool) bool {
	literal := true
	if s.login && !quoted && text.Len() == 0 && strings.HasPrefix(v, "=") {
		s.unknown("login shells differ in what a word that begins with = means")
	}
	for i := 0; i < len(v); i++ {
		if v[i] != '\\' || i+1 == len(v) {
			literal = literal && (quoted || strings.IndexByte(expanding, v[i]) < 0)
			text.WriteByte(v[i])
			continue
		}
		next := v[i+1]
		quotes := !quoted || strings.IndexByte("$`\"\\", next) >= 0
		if s.login && (quoted && !quotes || !quoted && strings.IndexByte(" \t'\"\\$`|&;<>()*?[]{}~#=", next) < 0) {
			s.unknown("login shells differ in what a backslash means there")
		}
		switch {
		case next == '\n':
		case quotes:
			text.WriteByte(next)
		default:
			text.WriteString(v[i : i+2])
		}
		i++
	}
	return literal
}

// parameter is about $name and ${name…}.
func (s *scan) parameter(p *syntax.ParamExp, depth int) {
	if p.Excl || p.Width || p.IsSet || p.Index != nil || p.Slice != nil || p.Repl != nil || p.Names != 0 || p.NestedParam != nil || p.Flags != nil || len(p.Modifiers) > 0 || p.Param == nil {
		s.unknown("shells differ in what its expansion means")
		return
	}
	if p.Exp == nil {
		return
	}
	switch p.Exp.Op {
	case syntax.AlternateUnset, syntax.AlternateUnsetOrNull, syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.ErrorUnset, syntax.ErrorUnsetOrNull,
		syntax.RemSmallSuffix, syntax.RemLargeSuffix, syntax.RemSmallPrefix, syntax.RemLargePrefix:
	case syntax.AssignUnset, syntax.AssignUnsetOrNull:
		s.assigns(p.Param.Value)
	default:
		s.unknown("shells differ in what its expansion means")
	}
	if p.Exp.Word != nil {
		s.word(p.Exp.Word, depth+1)
	}
}
