// Package wrappers builds objects for tests: valid by default, so that a test says only
// what it is about.
package wrappers

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Grant builds an AccessGrant.
type Grant struct{ g v1alpha1.AccessGrant }

// MakeGrant begins a grant for user "ana" to Target "orders-db" for an hour, read-only on
// every database.
func MakeGrant(namespace, name string) *Grant {
	return &Grant{v1alpha1.AccessGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.AccessGrantSpec{
			Subject:   v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "ana"},
			TargetRef: v1alpha1.ObjectName{Name: "orders-db"},
			Duration:  &metav1.Duration{Duration: time.Hour},
			Reason:    "test",
			Postgres:  &v1alpha1.PostgresPermissions{Databases: []string{"*"}, Access: v1alpha1.AccessReadOnly},
		},
	}}
}

// For makes the subject a ServiceAccount.
func (w *Grant) For(namespace, name string) *Grant {
	w.g.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}
	return w
}

// ForUser makes the subject a user.
func (w *Grant) ForUser(name string) *Grant {
	w.g.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name}
	return w
}

// On sets the Target.
func (w *Grant) On(target string) *Grant {
	w.g.Spec.TargetRef.Name = target
	return w
}

// Lasting sets the duration.
func (w *Grant) Lasting(d time.Duration) *Grant {
	w.g.Spec.Duration, w.g.Spec.ExpiresAt = &metav1.Duration{Duration: d}, nil
	return w
}

// Until sets the end instead of a duration.
func (w *Grant) Until(t time.Time) *Grant {
	end := metav1.NewTime(t)
	w.g.Spec.Duration, w.g.Spec.ExpiresAt = nil, &end
	return w
}

// From sets the start.
func (w *Grant) From(t time.Time) *Grant {
	start := metav1.NewTime(t)
	w.g.Spec.StartsAt = &start
	return w
}

// Postgres sets what the grant permits.
func (w *Grant) Postgres(access v1alpha1.AccessLevel, databases ...string) *Grant {
	w.g.Spec.Postgres = &v1alpha1.PostgresPermissions{Databases: databases, Access: access}
	return w
}

// WithoutPermissions leaves out what the grant permits.
func (w *Grant) WithoutPermissions() *Grant {
	w.g.Spec.Postgres = nil
	return w
}

// SecretName sets the name of the delivered Secret.
func (w *Grant) SecretName(name string) *Grant {
	w.g.Spec.Credentials.SecretName = name
	return w
}

// TTL sets how long the grant is kept after its end.
func (w *Grant) TTL(d time.Duration) *Grant {
	w.g.Spec.TTLAfterExpired = &metav1.Duration{Duration: d}
	return w
}

// Revoked makes the grant a revoked one.
func (w *Grant) Revoked() *Grant {
	w.g.Spec.DesiredState = v1alpha1.GrantRevoked
	return w
}

// CreatedBy sets who made the grant, as admission stamps it.
func (w *Grant) CreatedBy(user string) *Grant {
	w.g.Annotations = map[string]string{v1alpha1.AnnotationCreatedBy: user}
	return w
}

// Because sets the reason.
func (w *Grant) Because(reason string) *Grant {
	w.g.Spec.Reason = reason
	return w
}

// Obj returns the grant.
func (w *Grant) Obj() *v1alpha1.AccessGrant { return w.g.DeepCopy() }

// Target builds a Target.
type Target struct{ t v1alpha1.Target }

// MakeTarget begins a PostgreSQL Target without TLS whose login is Secret "orders-login".
func MakeTarget(namespace, name string) *Target {
	return &Target{v1alpha1.Target{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.TargetSpec{Postgres: &v1alpha1.PostgresTarget{
			Host: "orders.shop.svc", Port: 5432,
			TLS:   v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSDisable},
			Login: &v1alpha1.UpstreamLogin{SecretRef: v1alpha1.ObjectName{Name: "orders-login"}},
		}},
	}}
}

// Label sets a label.
func (w *Target) Label(key, value string) *Target {
	if w.t.Labels == nil {
		w.t.Labels = map[string]string{}
	}
	w.t.Labels[key] = value
	return w
}

// Requires sets the kinds of rules that must select the Target.
func (w *Target) Requires(kinds ...v1alpha1.RuleKind) *Target {
	w.t.Spec.Requires = kinds
	return w
}

// CA makes the Target verify its server by a bundle.
func (w *Target) CA(kind, name, key string) *Target {
	w.t.Spec.Postgres.TLS = v1alpha1.UpstreamTLS{
		Mode: v1alpha1.TLSVerifyFull, CARef: &v1alpha1.KeyReference{Kind: kind, Name: name, Key: key},
	}
	return w
}

// Login sets the Secret with the login.
func (w *Target) Login(secret string) *Target {
	w.t.Spec.Postgres.Login.SecretRef.Name = secret
	return w
}

// Store sets the RecordingStore.
func (w *Target) Store(name string) *Target {
	w.t.Spec.Recording = &v1alpha1.TargetRecording{StoreRef: v1alpha1.ObjectName{Name: name}}
	return w
}

// Obj returns the Target.
func (w *Target) Obj() *v1alpha1.Target { return w.t.DeepCopy() }

