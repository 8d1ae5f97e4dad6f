package sql

import "fmt"

// Redact returns text fit for recordings and approval requests, and whether it differs
// from the original. Where f says that the text is sensitive, or nothing is known of it,
// every constant is replaced by hash of its bytes; a text that was not lexed is replaced
// whole. hash must be keyed, so that nobody can try values against it.
func Redact(text []byte, f *Facts, hash func([]byte) string) (string, bool) {
	if f != nil && f.Known && !f.Sensitive {
		return string(text), false
	}
	if f == nil || !f.Lexed {
		return fmt.Sprintf("[not readable: %d bytes]", len(text)), true
	}
	if !f.Sensitive {
		return string(text), false
	}
	out := make([]byte, 0, len(text))
	at := 0
	for _, s := range f.Literals {
		if s.Start < at || s.End < s.Start || s.End > len(text) {
			return fmt.Sprintf("[not readable: %d bytes]", len(text)), true
		}
		out = append(out, text[at:s.Start]...)
		out = append(out, "'#"...)
		out = append(out, hash(text[s.Start:s.End])...)
		out = append(out, '\'')
		at = s.End
	}
	return string(append(out, text[at:]...)), len(f.Literals) > 0
}
