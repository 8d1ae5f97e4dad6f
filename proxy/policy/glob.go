package policy

import (
	"unicode"
	"unicode/utf8"
)

// glob matches names; "*" stands for any run of characters, the empty one too, and every
// other character for itself. Matching takes time linear in the product of both lengths
// and allocates nothing. The zero glob matches the empty name alone.
type glob struct {
	pattern []rune
	fold    bool // letter case is ignored
}

func newGlob(pattern string, fold bool) glob {
	g := glob{pattern: []rune(pattern), fold: fold}
	for i, r := range g.pattern {
		if fold {
			g.pattern[i] = foldRune(r)
		}
	}
	return g
}

// any reports whether g matches every name.
func (g glob) any() bool {
	for _, r := range g.pattern {
		if r != '*' {
			return false
		}
	}
	return len(g.pattern) > 0
}

// match reports whether g matches name. After a mismatch it goes back to the last "*"
// alone, which is enough, since an earlier one could match no more than that.
func (g glob) match(name string) bool {
	p := 0
	star, resume := -1, 0
	for at := 0; at < len(name); {
		r, size := decode(name[at:])
		if g.fold {
			r = foldRune(r)
		}
		switch {
		case p < len(g.pattern) && g.pattern[p] == '*':
			star, resume = p, at
			p++
			continue
		case p < len(g.pattern) && g.pattern[p] == r:
			p++
			at += size
			continue
		case star < 0:
			return false
		}
		_, skip := decode(name[resume:])
		resume += skip
		at, p = resume, star+1
	}
	for p < len(g.pattern) && g.pattern[p] == '*' {
		p++
	}
	return p == len(g.pattern)
}

// matchOrUnknown is match, except that an unknown name, the empty one, matches: what is
// not known is governed.
func (g glob) matchOrUnknown(name string) bool { return name == "" || g.match(name) }

// decode returns the first character of s, which is not empty. A byte that is not UTF-8
// becomes a character of its own that no pattern holds.
func decode(s string) (rune, int) {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size == 1 {
		return -1 - rune(s[0]), 1
	}
	return r, size
}

// foldRune returns one representative of the characters that differ from r in letter case
// alone.
func foldRune(r rune) rune {
	if r < 0x80 {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if f < least {
			least = f
		}
	}
	if 'A' <= least && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}
