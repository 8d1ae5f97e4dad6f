package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Forms of a pinned function, the same as in the API's schema.
var (
	signature = regexp.MustCompile(`^([^.(),"]+)\.([^.(),"]+)\(([^()"]*)\)$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

const maxSignature = 512

// compilePinned reads the functions of a MaskingRule.
func compilePinned(list []v1alpha1.PinnedFunction) ([]sql.PinnedFunction, error) {
	if len(list) > maxPinned {
		return nil, fmt.Errorf(": must have at most %d items", maxPinned)
	}
	out := make([]sql.PinnedFunction, 0, len(list))
	for i, f := range list {
		part := signature.FindStringSubmatch(f.Signature)
		if part == nil || len([]rune(f.Signature)) > maxSignature {
			return nil, fmt.Errorf("[%d].signature: is not SCHEMA.FUNCTION(TYPES)", i)
		}
		if f.SHA256 != "" && !sha256Hex.MatchString(f.SHA256) {
			return nil, fmt.Errorf("[%d].sha256: is not 64 lower-case hexadecimal digits", i)
		}
		p := sql.PinnedFunction{Schema: part[1], Name: part[2], SHA256: f.SHA256}
		if strings.TrimSpace(part[3]) != "" {
			p.Arguments = strings.Split(part[3], ",")
		}
		out = append(out, p)
	}
	return out, nil
}

// pinned returns the functions that rules admit. Where one of the root namespace masks
// columns, no rule beneath it can admit a function that might show them.
func pinned(rules []*maskingRule, lift map[*maskingRule]bool) []sql.PinnedFunction {
	rooted := slices.ContainsFunc(rules, func(r *maskingRule) bool { return r.root && len(r.masks) > 0 && !lift[r] })
	var out []sql.PinnedFunction
	for _, r := range rules {
		if r.root || !rooted {
			out = append(out, r.functions...)
		}
	}
	return out
}
