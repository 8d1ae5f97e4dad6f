package policy

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// noon is the time at which tests are admitted.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *metav1.Time {
	t := metav1.NewTime(noon.Add(d))
	return &t
}

func makeGrant() *v1alpha1.AccessGrant {
	g := &v1alpha1.AccessGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "shop-gate", Name: "agent", UID: "grant-uid", Generation: 2, Labels: map[string]string{"team": "a"}}}
	g.Spec = v1alpha1.AccessGrantSpec{
		Subject:      v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "agent"},
		TargetRef:    v1alpha1.ObjectName{Name: "orders-db"},
		Duration:     &metav1.Duration{Duration: time.Hour},
		Reason:       "OPS-1",
		Postgres:     &v1alpha1.PostgresPermissions{Databases: []string{"orders", "report_*"}, Access: v1alpha1.AccessReadOnly},
		Credentials:  v1alpha1.GrantCredentials{Delivery: v1alpha1.DeliverySecret},
		DesiredState: v1alpha1.GrantActive,
	}
	g.Status = v1alpha1.AccessGrantStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, ObservedGeneration: 2},
			{Type: v1alpha1.ConditionApproved, Status: metav1.ConditionTrue, ObservedGeneration: 2},
		},
		ApprovedAt: at(-10 * time.Minute), StartsAt: at(-10 * time.Minute), ExpiresAt: at(50 * time.Minute),
		Verifiers: []v1alpha1.CredentialVerifier{{ID: "c1", SCRAMSHA256: "SCRAM-SHA-256$…", NotBefore: *at(-time.Minute), ExpiresAt: *at(30 * time.Minute)}},
	}
	return g
}

func makeTarget() *v1alpha1.Target {
	return &v1alpha1.Target{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop-gate", Name: "orders-db", UID: "target-uid", Generation: 1, Labels: map[string]string{"tier": "prod"}},
		Spec: v1alpha1.TargetSpec{
			Requires: []v1alpha1.RuleKind{v1alpha1.RuleKindMasking, v1alpha1.RuleKindCommand},
			Postgres: &v1alpha1.PostgresTarget{Host: "orders.shop.svc", Port: 5432, TLS: v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSVerifyFull},
				Login: &v1alpha1.UpstreamLogin{SecretRef: v1alpha1.ObjectName{Name: "orders-login"}}},
			Recording: &v1alpha1.TargetRecording{StoreRef: v1alpha1.ObjectName{Name: "audit"}},
		},
	}
}

func makeStore() *v1alpha1.RecordingStore {
	return &v1alpha1.RecordingStore{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop-gate", Name: "audit", UID: "store-uid"},
		Spec:       v1alpha1.RecordingStoreSpec{ConfigMap: &v1alpha1.ConfigMapStore{MaxBytes: 1 << 20}},
		Status:     v1alpha1.RecordingStoreStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}},
	}
}

func makeMaskingRule(namespace, name string, columns ...string) *v1alpha1.MaskingRule {
	return &v1alpha1.MaskingRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name)},
		Spec: v1alpha1.MaskingRuleSpec{
			TargetSelector: metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}},
			Columns:        []v1alpha1.MaskedColumns{{Names: columns, Function: v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}}},
			Predicates:     v1alpha1.PredicatesDeny,
		},
	}
}

func makeCommandRule(namespace, name string, action v1alpha1.RuleAction, matches ...v1alpha1.SQLMatch) *v1alpha1.CommandRule {
	r := &v1alpha1.CommandRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name)},
		Spec:       v1alpha1.CommandRuleSpec{TargetSelector: metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}}, Action: action},
	}
	for i := range matches {
		r.Spec.Match = append(r.Spec.Match, v1alpha1.CommandMatch{SQL: &matches[i]})
	}
	if action == v1alpha1.ActionRequireApproval {
		r.Spec.Approval = &v1alpha1.ApprovalTerms{Required: 1, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "dba"}},
			Timeout: metav1.Duration{Duration: 10 * time.Minute}, WhilePending: v1alpha1.PendingWait, InTransaction: v1alpha1.PendingReject}
	}
	return r
}

func makeInput() Input {
	return Input{
		Namespace: "shop-gate", RootNamespace: "cardea-system",
		Targets: []*v1alpha1.Target{makeTarget()}, Grants: []*v1alpha1.AccessGrant{makeGrant()}, Stores: []*v1alpha1.RecordingStore{makeStore()},
		MaskingRules: []*v1alpha1.MaskingRule{makeMaskingRule("shop-gate", "pii", "public.customers.email", "*.*.ssn")},
		CommandRules: []*v1alpha1.CommandRule{makeCommandRule("shop-gate", "destructive", v1alpha1.ActionRequireApproval,
			v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Drop", "Truncate"}}, v1alpha1.SQLMatch{Writes: v1alpha1.WritesUnfiltered})},
	}
}

func makeRequest() Request {
	return Request{Engine: "postgres", Grant: "agent", GrantUID: "grant-uid", CredentialID: "c1", Database: "orders", Client: netip.MustParseAddrPort("10.0.0.1:4711")}
}

// command returns a command of one statement for each node.
func command(nodes ...sql.Node) *Command {
	return &Command{Engine: "postgres", SQL: &sql.Facts{Known: true, Statements: len(nodes), Nodes: nodes}}
}

func (c *Command) with(change func(*sql.Facts)) *Command {
	change(c.SQL)
	return c
}

var (
	selectNode     = sql.Node{Kind: "Select", Group: sql.GroupRead}
	insertNode     = sql.Node{Kind: "Insert", Group: sql.GroupWrite}
	deleteAllNode  = sql.Node{Kind: "Delete", Group: sql.GroupWrite, Unfiltered: true}
	deleteNode     = sql.Node{Kind: "Delete", Group: sql.GroupWrite}
	dropTableNode  = sql.Node{Kind: "Drop", Group: sql.GroupDefinition, Object: "Table"}
	createTable    = sql.Node{Kind: "Create", Group: sql.GroupDefinition, Object: "Table"}
	grantNode      = sql.Node{Kind: "Grant", Group: sql.GroupPrivilege, Object: "Table"}
	vacuumNode     = sql.Node{Kind: "Vacuum", Group: sql.GroupAdministration}
	dropDatabase   = sql.Node{Kind: "Drop", Group: sql.GroupAdministration, Object: "Database"}
	setNode        = sql.Node{Kind: "Set", Group: sql.GroupSession}
	beginNode      = sql.Node{Kind: "Begin", Group: sql.GroupTransaction}
	createFunction = sql.Node{Kind: "Create", Group: sql.GroupDefinition, Object: "Function"}
)
