package apiserver

// The objects that tests start from, valid as they are.
const (
	Grant = `
apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: report-agent, namespace: shop-gate}
spec:
  subject: {kind: ServiceAccount, namespace: shop, name: report-agent}
  targetRef: {name: orders-db}
  duration: 60m
  reason: monthly report, OPS-1423
  postgres: {databases: [orders], access: ReadOnly}
`
	Target = `
apiVersion: access.cardea.dev/v1alpha1
kind: Target
metadata: {name: orders-db, namespace: shop-gate, labels: {tier: prod}}
spec:
  postgres: {host: orders.shop.svc, login: {secretRef: {name: orders-login}}}
`
	ApprovalRequest = `
apiVersion: access.cardea.dev/v1alpha1
kind: ApprovalRequest
metadata: {name: x7k2p, namespace: shop-gate}
spec:
  grantRef: {name: report-agent, uid: 7d5a}
  targetRef: {name: orders-db, uid: 91cc, generation: 1}
  requester: system:serviceaccount:shop:report-agent
  grantCreator: alice
  reason: monthly report, OPS-1423
  session: report-agent-abcde
  rule: {kind: CommandRule, namespace: shop-gate, name: destructive-sql}
  command: {engine: postgres, text: DELETE FROM orders, digest: "0000000000000000000000000000000000000000000000000000000000000000"}
  required: 1
  approvers: [{kind: Group, name: dba}]
  expiresAt: "2099-01-01T00:00:00Z"
`
	Session = `
apiVersion: access.cardea.dev/v1alpha1
kind: Session
metadata: {name: report-agent-abcde, namespace: shop-gate}
spec:
  grantRef: {name: report-agent, uid: 7d5a}
  targetRef: {name: orders-db, uid: 91cc, generation: 1}
  subject: {kind: ServiceAccount, namespace: shop, name: report-agent}
  client: 10.1.2.3
  proxy: cardea-proxy-1
  startedAt: "2026-01-01T00:00:00.000000Z"
`
	Recording = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: cardea-rec-report-agent-abcde-000000
  namespace: shop-gate
  labels:
    access.cardea.dev/session: report-agent-abcde
    access.cardea.dev/segment: "0"
    access.cardea.dev/grant: report-agent
immutable: true
binaryData: {segment: KLUv/Q==}
data: {digest: "00", previous: ""}
`
	ConfigMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: orders-ca, namespace: shop-gate}
data: {ca.crt: none}
`
	Secret = `
apiVersion: v1
kind: Secret
metadata: {name: orders-login, namespace: shop-gate}
`
	MaskingRule = `
apiVersion: access.cardea.dev/v1alpha1
kind: MaskingRule
metadata: {name: pii, namespace: shop-gate}
spec:
  targetSelector: {matchLabels: {tier: prod}}
  columns: [{names: ["*.*.ssn"], function: {partial: {keepLast: 4}}}]
`
	CommandRule = `
apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: destructive-sql, namespace: shop-gate}
spec:
  targetSelector: {matchLabels: {tier: prod}}
  match: [{sql: {statements: [Drop]}}]
  action: Deny
`
	AccessPolicy = `
apiVersion: access.cardea.dev/v1alpha1
kind: AccessPolicy
metadata: {name: prod, namespace: shop-gate}
spec:
  targetSelector: {matchLabels: {tier: prod}}
  subjects: [{kind: ServiceAccount, namespaces: [shop], names: ["report-*"]}]
  limits: {maxDuration: 8h}
`
	RecordingStore = `
apiVersion: access.cardea.dev/v1alpha1
kind: RecordingStore
metadata: {name: audit, namespace: shop-gate}
spec: {configMap: {}}
`
	AccessProxy = `
apiVersion: access.cardea.dev/v1alpha1
kind: AccessProxy
metadata: {name: default, namespace: shop-gate}
`
	Lock = `
apiVersion: access.cardea.dev/v1alpha1
kind: AccessLock
metadata: {name: incident-4711, namespace: shop-gate}
spec: {targetSelector: {}, reason: incident 4711}
`
)
