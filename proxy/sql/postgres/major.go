package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// What differs between the releases of the server is decided by the major that the
// session's own backend reports. The grammar is that of version 17: newer constructs do not
// parse, and older servers refuse what they do not know. What two of them read and
// understand differently is the matter of this file, of constructed.go and of returning.

// supported are the majors that the lists of this package were made for and tried with, in
// order.
var supported = []int{14, 15, 16, 17, 18}

// SupportedMajor reports whether statements are admitted on targets with masks whose server
// is of a major version.
func SupportedMajor(major int) bool { return slices.Contains(supported, major) }

// SupportedMajors names them in a sentence.
func SupportedMajors() string {
	return fmt.Sprintf("%d to %d", supported[0], supported[len(supported)-1])
}

// major is the server's; 0 if it is not known.
func (m *meanings) major() int {
	version := m.settings["server_version_num"]
	if len(version) != 6 {
		return 0
	}
	major, err := strconv.Atoi(version[:2])
	if err != nil {
		return 0
	}
	return major
}

// plainNumber is a number that every version reads alike, at the beginning of a text.
var plainNumber = regexp.MustCompile(`^(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?:[^0-9A-Za-z_$\x80-\xff]|$)`)

// plainNumbers reports whether all numbers in a statement are decimal and without
// underscores: of any other version 14 takes the first digits for the number, and the rest
// for the name of an output column.
func plainNumbers(m any, text []byte, depth int) bool {
	if depth > maxDepth {
		return false
	}
	plain := true
	if c, ok := m.(*pgquery.A_Const); ok && (c.GetIval() != nil || c.GetFval() != nil) && c.Location >= 0 && int(c.Location) < len(text) {
		at := text[c.Location:]
		sign := at[0] == '-' || at[0] == '+'
		for sign && len(at) > 0 && (isSpace(at[0]) || at[0] == '-' || at[0] == '+') {
			at = at[1:]
		}
		// What is neither a digit nor behind a sign is a word, such as YEAR of an interval.
		if number := len(at) > 0 && (isDigit(at[0]) || at[0] == '.'); number || sign {
			plain = plainNumber.Match(at)
		}
	}
	children(m, func(child any) { plain = plain && plainNumbers(child, text, depth+1) })
	return plain
}
