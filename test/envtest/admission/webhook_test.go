package admission

import (
	"bytes"
	"os"
	"path/filepath"
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

// TestOperatorNamespace moves the operator: one line of configuration moves it in every
// policy.
func TestOperatorNamespace(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(apiserver.Root("config", "admission"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "operator.yaml")
	data, err := os.ReadFile(file) //nolint:gosec // a copy in the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte("namespace: cardea-system"), []byte("namespace: security")), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := cluster.Kubectl(apiserver.User{}, "", "kustomize", apiserver.Root("config", "admission"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := cluster.Kubectl(apiserver.User{}, "", "kustomize", dir)
	if err != nil {
		t.Fatal(err)
	}
	were := strings.Count(before, "system:serviceaccount:cardea-system:cardea-operator")
	moved := strings.Count(out, "system:serviceaccount:security:cardea-operator")
	if moved == 0 || moved != were || strings.Contains(out, "cardea-system") {
		t.Errorf("the operator stands in %d places where it now is, want %d as before", moved, were)
	}
	if strings.Contains(out, "kind: ConfigMap") {
		t.Error("the configuration itself would be applied")
	}
}
