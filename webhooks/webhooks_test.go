package webhooks

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"
)

// TestConfiguration reads config/webhook: every webhook fails open, points to a path that is
// served, and none stands in the way of a revocation.
func TestConfiguration(t *testing.T) {
	var mutating admissionregistrationv1.MutatingWebhookConfiguration
	var validating admissionregistrationv1.ValidatingWebhookConfiguration
	for file, into := range map[string]any{"mutating.yaml": &mutating, "validating.yaml": &validating} {
		data, err := os.ReadFile(filepath.Join("..", "config", "webhook", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	paths := []string{PathStampGrant, PathStampDecision, PathValidateGrant, PathValidateMaskingRule, PathValidateCommandRule, PathValidateAccessPolicy}
	seen := map[string]bool{}
	check := func(name string, c admissionregistrationv1.WebhookClientConfig, p *admissionregistrationv1.FailurePolicyType, seconds *int32, rules []admissionregistrationv1.RuleWithOperations) {
		if p == nil || *p != admissionregistrationv1.Ignore {
			t.Errorf("%s does not fail open", name)
		}
		if seconds == nil || *seconds > 3 {
			t.Errorf("%s may hold a request up", name)
		}
		if len(c.CABundle) > 0 {
			t.Errorf("%s brings a caBundle, which is the operator's to write", name)
		}
		if c.Service == nil || c.Service.Path == nil || !slices.Contains(paths, *c.Service.Path) {
			t.Fatalf("%s points to no path that is served", name)
		}
		seen[*c.Service.Path] = true
		for _, r := range rules {
			if slices.Contains(r.Resources, "accessgrants") && !slices.Equal(r.Operations, []admissionregistrationv1.OperationType{admissionregistrationv1.Create}) {
				t.Errorf("%s matches %v of accessgrants", name, r.Operations)
			}
			for _, resource := range r.Resources {
				if resource == "*" || resource == "*/*" {
					t.Errorf("%s matches every resource", name)
				}
			}
		}
	}
	for _, w := range mutating.Webhooks {
		check(w.Name, w.ClientConfig, w.FailurePolicy, w.TimeoutSeconds, w.Rules)
	}
	for _, w := range validating.Webhooks {
		check(w.Name, w.ClientConfig, w.FailurePolicy, w.TimeoutSeconds, w.Rules)
	}
	for _, path := range paths {
		if !seen[path] {
			t.Errorf("no webhook points to %s", path)
		}
	}
}
