package policy

import (
	"errors"
	"fmt"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// checkSubject says what is wrong with a subject that a rule or grant names.
func checkSubject(s v1alpha1.Subject) error {
	switch s.Kind {
	case v1alpha1.SubjectServiceAccount:
		if s.Namespace == "" {
			return errors.New("a ServiceAccount needs its namespace")
		}
	case v1alpha1.SubjectUser, v1alpha1.SubjectGroup:
		if s.Namespace != "" {
			return fmt.Errorf("a %s has no namespace", s.Kind)
		}
	default:
		return fmt.Errorf("kind %q is not ServiceAccount, User or Group", s.Kind)
	}
	if s.Name == "" {
		return errors.New("name is empty")
	}
	return nil
}

// covers reports whether the subject of a rule or lock covers the one of a grant. A Group
// covers the identities that the API server puts into it by itself; other memberships are
// not known here.
func covers(s, grantee v1alpha1.Subject) bool {
	if s.Kind != v1alpha1.SubjectGroup {
		return s.Username() != "" && s.Username() == grantee.Username()
	}
	switch s.Name {
	case "system:authenticated":
		return true
	case "system:serviceaccounts":
		return grantee.Kind == v1alpha1.SubjectServiceAccount
	case "system:serviceaccounts:" + grantee.Namespace:
		return grantee.Kind == v1alpha1.SubjectServiceAccount
	}
	return grantee.Kind == v1alpha1.SubjectGroup && grantee.Name == s.Name
}
