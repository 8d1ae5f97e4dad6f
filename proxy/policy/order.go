package policy

import (
	"cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// source is where a rule comes from and decides which of several comes first.
type source struct {
	root bool // from the root namespace
	ref  v1alpha1.RuleReference
}

// compareSources orders rules: those of the root namespace first, then by namespace and
// name.
func compareSources(a, b source) int {
	if a.root != b.root {
		if a.root {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.ref.Namespace, b.ref.Namespace), cmp.Compare(a.ref.Name, b.ref.Name))
}
