package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Object decodes a manifest and merges a patch, both YAML, into it: a
// null in the patch removes a field. It panics if either is no YAML.
func Object(manifest, patch string) *unstructured.Unstructured {
	o, p := decode(manifest), decode(patch)
	merge(o, p)
	return &unstructured.Unstructured{Object: o}
}

// merge is a JSON merge patch.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, ok := value.(map[string]any)
		existing, isMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case ok && isMap:
			merge(existing, inner)
		default:
			into[key] = value
		}
	}
}

// decode decodes one YAML object.
func decode(text string) map[string]any {
	var o map[string]any
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		panic(fmt.Sprintf("%v in %s", err, text))
	}
	return o
}
