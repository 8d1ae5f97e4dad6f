package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RuleKind is a kind of rule that a Target can require.
// +kubebuilder:validation:Enum=MaskingRule;CommandRule
type RuleKind string

// The kinds of rules that a Target can require.
const (
	RuleKindMasking RuleKind = "MaskingRule"
	RuleKindCommand RuleKind = "CommandRule"
)

// TargetSpec says what is protected and how the proxy reaches it.
//
// +kubebuilder:validation:XValidation:rule="[has(self.postgres), has(self.kubernetes), has(self.ssh)].exists_one(x, x)",message="exactly one of postgres, kubernetes and ssh must be set"
type TargetSpec struct {
	// requires lists kinds of rules that must select this Target before it opens. Objects
	// arrive in any order, so a Target that must never be reached unmasked says
	// `requires: [MaskingRule]` and stays shut until a rule is there.
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	// +optional
	Requires []RuleKind `json:"requires,omitempty"`

	// postgres is a PostgreSQL server, version 14 to 17; 15 where a MaskingRule selects the
	// Target, since masks work with versions that were tested alone.
	// +optional
	Postgres *PostgresTarget `json:"postgres,omitempty"`

	// kubernetes is a Kubernetes API server.
	// +optional
	Kubernetes *KubernetesTarget `json:"kubernetes,omitempty"`

	// ssh is an SSH server.
	// +optional
	SSH *SSHTarget `json:"ssh,omitempty"`

	// idleTimeout ends a session in which nothing was sent for so long, for example "30m";
	// 10s to 24h, no bound without it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="idleTimeout must be between 10s and 24h, written like 30m"
	// +optional
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`

	// recording says where sessions of this Target are recorded; ConfigMaps of the gate
	// namespace with the RecordingStore's defaults without it.
	// +optional
	Recording *TargetRecording `json:"recording,omitempty"`

	// baseline adjusts the rules that ship with the product and are on for every Target.
	// +structType=atomic
	// +optional
	Baseline *Baseline `json:"baseline,omitempty"`
}

// TargetRecording says where a Target's sessions are recorded.
type TargetRecording struct {
	// storeRef names a RecordingStore of the same namespace. The Target stays shut while the
	// store is missing or not ready.
	// +required
	StoreRef ObjectName `json:"storeRef"`
}

// Baseline adjusts the shipped rules for one Target.
type Baseline struct {
	// disable lists baseline rules by name that do not apply to this Target, for example
	// "postgres-drop-database". docs/baseline.md lists them with the attack each one stops.
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Disable []string `json:"disable,omitempty"`
}

// PostgresTarget is a PostgreSQL server behind the gate.
//
// +kubebuilder:validation:XValidation:rule="[has(self.login), has(self.ephemeralRole)].exists_one(x, x)",message="exactly one of login and ephemeralRole must be set"
type PostgresTarget struct {
	// host is a DNS name or IP address that the proxy can reach, for example
	// "orders.shop.svc".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?$`
	// +required
	Host string `json:"host"`

	// port of the server; 1 to 65535.
	// +kubebuilder:default=5432
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// tls says how the proxy verifies the server.
	// +kubebuilder:default={mode: VerifyFull}
	// +optional
	TLS UpstreamTLS `json:"tls,omitzero"`

	// login is one lasting database login that only the proxy reads.
	// +optional
	Login *UpstreamLogin `json:"login,omitempty"`

	// ephemeralRole has the proxy make a role for each session, with the rights of the named
	// roles alone, and drop it afterwards. It is the recommended way: then the server's own
	// privileges hold independently of the gate.
	// +optional
	EphemeralRole *EphemeralRole `json:"ephemeralRole,omitempty"`

	// statementTimeout ends a statement that runs longer, for example "5m"; 1s to 24h, no
	// bound without it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="statementTimeout must be between 1s and 24h, written like 5m"
	// +optional
	StatementTimeout *metav1.Duration `json:"statementTimeout,omitempty"`
}

// LoginSecret names the Secret with the login that the proxy holds: that of login, or the
// administrator's of ephemeralRole. It is empty if there is neither.
func (t *PostgresTarget) LoginSecret() string {
	switch {
	case t.Login != nil:
		return t.Login.SecretRef.Name
	case t.EphemeralRole != nil:
		return t.EphemeralRole.AdminSecretRef.Name
	}
	return ""
}

