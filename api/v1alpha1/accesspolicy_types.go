package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AccessPolicySpec says on which conditions grants to the Targets that it selects are
// admitted.
//
// A grant to a Target that policies select needs one whose subjects name the grant's; then
// every policy that names it holds, and every one without subjects: the strictest limit
// counts. Where a policy of the root namespace that selects the Target has subjects, one
// of the root namespace has to name the grant's too, so that a gate namespace can tighten
// and never loosen. A policy that does not compile shuts the Targets that it selects.
//
// +kubebuilder:validation:XValidation:rule="has(self.subjects) || has(self.limits) || has(self.requires) || has(self.approvals)",message="at least one of subjects, limits, requires and approvals must be set"
type AccessPolicySpec struct {
	// targetSelector selects Targets by label; `{}` selects all of the namespace, or of every
	// gate namespace for a policy in the root namespace.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="matchExpressions: operator must be In or NotIn with values, or Exists or DoesNotExist without"
	// +required
	TargetSelector metav1.LabelSelector `json:"targetSelector"`

	// subjects may be granted the Targets, on the conditions of this policy. A policy without
	// subjects admits nobody, and its conditions hold for whoever other policies admit. 1 to 64.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Subjects []SubjectPattern `json:"subjects,omitempty"`

	// limits are the most that a grant may be for.
	// +optional
	Limits *GrantLimits `json:"limits,omitempty"`

	// requires is what a grant and its Target must have.
	// +optional
	Requires *GrantRequirements `json:"requires,omitempty"`

	// approvals says who has to approve a grant before it begins. Where several policies ask
	// for approvals, all of them are needed, within the shortest timeout.
	// +optional
	Approvals *GrantApprovals `json:"approvals,omitempty"`
}

// GrantApprovals says who has to approve a grant.
//
// +kubebuilder:validation:XValidation:rule="has(self.allOf) || has(self.anyOf)",message="at least one of allOf and anyOf must be set"
type GrantApprovals struct {
	// allOf are quorums that are all needed, for example one of the group dba and two of the
	// group security. Somebody whom several name counts for each. 1 to 8.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +optional
	AllOf []ApprovalQuorum `json:"allOf,omitempty"`

	// anyOf are quorums of which one is enough, besides those of allOf. 1 to 8.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +optional
	AnyOf []ApprovalQuorum `json:"anyOf,omitempty"`

	// timeout is how long approvers are asked, for example "24h"; 1m to 720h. A grant that
	// nobody decided on by then is not approved.
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('720h')",message="timeout must be between 1m and 720h, written like 90m or 24h"
	// +optional
	Timeout metav1.Duration `json:"timeout,omitzero"`
}

// SubjectPattern names subjects of one kind.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'ServiceAccount') == has(self.namespaces)",message="namespaces is required for kind ServiceAccount and not allowed otherwise"
type SubjectPattern struct {
	// kind is ServiceAccount, User or Group.
	// +required
	Kind SubjectKind `json:"kind"`

	// namespaces of ServiceAccounts, by name or glob ("*" matches any run of characters), for
	// example ["shop", "team-*"]; only for kind ServiceAccount. 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// names of the subjects, by name or glob, for example ["report-agent", "*@example.com"].
	// Letter case counts. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +required
	Names []string `json:"names"`
}

// GrantLimits are the most that a grant may be for. What is not set is not limited.
//
// +kubebuilder:validation:MinProperties=1
type GrantLimits struct {
	// maxDuration is how long a grant may last, for example "8h"; 1m to 8760h. A grant with
	// expiresAt is measured from its creation, or from its start if that is later.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')",message="maxDuration must be between 1m and 8760h, written like 90m or 8h"
	// +optional
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`

	// startWithin is how long after its creation a grant must start, for example "168h"; 0s to
	// 8760h. With "0s" no grant may have a later start.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('8760h')",message="startWithin must be between 0s and 8760h, written like 168h"
	// +optional
	StartWithin *metav1.Duration `json:"startWithin,omitempty"`

	// maxSessions is how many sessions of one grant may be open at once at each replica of the
	// proxy; 1 to 1000. Where it shrinks, the newest ones beyond it end.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	MaxSessions *int32 `json:"maxSessions,omitempty"`

	// idleTimeout ends a session in which nothing was sent for so long, for example "15m"; 10s
	// to 24h. The Target's own holds where it is shorter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="idleTimeout must be between 10s and 24h, written like 15m"
	// +optional
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`

	// postgres limits grants to PostgreSQL Targets.
	// +optional
	Postgres *PostgresLimits `json:"postgres,omitempty"`

	// kubernetes limits grants to Kubernetes Targets.
	// +optional
	Kubernetes *KubernetesLimits `json:"kubernetes,omitempty"`

	// ssh limits grants to SSH Targets.
	// +optional
	SSH *SSHLimits `json:"ssh,omitempty"`
}

// PostgresLimits limit spec.postgres of grants.
//
// +kubebuilder:validation:MinProperties=1
type PostgresLimits struct {
	// access is the highest level: ReadOnly, ReadWrite or Full.
	// +optional
	Access AccessLevel `json:"access,omitempty"`

	// databases are the ones that may be granted, by name or glob. A glob in a grant must lie
	// within one of these. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Databases []string `json:"databases,omitempty"`
}

// KubernetesLimits limit spec.kubernetes of grants.
//
// +kubebuilder:validation:MinProperties=1
type KubernetesLimits struct {
	// namespaces are the ones that may be granted, by name or glob. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// secrets is the most that may be seen of Secrets: Denied, Masked or Readable.
	// +optional
	Secrets SecretsMode `json:"secrets,omitempty"`

	// exec is how far a grant may lead into containers: Denied, Commands, Gated or Raw.
	// +optional
	Exec ExecMode `json:"exec,omitempty"`
}

// SSHLimits limit spec.ssh of grants.
//
// +kubebuilder:validation:MinProperties=1
type SSHLimits struct {
	// logins are the accounts that may be granted, by name or glob. 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Logins []string `json:"logins,omitempty"`

	// channels are the ones that may be granted. 1 to 6.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	// +optional
	Channels []SSHChannel `json:"channels,omitempty"`

	// terminal is the most that a shell in a terminal may be: Gated or Raw.
	// +optional
	Terminal SSHTerminal `json:"terminal,omitempty"`
}

// GrantRequirements are what a grant and its Target must have.
//
// +kubebuilder:validation:MinProperties=1
type GrantRequirements struct {
	// recordingStores are the RecordingStores of the gate namespace, by name, of which the
	// Target must name one. 1 to 16.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	RecordingStores []string `json:"recordingStores,omitempty"`

	// deliveries are the ways in which a credential may be delivered.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +optional
	Deliveries []CredentialDelivery `json:"deliveries,omitempty"`

	// reasonPattern is a regular expression (RE2) that the grant's reason must contain, for
	// example "OPS-[0-9]+"; anchor it with ^ and $ to hold the whole reason to it. At most 256
	// characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ReasonPattern string `json:"reasonPattern,omitempty"`
}

// AccessPolicy says on which conditions grants to Targets are admitted.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=apol,categories=cardea
// +kubebuilder:printcolumn:name="TARGETS",type=integer,JSONPath=`.status.targets`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type AccessPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the declared policy.
	// +required
	Spec AccessPolicySpec `json:"spec"`

	// status is written by the operator alone.
	// +optional
	Status RuleStatus `json:"status,omitzero"`
}

// AccessPolicyList is a list of AccessPolicies.
//
// +kubebuilder:object:root=true
type AccessPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []AccessPolicy `json:"items"`
}
