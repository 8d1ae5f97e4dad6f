package kubernetes

import (
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/cardea-dev/cardea/proxy/masking/objects"
)

// telling are the fields of every object by which a list may be selected.
var telling = []string{"metadata.name", "metadata.namespace"}

// revealing returns a field that a request selects by, and which may tell of what is masked;
// empty if there is none.
func revealing(plan *objects.Plan, what *understood) string {
	query, err := url.ParseQuery(what.query)
	if err != nil {
		return "fieldSelector"
	}
	text := query.Get("fieldSelector")
	if text == "" {
		return ""
	}
	selector, err := fields.ParseSelector(text)
	if err != nil {
		return "fieldSelector"
	}
	secret := what.facts.Group == "" && what.facts.Resource == "secrets"
	for _, r := range selector.Requirements() {
		if slices.Contains(telling, r.Field) || secret && r.Field == "type" {
			continue
		}
		if secret || strings.ContainsAny(r.Field, `[]'"`) || plan.Masks(strings.Split(strings.TrimPrefix(r.Field, "."), ".")) {
			return r.Field
		}
	}
	return ""
}