// EphemeralRole says how roles for single sessions are made.
type EphemeralRole struct {
	// adminSecretRef names a Secret of type kubernetes.io/basic-auth with a login that may
	// create roles and grant those of inRoles, but need not be a superuser. It carries the
	// label `access.cardea.dev/target` with this Target's name.
	// +required
	AdminSecretRef ObjectName `json:"adminSecretRef"`

	// inRoles are the roles whose rights a session has, 1 to 16.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +required
	InRoles []string `json:"inRoles"`
}

// TLSMode says how far an upstream server's certificate is verified.
// +kubebuilder:validation:Enum=VerifyFull;VerifyCA;Disable
type TLSMode string

// The TLS modes towards an upstream server.
const (
	// TLSVerifyFull verifies the chain and the host name.
	TLSVerifyFull TLSMode = "VerifyFull"
	// TLSVerifyCA verifies the chain alone.
	TLSVerifyCA TLSMode = "VerifyCA"
	// TLSDisable uses no TLS; passwords are then sent by SCRAM only.
	TLSDisable TLSMode = "Disable"
)

// UpstreamTLS says how the proxy verifies an upstream server.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Disable' || !has(self.caRef)",message="caRef has no meaning with mode Disable"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Disable' || !has(self.clientCertRef)",message="clientCertRef has no meaning with mode Disable"
type UpstreamTLS struct {
	// mode is VerifyFull (chain and host name), VerifyCA (chain) or Disable. There is no
	// mode that encrypts without verifying.
	// +kubebuilder:default=VerifyFull
	// +optional
	Mode TLSMode `json:"mode,omitempty"`

	// caRef names the PEM bundle of the authorities that may sign the server's certificate;
	// the system's authorities without it.
	// +optional
	CARef *KeyReference `json:"caRef,omitempty"`

	// serverName is the name expected in the certificate when it differs from host.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServerName string `json:"serverName,omitempty"`

	// clientCertRef names a Secret of type kubernetes.io/tls in the same namespace with the
	// certificate that the proxy shows the server. It carries the label
	// `access.cardea.dev/target` with this Target's name.
	// +optional
	ClientCertRef *ObjectName `json:"clientCertRef,omitempty"`
}

// KeyReference names one key of a ConfigMap or Secret of the same namespace.
type KeyReference struct {
	// kind is ConfigMap or Secret.
	// +kubebuilder:validation:Enum=ConfigMap;Secret
	// +required
	Kind string `json:"kind"`

	// name of the ConfigMap or Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// key within it, for example "ca.crt".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Key string `json:"key"`
}

// UpstreamLogin is a lasting login held by the proxy.
type UpstreamLogin struct {
	// secretRef names a Secret of type kubernetes.io/basic-auth in the same namespace. The
	// Secret carries the label `access.cardea.dev/target` with this Target's name as its
	// owner's consent; without it the Target stays shut.
	// +required
	SecretRef ObjectName `json:"secretRef"`
}

// TargetStatus is what is known of a Target.
type TargetStatus struct {
	// conditions: Accepted (the references are there and every rule that selects the Target
	// compiles), UpstreamReachable (the proxy's last attempt to sign in, set by the proxy),
	// GateNamespaceClean (no foreign pods in the namespace), Ready and Stalled.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the spec's generation that the operator's conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// Target is a database, a Kubernetes API server or an SSH server that can be reached through
// the gate only.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=atgt,categories=cardea
// +kubebuilder:printcolumn:name="HOST",type=string,JSONPath=`.spec.postgres.host`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="REACHABLE",type=string,JSONPath=`.status.conditions[?(@.type=="UpstreamReachable")].status`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name is used as a label value: at most 63 characters"
type Target struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the declared target.
	// +required
	Spec TargetSpec `json:"spec"`

	// status is written by the operator and, for UpstreamReachable alone, by the proxy.
	// +optional
	Status TargetStatus `json:"status,omitzero"`
}

// TargetList is a list of Targets.
//
// +kubebuilder:object:root=true
type TargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []Target `json:"items"`
}
