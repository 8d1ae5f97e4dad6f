package webhooks

import (
	"fmt"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// The paths that config/webhook points to.
const (
	PathStampGrant           = "/mutate-accessgrant"
	PathStampDecision        = "/mutate-approvalrequest-status"
	PathValidateGrant        = "/validate-accessgrant"
	PathValidateMaskingRule  = "/validate-maskingrule"
	PathValidateCommandRule  = "/validate-commandrule"
	PathValidateAccessPolicy = "/validate-accesspolicy"
)

// SetupWithManager registers every webhook with mgr's webhook server. The manager's scheme
// must know v1alpha1 and core/v1; root is the operator's own namespace.
func SetupWithManager(mgr ctrl.Manager, root string) error {
	server := mgr.GetWebhookServer()
	server.Register(PathStampGrant, &admission.Webhook{Handler: grantStamper{}})
	server.Register(PathStampDecision, &admission.Webhook{Handler: decisionStamper{clock: clock.RealClock{}}})

	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.AccessGrant{}).
		WithValidator(grantAdviser{reader: mgr.GetClient(), root: root}).
		WithValidatorCustomPath(PathValidateGrant).
		Complete(); err != nil {
		return fmt.Errorf("set up the AccessGrant webhook: %w", err)
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.MaskingRule{}).
		WithValidator(maskingRules).
		WithValidatorCustomPath(PathValidateMaskingRule).
		Complete(); err != nil {
		return fmt.Errorf("set up the MaskingRule webhook: %w", err)
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.CommandRule{}).
		WithValidator(commandRules).
		WithValidatorCustomPath(PathValidateCommandRule).
		Complete(); err != nil {
		return fmt.Errorf("set up the CommandRule webhook: %w", err)
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &v1alpha1.AccessPolicy{}).
		WithValidator(accessPolicies).
		WithValidatorCustomPath(PathValidateAccessPolicy).
		Complete(); err != nil {
		return fmt.Errorf("set up the AccessPolicy webhook: %w", err)
	}
	return nil
}
