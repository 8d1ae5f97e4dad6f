package policy

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// lock is one compiled AccessLock. What it does not name holds always; a lock that cannot
// be compiled shuts everything.
type lock struct {
	name            string
	reason          string
	targets, grants labels.Selector
	subjects        []v1alpha1.Subject
}

func compileLock(l *v1alpha1.AccessLock) *lock {
	c := &lock{name: l.Namespace + "/" + l.Name, reason: Printable(l.Spec.Reason, maxShownText)}
	everything := &lock{name: c.name, reason: c.reason}
	var err error
	if s := l.Spec.TargetSelector; s != nil {
		if c.targets, err = selectorOf(s); err != nil {
			return everything
		}
	}
	if s := l.Spec.GrantSelector; s != nil {
		if c.grants, err = selectorOf(s); err != nil {
			return everything
		}
	}
	for _, s := range l.Spec.Subjects {
		if checkSubject(s) != nil {
			return everything
		}
	}
	c.subjects = l.Spec.Subjects
	return c
}

// shuts reports whether the lock matches. A Target that is not there matches every
// selector.
func (l *lock) shuts(g *v1alpha1.AccessGrant, t *v1alpha1.Target) bool {
	if l.targets != nil && t != nil && !l.targets.Matches(labels.Set(t.Labels)) {
		return false
	}
	if l.grants != nil && !l.grants.Matches(labels.Set(g.Labels)) {
		return false
	}
	if len(l.subjects) == 0 {
		return true
	}
	for _, s := range l.subjects {
		if covers(s, g.Spec.Subject) {
			return true
		}
	}
	return false
}
