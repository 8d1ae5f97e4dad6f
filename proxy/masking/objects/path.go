package objects

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxSegments is the most names in a path.
const maxSegments = 16

// deep is the segment that stands for any number of names.
const deep = "**"

// Path leads to fields of an object. Lists are passed through: a name after a list is that
// of a field of its elements.
type Path struct {
	text     string
	segments []segment
}

// segment matches the names of fields.
type segment struct {
	pattern string
	literal bool
}

func (s segment) isDeep() bool { return !s.literal && s.pattern == deep }

func (s segment) match(name string) bool {
	if s.literal || !strings.Contains(s.pattern, "*") {
		return s.pattern == name
	}
	first, rest, _ := strings.Cut(s.pattern, "*")
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(name, part)
		}
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], more
	}
}

// ParsePath reads a path as MaskingRules have it.
func ParsePath(text string) (Path, error) {
	p := Path{text: text}
	rest := text
	for first := true; rest != ""; first = false {
		var s segment
		var err error
		switch {
		case strings.HasPrefix(rest, "[*]") && !first:
			rest = rest[len("[*]"):]
			continue
		case rest[0] == '[':
			s, rest, err = bracketed(rest)
		default:
			s, rest, err = named(rest, first)
		}
		if err != nil {
			return Path{}, err
		}
		p.segments = append(p.segments, s)
	}
	if len(p.segments) == 0 || len(p.segments) > maxSegments {
		return Path{}, fmt.Errorf("it must have 1 to %d names", maxSegments)
	}
	if p.segments[0].isDeep() && len(p.segments) == 1 {
		return Path{}, errors.New("** needs a name after it")
	}
	switch head := p.segments[0]; {
	case head.pattern == "kind" || head.pattern == "apiVersion":
		return Path{}, errors.New("what an object is cannot be masked")
	case head.pattern == "metadata" && (len(p.segments) < 2 || p.segments[1].pattern != "annotations"):
		return Path{}, errors.New("of metadata, only annotations can be masked")
	}
	return p, nil
}

// bracketed reads ['KEY'] or ["KEY"].
func bracketed(rest string) (s segment, after string, err error) {
	if len(rest) < 2 || rest[1] != '\'' && rest[1] != '"' {
		return s, "", errors.New("a bracket holds * or a key in quotes")
	}
	key, after, ok := strings.Cut(rest[2:], rest[1:2]+"]")
	if !ok || key == "" {
		return s, "", errors.New("a key in brackets does not end, or is empty")
	}
	return segment{pattern: key, literal: true}, after, nil
}

// named reads NAME or .NAME.
func named(rest string, first bool) (s segment, after string, err error) {
	if dot := rest[0] == '.'; dot != first {
		rest = strings.TrimPrefix(rest, ".")
	} else {
		return s, "", errors.New("names stand between single dots")
	}
	end := strings.IndexAny(rest, ".[")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || strings.ContainsAny(rest[:end], `]"'`) {
		return s, "", errors.New("names stand between single dots")
	}
	if name := rest[:end]; strings.Contains(name, deep) && name != deep {
		return s, "", errors.New("** stands alone")
	}
	return segment{pattern: rest[:end]}, rest[end:], nil
}

// at is where in a path one stands: the index of the segment that is next.
type at struct {
	path *Path
	next int
}

// step returns where one stands after a field, and whether a path ends there.
func step(from []at, field string) (to []at, ends bool) {
	for _, a := range from {
		for i := a.next; i < len(a.path.segments); i++ {
			s := a.path.segments[i]
			if s.isDeep() {
				to = with(to, at{a.path, i})
				continue
			}
			if s.match(field) {
				to = with(to, at{a.path, i + 1})
				ends = ends || a.path.endsAt(i+1)
			}
			break
		}
	}
	return to, ends
}

func with(to []at, a at) []at {
	if slices.Contains(to, a) {
		return to
	}
	return append(to, a)
}

func (p *Path) endsAt(i int) bool {
	return i == len(p.segments) || i == len(p.segments)-1 && p.segments[i].isDeep()
}

// unprinted are names of fields that no table of the API server shows anything of.
var unprinted = []string{"data", "stringData", "binaryData", "env", "envFrom", "args", "command", "annotations"}

// isUnprinted reports whether a path leads through a field of that kind.
func (p *Path) isUnprinted() bool {
	return slices.ContainsFunc(p.segments, func(s segment) bool { return slices.Contains(unprinted, s.pattern) })
}
