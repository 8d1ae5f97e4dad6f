package postgres

import (
	"strings"
)

// splitOptions splits the command-line options of a start-up message as the server does
// (pg_split_opts): at white space, with a backslash before what is meant as it is.
func splitOptions(s string) []string {
	var words []string
	var word strings.Builder
	begun, escaped := false, false
	for i := range len(s) {
		switch c := s[i]; {
		case escaped:
			word.WriteByte(c)
			escaped = false
		case c == '\\':
			begun, escaped = true, true
		case c == ' ' || c >= '\t' && c <= '\r':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// optionSettings returns the settings that command-line options make. Nothing but -c and
// its long form is known; ok is false for others.
func optionSettings(s string) (list []parameter, ok bool) {
	words := splitOptions(s)
	for i := 0; i < len(words); i++ {
		setting, long := strings.CutPrefix(words[i], "--")
		if !long {
			short, is := strings.CutPrefix(words[i], "-c")
			if !is {
				return nil, false
			}
			if setting = short; setting == "" {
				if i++; i == len(words) {
					return nil, false
				}
				setting = words[i]
			}
		}
		name, value, is := strings.Cut(setting, "=")
		if !is || name == "" || len(list) == maxParameters {
			return nil, false
		}
		list = append(list, parameter{strings.ReplaceAll(name, "-", "_"), value})
	}
	return list, true
}
