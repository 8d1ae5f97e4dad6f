package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Printable returns s fit to be shown to a client: in one line, without characters that
// control a terminal or change the order of what is read, and with at most limit
// characters.
func Printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == limit {
			b.WriteString("…")
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// The most characters of an author's text that is shown to a client.
const (
	maxShownName = 253
	maxShownText = 512
)

func shownName(s string) string { return Printable(s, maxShownName) }

// RuleName returns r as kind/namespace/name, kind/name for a rule that ships with the
// product, and the empty string for no rule.
func RuleName(r v1alpha1.RuleReference) string {
	switch {
	case r.Name == "":
		return ""
	case r.Namespace == "":
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// IsPlain reports whether s looks on a screen like what it is: UTF-8 without characters
// that control a terminal, change the order of what is read, or are not seen.
func IsPlain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && r != '\r' && (unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)) {
			return false
		}
	}
	return true
}
