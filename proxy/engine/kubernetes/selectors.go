package kubernetes

import (
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

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

// helmWarning is for who looks for releases that cannot be read: Helm would say that there are
// none.
const helmWarning = `299 - "the releases that Helm keeps in Secrets are masked, and it finds none: set HELM_DRIVER=configmap, or ask for a grant with secrets: Readable"`

// forReleases reports whether a request is that of Helm for its releases in Secrets.
func forReleases(what *understood) bool {
	if !what.facts.Is("", "secrets", "") || what.facts.Verb != "list" {
		return false
	}
	query, err := url.ParseQuery(what.query)
	if err != nil {
		return false
	}
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return false
	}
	owner, ok := selector.RequiresExactMatch("owner")
	return ok && owner == "helm"
}
