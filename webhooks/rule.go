package webhooks

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// ruleValidator refuses a rule or policy that would not compile.
type ruleValidator[T client.Object] struct {
	kind     string
	spec     func(T) any
	validate func(T) field.ErrorList
}

var (
	commandRules = ruleValidator[*v1alpha1.CommandRule]{
		string(v1alpha1.RuleKindCommand), func(r *v1alpha1.CommandRule) any { return r.Spec }, ValidateCommandRule}
	maskingRules = ruleValidator[*v1alpha1.MaskingRule]{
		string(v1alpha1.RuleKindMasking), func(r *v1alpha1.MaskingRule) any { return r.Spec }, ValidateMaskingRule}
	accessPolicies = ruleValidator[*v1alpha1.AccessPolicy]{
		"AccessPolicy", func(p *v1alpha1.AccessPolicy) any { return p.Spec }, ValidateAccessPolicy}
)

// ValidateCreate refuses a rule that does not compile.
func (v ruleValidator[T]) ValidateCreate(_ context.Context, r T) (admission.Warnings, error) {
	return nil, v.invalid(r)
}

// ValidateUpdate refuses a changed rule that does not compile; an unchanged spec passes, so
// that a stored rule can always be labelled.
func (v ruleValidator[T]) ValidateUpdate(_ context.Context, old, r T) (admission.Warnings, error) {
	if apiequality.Semantic.DeepEqual(v.spec(old), v.spec(r)) {
		return nil, nil
	}
	return nil, v.invalid(r)
}

// ValidateDelete is never called.
func (ruleValidator[T]) ValidateDelete(context.Context, T) (admission.Warnings, error) {
	return nil, nil
}

// invalid is the API server's own form of what is wrong with r; nil for nothing.
func (v ruleValidator[T]) invalid(r T) error {
	errs := v.validate(r)
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind(v.kind).GroupKind(), r.GetName(), errs)
}

// ValidateCommandRule says why r does not compile.
func ValidateCommandRule(r *v1alpha1.CommandRule) field.ErrorList {
	return validateRule(&r.Spec.TargetSelector, func() policy.Assessment { return policy.AssessCommandRule(r) })
}

// ValidateMaskingRule says why r does not compile.
func ValidateMaskingRule(r *v1alpha1.MaskingRule) field.ErrorList {
	return validateRule(&r.Spec.TargetSelector, func() policy.Assessment { return policy.AssessMaskingRule(r) })
}

// ValidateAccessPolicy says why p does not compile.
func ValidateAccessPolicy(p *v1alpha1.AccessPolicy) field.ErrorList {
	return validateRule(&p.Spec.TargetSelector, func() policy.Assessment { return policy.AssessAccessPolicy(p) })
}

// validateRule judges the selector by its own field and all else by the policy's compiler,
// whose message names the field and the remedy.
func validateRule(selector *metav1.LabelSelector, assess func() policy.Assessment) field.ErrorList {
	errs := metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, field.NewPath("spec", "targetSelector"))
	if len(errs) > 0 {
		return errs
	}
	if a := assess(); !a.OK {
		return field.ErrorList{field.Invalid(field.NewPath("spec"), field.OmitValueType{}, a.Message)}
	}
	return nil
}
