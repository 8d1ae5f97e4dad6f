package webhooks

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// commandRuleValidator refuses a CommandRule that would not compile.
type commandRuleValidator struct{}

// ValidateCreate refuses a rule that does not compile.
func (commandRuleValidator) ValidateCreate(_ context.Context, r *v1alpha1.CommandRule) (admission.Warnings, error) {
	return nil, invalid("CommandRule", r.Name, ValidateCommandRule(r))
}

// ValidateUpdate refuses a changed rule that does not compile; an unchanged spec passes, so
// that a stored rule can always be labelled.
func (commandRuleValidator) ValidateUpdate(_ context.Context, old, r *v1alpha1.CommandRule) (admission.Warnings, error) {
	if apiequality.Semantic.DeepEqual(old.Spec, r.Spec) {
		return nil, nil
	}
	return nil, invalid("CommandRule", r.Name, ValidateCommandRule(r))
}

// ValidateDelete is never called.
func (commandRuleValidator) ValidateDelete(context.Context, *v1alpha1.CommandRule) (admission.Warnings, error) {
	return nil, nil
}

// ValidateCommandRule says why r does not compile.
func ValidateCommandRule(r *v1alpha1.CommandRule) field.ErrorList {
	errs := validateSelector(&r.Spec.TargetSelector)
	if len(errs) > 0 {
		return errs
	}
	return assessed(policy.AssessCommandRule(r))
}

// validateSelector says what is wrong with a rule's targetSelector.
func validateSelector(selector *metav1.LabelSelector) field.ErrorList {
	return metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{},
		field.NewPath("spec", "targetSelector"))
}

// assessed turns the policy compiler's judgement into field errors. Its message names the
// field and the remedy.
func assessed(a policy.Assessment) field.ErrorList {
	if a.OK {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec"), field.OmitValueType{}, a.Message)}
}
