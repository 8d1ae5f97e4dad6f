package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestDefaults compares whole specs, so that a default that comes or goes is seen.
func TestDefaults(t *testing.T) {
	cases := map[string]struct{ manifest, patch, want string }{
		"AccessGrant": {apiserver.Grant, `{spec: {postgres: {access: null}}}`, `
subject: {kind: ServiceAccount, namespace: shop, name: report-agent}
targetRef: {name: orders-db}
duration: 60m
reason: monthly report, OPS-1423
postgres: {databases: [orders], access: ReadOnly}
credentials: {delivery: Secret, mountPath: /var/run/cardea}
desiredState: Active`},
		"Target": {apiserver.Target, "", `
postgres:
  host: orders.shop.svc
  port: 5432
  tls: {mode: VerifyFull}
  login: {secretRef: {name: orders-login}}`},
		"Target with a CA": {apiserver.Target, `{spec: {postgres: {tls: {caRef: {kind: ConfigMap, name: ca, key: ca.crt}}}}}`, `
postgres:
  host: orders.shop.svc
  port: 5432
  tls: {mode: VerifyFull, caRef: {kind: ConfigMap, name: ca, key: ca.crt}}
  login: {secretRef: {name: orders-login}}`},
		"MaskingRule": {apiserver.MaskingRule, "", `
targetSelector: {matchLabels: {tier: prod}}
columns: [{names: ["*.*.ssn"], function: {partial: {keepLast: 4}}}]
predicates: Deny
expressions: Deny`},
		"CommandRule": {apiserver.CommandRule, `{spec: {action: RequireApproval, approval: {approvers: [{kind: Group, name: dba}]}}}`, `
targetSelector: {matchLabels: {tier: prod}}
match: [{sql: {statements: [Drop]}}]
action: RequireApproval
approval:
  required: 1
  approvers: [{kind: Group, name: dba}]
  timeout: 10m
  whilePending: Wait
  inTransaction: Reject`},
		"RecordingStore": {apiserver.RecordingStore, "", `
configMap: {maxBytes: 67108864}
retention: 720h
responses: {maxRows: 100, maxBytes: 65536}`},
		"RecordingStore without rows": {apiserver.RecordingStore, `{spec: {responses: {maxRows: 0}}}`, `
configMap: {maxBytes: 67108864}
retention: 720h
responses: {maxRows: 0, maxBytes: 65536}`},
		"Session": {apiserver.Session, "", `
desiredState: Active
grantRef: {name: report-agent, uid: 7d5a}
targetRef: {name: orders-db, uid: 91cc, generation: 1}
subject: {kind: ServiceAccount, namespace: shop, name: report-agent}
client: 10.1.2.3
proxy: cardea-proxy-1
startedAt: "2026-01-01T00:00:00.000000Z"`},
		"AccessPolicy": {apiserver.AccessPolicy, "", `
targetSelector: {matchLabels: {tier: prod}}
subjects: [{kind: ServiceAccount, namespaces: [shop], names: ["report-*"]}]
limits: {maxDuration: 8h}`},
		"AccessLock": {apiserver.Lock, "", `
targetSelector: {}
reason: incident 4711`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := apiserver.Object(c.manifest, c.patch)
			if err := admin.Create(t.Context(), o, client.DryRunAll); err != nil {
				t.Fatal(err)
			}
			var want, got map[string]any
			if err := yaml.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			spec, _, err := unstructured.NestedMap(o.Object, "spec")
			if err != nil {
				t.Fatal(err)
			}
			printed, err := yaml.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(printed, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}
