package objects

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// Text takes the place of every masked value.
const Text = "[masked by cardea]"

// encodedText is Text where a field holds bytes.
var encodedText = base64.StdEncoding.EncodeToString([]byte(Text))

// Plan says what of a resource's objects is masked. It is immutable and safe for concurrent
// use. Documents are as encoding/json decodes them, with numbers as json.Number; methods that
// mask change them in place and return what takes their place.
type Plan struct {
	paths []Path
	// bytes is the field at the top whose values are base64; empty for none.
	bytes string
	// printed says that a table's cells may show what is masked.
	printed bool
	// owned says that managedFields may hold values, which they do of lists.
	owned bool
	// values says that every value of a Secret is masked.
	values bool
}

// secrets are the fields of a Secret that hold values.
var secrets = []Path{mustPath("data"), mustPath("stringData")}

func mustPath(text string) Path {
	p, err := ParsePath(text)
	if err != nil {
		panic(err)
	}
	return p
}

// New returns the plan for a resource, nil where nothing of it is masked. values says that
// every value of Secrets is, if that is what they are.
func New(group, resource string, values bool, paths []Path) *Plan {
	p := &Plan{printed: group != "" && strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io"), owned: true}
	if group == "" {
		switch resource {
		case "secrets":
			p.bytes, p.owned = "data", false
			if p.values = values; values {
				p.paths = append(p.paths, secrets...)
			}
		case "configmaps":
			p.bytes, p.owned = "binaryData", false
		}
	}
	for _, path := range paths {
		p.paths = append(p.paths, path)
		p.printed = p.printed || !path.isUnprinted()
		if s := path.segments; p.bytes == "data" && !s[0].literal && s[0].pattern == "data" {
			// Whoever applied a Secret may have written the value there.
			p.paths = append(p.paths, Path{text: path.text, segments: append([]segment{{pattern: "stringData"}}, s[1:]...)})
		}
	}
	if len(p.paths) == 0 {
		return nil
	}
	return p
}

// Whole reports whether every value of a Secret is masked.
func (p *Plan) Whole() bool { return p.values }

// Equal reports whether both mask the same. A nil Plan masks nothing.
func (p *Plan) Equal(o *Plan) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.bytes == o.bytes && p.printed == o.printed && p.owned == o.owned && p.values == o.values &&
		slices.EqualFunc(p.paths, o.paths, func(a, b Path) bool { return slices.Equal(a.segments, b.segments) })
}

// Masks reports whether a field, by the names that lead to it, is masked.
func (p *Plan) Masks(names []string) bool {
	here := p.start()
	for _, n := range names {
		var ends bool
		if here, ends = step(here, n); ends {
			return true
		}
	}
	return false
}

func (p *Plan) start() []at {
	here := make([]at, len(p.paths))
	for i := range p.paths {
		here[i] = at{path: &p.paths[i]}
	}
	return here
}

// Object masks one object, whatever its kind.
func (p *Plan) Object(o map[string]any) {
	for name, v := range o {
		if name == "metadata" || name == "kind" || name == "apiVersion" {
			continue
		}
		here, ends := step(p.start(), name)
		o[name] = p.value(v, here, ends, p.bytes != "" && name == p.bytes)
	}
	if m, ok := o["metadata"].(map[string]any); ok {
		p.metadata(m)
	} else {
		delete(o, "metadata")
	}
}

// value masks what is at one place.
func (p *Plan) value(v any, here []at, ends, encoded bool) any {
	if !ends && len(here) == 0 {
		return v
	}
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		for name, field := range v {
			next, end := step(here, name)
			v[name] = p.value(field, next, ends || end, encoded)
		}
		return v
	case []any:
		for i := range v {
			v[i] = p.value(v[i], here, ends, encoded)
		}
		return v
	}
	if !ends {
		return v
	}
	if encoded {
		return encodedText
	}
	return Text
}

// lastApplied is the annotation that holds the object as it was applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// metadata masks what else of an object can be seen in its metadata.
func (p *Plan) metadata(m map[string]any) {
	if p.owned {
		delete(m, "managedFields")
	}
	annotations, ok := m["annotations"].(map[string]any)
	if !ok {
		delete(m, "annotations")
		return
	}
	here, _ := step(p.start(), "metadata")
	here, all := step(here, "annotations")
	for name, v := range annotations {
		_, ends := step(here, name)
		text, isText := v.(string)
		switch {
		case all || ends || !isText:
			annotations[name] = Text
		case name == lastApplied:
			annotations[name] = p.applied(text)
		case isCopy(text):
			annotations[name] = Text
		}
	}
}

// applied masks an object within a text.
func (p *Plan) applied(text string) string {
	doc, err := Decode([]byte(text))
	o, ok := doc.(map[string]any)
	if err != nil || !ok {
		return Text
	}
	p.Object(o)
	b, err := json.Marshal(o)
	if err != nil {
		return Text
	}
	return string(b)
}

// longest is the length from which an annotation is taken for a copy of the object.
const longest = 1 << 10

// isCopy reports whether an annotation may be a copy of an object: JSON, also in base64, or
// compressed, or anything long.
func isCopy(text string) bool {
	text = strings.TrimSpace(text)
	for _, begins := range []string{"{", "[", `"`, "---", "apiVersion:", "kind:", "data:", "metadata:", "H4sI", "eyJ", "eyI", "KLUv", "W3s"} {
		if strings.HasPrefix(text, begins) {
			return true
		}
	}
	return len(text) > longest
}
