package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/shell"
)

// verbs are those of RBAC that a request can have.
var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// requestMatch is one compiled item of a CommandRule about requests. Fields that are empty
// hold always.
type requestMatch struct {
	verbs      []string
	resources  []glob
	namespaces []glob
	names      []glob
}

func compileRequestMatch(m *v1alpha1.KubernetesMatch) (*requestMatch, error) {
	if len(m.Verbs)+len(m.Resources)+len(m.Namespaces)+len(m.Names) == 0 {
		return nil, errors.New("kubernetes: at least one of verbs, resources, namespaces and names must be set")
	}
	if max(len(m.Verbs), len(m.Resources), len(m.Namespaces), len(m.Names)) > maxPatterns {
		return nil, fmt.Errorf("kubernetes: a list has more than %d items", maxPatterns)
	}
	for _, v := range m.Verbs {
		if !slices.Contains(verbs, v) {
			return nil, fmt.Errorf("kubernetes.verbs: %q is not one of %s", Printable(v, maxShownName), strings.Join(verbs, ", "))
		}
	}
	c := &requestMatch{verbs: m.Verbs}
	for what, into := range map[string]*[]glob{"resources": &c.resources, "namespaces": &c.namespaces, "names": &c.names} {
		for _, p := range map[string][]string{"resources": m.Resources, "namespaces": m.Namespaces, "names": m.Names}[what] {
			if p == "" {
				return nil, fmt.Errorf("kubernetes.%s: a pattern is empty", what)
			}
			*into = append(*into, newGlob(p, false))
		}
	}
	return c, nil
}

// matches reports whether the item is about a request. What the request does not name is
// taken for whatever the item names: no rule about requests admits anything.
func (m *requestMatch) matches(f *kubeapi.Facts) bool {
	if !f.IsResource() {
		return false
	}
	return (len(m.verbs) == 0 || slices.Contains(m.verbs, f.Verb)) &&
		(len(m.resources) == 0 || slices.ContainsFunc(m.resources, func(g glob) bool { return matchesResource(g, f) })) &&
		(len(m.namespaces) == 0 || anyMatches(m.namespaces, f.Namespace)) &&
		(len(m.names) == 0 || anyMatches(m.names, f.Name))
}

// matchesResource compares the part before the slash with the part before the slash, so that
// "*.apps" is not about subresources, and "*" alone with everything.
func matchesResource(g glob, f *kubeapi.Facts) bool {
	if g.any() {
		return true
	}
	return slices.Contains(g.pattern, '/') == (f.Subresource != "") && g.match(f.Named())
}

func anyMatches(globs []glob, name string) bool {
	return name == "" || slices.ContainsFunc(globs, func(g glob) bool { return g.match(name) })
}

// concerns reports whether some item of the rule is about a request, and what it starts.
func (r *commandRule) concerns(f *kubeapi.Facts) bool {
	return slices.ContainsFunc(r.matches, func(m match) bool {
		return m.about(f) && (m.shell == nil || started(f) != nil && m.shell.matches(started(f)))
	})
}

// concernsLine is concerns for a rule that holds lines of a gated shell: one that does not ask
// what is started is about the opening.
func (r *commandRule) concernsLine(f *kubeapi.Facts) bool {
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.about(f) && m.shell != nil && m.shell.matches(started(f)) })
}

// admitsStart reports whether one item of the rule admits what a request starts, which is
// refused without it.
func (r *commandRule) admitsStart(f *kubeapi.Facts) bool {
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.about(f) && m.shell != nil && m.shell.admits(started(f)) })
}

// about reports whether an item speaks of a request, besides what it starts.
func (m *match) about(f *kubeapi.Facts) bool {
	return !m.isSQL() && m.ssh == nil && m.files == nil && (m.request == nil || m.request.matches(f))
}

// started is what a request starts in a container; nil for one that starts nothing.
func started(f *kubeapi.Facts) *shell.Facts {
	switch {
	case f.Opens:
		return nil
	case f.Shell != nil:
		return f.Shell
	case f.Is("", "pods", "exec"), f.Is("", "pods", "attach"), f.Is("", "pods", "ephemeralcontainers"):
		return &shell.Facts{}
	}
	return nil
}