// MakeMaskingRule returns a rule that masks every column "email" of the Targets selected.
func MakeMaskingRule(namespace, name string, selector metav1.LabelSelector) *v1alpha1.MaskingRule {
	return &v1alpha1.MaskingRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MaskingRuleSpec{
			TargetSelector: selector,
			Columns: []v1alpha1.MaskedColumns{{
				Names: []string{"*.*.email"}, Function: v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}},
			}},
		},
	}
}

// MakeCommandRule returns a rule that denies DROP on the Targets selected.
func MakeCommandRule(namespace, name string, selector metav1.LabelSelector) *v1alpha1.CommandRule {
	return &v1alpha1.CommandRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.CommandRuleSpec{
			TargetSelector: selector,
			Match:          []v1alpha1.CommandMatch{{SQL: &v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Drop"}}}},
			Action:         v1alpha1.ActionDeny,
		},
	}
}

// MakeStore returns a RecordingStore in ConfigMaps.
func MakeStore(namespace, name string, maxBytes int64, retention time.Duration) *v1alpha1.RecordingStore {
	return &v1alpha1.RecordingStore{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.RecordingStoreSpec{
			ConfigMap: &v1alpha1.ConfigMapStore{MaxBytes: maxBytes},
			Retention: metav1.Duration{Duration: retention},
		},
	}
}

// MakeSession returns a session of a grant on a pod.
func MakeSession(namespace, name, pod string, started time.Time) *v1alpha1.Session {
	return &v1alpha1.Session{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.SessionSpec{
			GrantRef:  v1alpha1.ObjectIdentity{Name: "g", UID: "u"},
			TargetRef: v1alpha1.ObjectIdentity{Name: "orders-db", UID: "u"},
			Subject:   v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "ana"},
			Client:    "192.0.2.1", Proxy: pod, StartedAt: metav1.NewMicroTime(started),
		},
	}
}

// MakeApprovalRequest returns a request that group "dba" may approve.
func MakeApprovalRequest(namespace, name string, expires time.Time) *v1alpha1.ApprovalRequest {
	return &v1alpha1.ApprovalRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.ApprovalRequestSpec{
			GrantRef:  v1alpha1.ObjectIdentity{Name: "g", UID: "u"},
			TargetRef: v1alpha1.ObjectIdentity{Name: "orders-db", UID: "u"},
			Requester: "ana",
			Rule:      v1alpha1.RuleReference{Kind: "CommandRule", Namespace: namespace, Name: "destructive"},
			Command: v1alpha1.ApprovalCommand{
				Engine: "postgres", Text: "DELETE FROM orders",
				Digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			},
			Required:  1,
			Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "dba"}},
			ExpiresAt: metav1.NewTime(expires),
		},
	}
}

// Policy builds an AccessPolicy.
type Policy struct{ p v1alpha1.AccessPolicy }

// MakePolicy begins a policy for every Target that names nobody: user "ana" is the subject
// of a grant by default, see Naming.
func MakePolicy(namespace, name string) *Policy {
	return &Policy{v1alpha1.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}}
}

// Selecting sets the label that selects Targets.
func (w *Policy) Selecting(key, value string) *Policy {
	w.p.Spec.TargetSelector.MatchLabels = map[string]string{key: value}
	return w
}

// Naming adds ServiceAccounts, by globs.
func (w *Policy) Naming(namespace, name string) *Policy {
	w.p.Spec.Subjects = append(w.p.Spec.Subjects, v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{namespace}, Names: []string{name}})
	return w
}

// NamingUsers adds users, by globs.
func (w *Policy) NamingUsers(names ...string) *Policy {
	w.p.Spec.Subjects = append(w.p.Spec.Subjects, v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectUser, Names: names})
	return w
}

// AtMost limits how long a grant lasts.
func (w *Policy) AtMost(d time.Duration) *Policy {
	w.limits().MaxDuration = &metav1.Duration{Duration: d}
	return w
}

// Sessions limits how many sessions of a grant are open at once.
func (w *Policy) Sessions(n int32) *Policy {
	w.limits().MaxSessions = &n
	return w
}

// ApprovedBy adds a quorum of groups, which is needed besides others.
func (w *Policy) ApprovedBy(required int32, groups ...string) *Policy {
	q := v1alpha1.ApprovalQuorum{Required: required}
	for _, g := range groups {
		q.Approvers = append(q.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: g})
	}
	return w.Quorum(q)
}

// Quorum adds a quorum, which is needed besides others.
func (w *Policy) Quorum(q v1alpha1.ApprovalQuorum) *Policy {
	if w.p.Spec.Approvals == nil {
		w.p.Spec.Approvals = &v1alpha1.GrantApprovals{Timeout: metav1.Duration{Duration: time.Hour}}
	}
	w.p.Spec.Approvals.AllOf = append(w.p.Spec.Approvals.AllOf, q)
	return w
}

// Within sets how long approvers are asked.
func (w *Policy) Within(d time.Duration) *Policy {
	w.p.Spec.Approvals.Timeout.Duration = d
	return w
}

func (w *Policy) limits() *v1alpha1.GrantLimits {
	if w.p.Spec.Limits == nil {
		w.p.Spec.Limits = &v1alpha1.GrantLimits{}
	}
	return w.p.Spec.Limits
}

// Obj returns the policy.
func (w *Policy) Obj() *v1alpha1.AccessPolicy { return w.p.DeepCopy() }
