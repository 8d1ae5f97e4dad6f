package admission

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestApplyKeepsAuthority shows that applying the webhooks again leaves the caBundle alone
// that the operator put in.
func TestApplyKeepsAuthority(t *testing.T) {
	kinds := map[string]struct{ name, webhook string }{
		"MutatingWebhookConfiguration":   {"cardea-mutating", "created-by.accessgrant.access.cardea.dev"},
		"ValidatingWebhookConfiguration": {"cardea-validating", "compiles.maskingrule.access.cardea.dev"},
	}
	for kind, c := range kinds {
		t.Run(kind, func(t *testing.T) {
			bundle := `{apiVersion: admissionregistration.k8s.io/v1, kind: ` + kind + `, metadata: {name: ` + c.name + `},
				webhooks: [{name: ` + c.webhook + `, clientConfig: {caBundle: Y2FyZGVh}}]}`
			for _, args := range [][]string{
				{"apply", "--server-side", "--field-manager=cardea-operator", "--validate=false", "-f", "-"},
				{"apply", "--server-side", "-k", apiserver.Root("config", "webhook")},
				{"apply", "-k", apiserver.Root("config", "webhook")},
			} {
				if _, err := cluster.Kubectl(apiserver.User{}, bundle, args...); err != nil {
					t.Fatal(err)
				}
				out, err := cluster.Kubectl(apiserver.User{}, "", "get", kind, c.name, "-o", "jsonpath={.webhooks[*].clientConfig.caBundle}")
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(out, "Y2FyZGVh") {
					t.Errorf("the caBundle is gone after kubectl %v", args)
				}
			}
		})
	}
}
