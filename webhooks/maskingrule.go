package webhooks

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// maskingRuleValidator refuses a MaskingRule that would not compile.
type maskingRuleValidator struct{}

// ValidateCreate refuses a rule that does not compile.
func (maskingRuleValidator) ValidateCreate(_ context.Context, r *v1alpha1.MaskingRule) (admission.Warnings, error) {
	return nil, invalid("MaskingRule", r.Name, ValidateMaskingRule(r))
}

// ValidateUpdate refuses a changed rule that does not compile; an unchanged spec passes, so
// that a stored rule can always be labelled.
func (maskingRuleValidator) ValidateUpdate(_ context.Context, old, r *v1alpha1.MaskingRule) (admission.Warnings, error) {
	if apiequality.Semantic.DeepEqual(old.Spec, r.Spec) {
		return nil, nil
	}
	return nil, invalid("MaskingRule", r.Name, ValidateMaskingRule(r))
}

// ValidateDelete is never called.
func (maskingRuleValidator) ValidateDelete(context.Context, *v1alpha1.MaskingRule) (admission.Warnings, error) {
	return nil, nil
}

// ValidateMaskingRule says why r does not compile.
func ValidateMaskingRule(r *v1alpha1.MaskingRule) field.ErrorList {
	errs := validateSelector(&r.Spec.TargetSelector)
	if len(errs) > 0 {
		return errs
	}
	return assessed(policy.AssessMaskingRule(r))
}

// invalid is the API server's own form of errs; nil for an empty list.
func invalid(kind, name string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind(kind).GroupKind(), name, errs)
}
