package policy

import (
	"slices"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// within reports whether an access level includes statements of a group. Neither an
// unknown level nor an unknown group is included in anything.
func within(level v1alpha1.AccessLevel, g sql.Group) bool {
	switch level {
	case v1alpha1.AccessReadOnly:
		return g == sql.GroupRead || g == sql.GroupSession || g == sql.GroupTransaction
	case v1alpha1.AccessReadWrite:
		return g == sql.GroupWrite || within(v1alpha1.AccessReadOnly, g)
	case v1alpha1.AccessFull:
		return slices.Contains(knownGroups, g)
	}
	return false
}

func isAccessLevel(l v1alpha1.AccessLevel) bool {
	return l == v1alpha1.AccessReadOnly || l == v1alpha1.AccessReadWrite || l == v1alpha1.AccessFull
}
