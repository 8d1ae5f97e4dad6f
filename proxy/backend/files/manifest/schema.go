// Package manifest reads manifests as the API server would: strictly, with the defaults,
// the bounds and the CEL rules of the CustomResourceDefinitions. It refuses what kubectl
// apply would refuse, and nothing else.
package manifest

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// kind is what is needed to judge objects of one kind.
type kind struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	cel        *cel.Validator
	hasStatus  bool
}

// loadKinds compiles the schema of the given version from every definition in fsys.
func loadKinds(fsys fs.FS, version string) (map[string]*kind, error) {
	kinds := map[string]*kind{}
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		b, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		name, k, err := loadKind(b, version)
		if err != nil {
			return fmt.Errorf("definition %s: %w", path, err)
		}
		kinds[name] = k
		return nil
	})
	if err != nil {
		return nil, err
	}
	return kinds, nil
}

func loadKind(b []byte, version string) (string, *kind, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(b, &crd); err != nil {
		return "", nil, err
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version || v.Schema == nil {
			continue
		}
		props := new(apiextensions.JSONSchemaProps)
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, props, nil); err != nil {
			return "", nil, err
		}
		structural, err := schema.NewStructural(props)
		if err != nil {
			return "", nil, err
		}
		validator, _, err := validation.NewSchemaValidator(props)
		if err != nil {
			return "", nil, err
		}
		return crd.Spec.Names.Kind, &kind{
			structural: structural, validator: validator, cel: cel.NewValidator(structural, true, celconfig.PerCallLimit),
			hasStatus: v.Subresources != nil && v.Subresources.Status != nil,
		}, nil
	}
	return "", nil, fmt.Errorf("no version %s", version)
}

// admit puts the defaults into obj and validates it; old is the object it replaces, nil for
// a new one.
func (k *kind) admit(ctx context.Context, obj, old map[string]any) field.ErrorList {
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, k.structural)
	defaulting.Default(obj, k.structural)
	var errs field.ErrorList
	if old == nil {
		errs = validation.ValidateCustomResource(nil, obj, k.validator)
	} else {
		errs = validation.ValidateCustomResourceUpdate(nil, obj, old, k.validator)
	}
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, obj)...)
	if len(errs) > 0 {
		return errs // rules may rely on the shape
	}
	// A nil map in an interface would not be nil to the validator.
	var before any
	if old != nil {
		before = old
	}
	ruleErrs, _ := k.cel.Validate(ctx, nil, k.structural, obj, before, celconfig.RuntimeCELCostBudget)
	return ruleErrs
}
