package policy

import (
	"fmt"
	"slices"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
)

// Bounds of a MaskingRule's fields, the same as in the API's schema.
const (
	maxFields   = 64
	maxPathText = 256
)

// Fields are what is masked of the objects that one session sees.
type Fields interface {
	// Plan says how the answer to a request is masked; nil if not at all.
	Plan(f *kubeapi.Facts) *objects.Plan
}

// maskedFields is one compiled item of a MaskingRule's fields.
type maskedFields struct {
	resources []glob
	paths     []objects.Path
}

func compileFields(list []v1alpha1.MaskedFields) ([]maskedFields, error) {
	if len(list) > maxFields {
		return nil, fmt.Errorf(": must have at most %d items", maxFields)
	}
	var compiled []maskedFields
	for i, item := range list {
		var c maskedFields
		for what, n := range map[string]int{"resources": len(item.Resources), "paths": len(item.Paths)} {
			if n == 0 || n > maxNames {
				return nil, fmt.Errorf("[%d].%s: must have 1 to %d items", i, what, maxNames)
			}
		}
		for j, r := range item.Resources {
			if r == "" || slices.Contains([]rune(r), '/') {
				return nil, fmt.Errorf("[%d].resources[%d]: must be RESOURCE or RESOURCE.GROUP, each a name or glob; subresources are masked with it", i, j)
			}
			c.resources = append(c.resources, newGlob(r, false))
		}
		for j, text := range item.Paths {
			if len(text) > maxPathText {
				return nil, fmt.Errorf("[%d].paths[%d]: must have at most %d characters", i, j, maxPathText)
			}
			path, err := objects.ParsePath(text)
			if err != nil {
				return nil, fmt.Errorf("[%d].paths[%d]: %w", i, j, err)
			}
			c.paths = append(c.paths, path)
		}
		compiled = append(compiled, c)
	}
	return compiled, nil
}

// objectMasks are the masks of a session with an API server.
type objectMasks struct {
	masks *masks
	// secrets is what the grant says of Secrets.
	secrets v1alpha1.SecretsMode
}

// bare are the subresources whose answers are no objects.
var bare = []string{"log", "proxy", "exec", "attach", "portforward"}

// Plan implements Fields.
func (s *objectMasks) Plan(f *kubeapi.Facts) *objects.Plan {
	if f == nil || !f.IsResource() || slices.Contains(bare, f.Subresource) {
		return nil
	}
	whole := *f
	whole.Subresource = ""
	var paths []objects.Path
	for _, r := range s.masks.rules {
		if s.masks.lift[r] {
			continue
		}
		for _, m := range r.fields {
			if slices.ContainsFunc(m.resources, func(g glob) bool { return matchesResource(g, &whole) }) {
				paths = append(paths, m.paths...)
			}
		}
	}
	return objects.New(f.Group, f.Resource, s.secrets != v1alpha1.SecretsReadable, paths)
}

// fieldsFor returns what is masked of objects in a session; nil for one that is with no API
// server.
func fieldsFor(t *target, g *v1alpha1.AccessGrant, m *masks) Fields {
	if t.engine != engineKubernetes {
		return nil
	}
	return &objectMasks{masks: m, secrets: g.Spec.Kubernetes.Secrets}
}
