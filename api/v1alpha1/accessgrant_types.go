package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GrantState is the state that an administrator wants a grant to be in.
// +kubebuilder:validation:Enum=Active;Revoked
type GrantState string

// The states of AccessGrantSpec.DesiredState.
const (
	GrantActive  GrantState = "Active"
	GrantRevoked GrantState = "Revoked"
)

// AccessGrantSpec says who may reach which Target, with which permissions, from
// when, until when and why.
//
// +kubebuilder:validation:XValidation:rule="[has(self.expiresAt), has(self.duration)].exists_one(x, x)",message="exactly one of expiresAt and duration must be set"
// +kubebuilder:validation:XValidation:rule="self.subject == oldSelf.subject",message="subject is immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="self.targetRef == oldSelf.targetRef",message="targetRef is immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="has(self.startsAt) == has(oldSelf.startsAt) && (!has(self.startsAt) || self.startsAt == oldSelf.startsAt)",message="startsAt is immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="has(self.postgres) == has(oldSelf.postgres) && (!has(self.postgres) || self.postgres == oldSelf.postgres)",message="permissions are immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="has(self.kubernetes) == has(oldSelf.kubernetes) && (!has(self.kubernetes) || self.kubernetes == oldSelf.kubernetes)",message="permissions are immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="has(self.ssh) == has(oldSelf.ssh) && (!has(self.ssh) || self.ssh == oldSelf.ssh)",message="permissions are immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="[has(self.postgres), has(self.kubernetes), has(self.ssh)].filter(x, x).size() <= 1",message="at most one of postgres, kubernetes and ssh may be set: a grant is for one Target"
// +kubebuilder:validation:XValidation:rule="self.credentials == oldSelf.credentials",message="credentials is immutable: make a new grant"
// +kubebuilder:validation:XValidation:rule="has(self.expiresAt) == has(oldSelf.expiresAt) && (!has(self.expiresAt) || self.expiresAt <= oldSelf.expiresAt)",message="expiresAt may only move to an earlier time: make a new grant"
// +kubebuilder:validation:XValidation:rule="has(self.duration) == has(oldSelf.duration) && (!has(self.duration) || duration(self.duration) <= duration(oldSelf.duration))",message="duration may only shrink: make a new grant"
// +kubebuilder:validation:XValidation:rule="oldSelf.desiredState != 'Revoked' || self.desiredState == 'Revoked'",message="a revoked grant stays revoked: make a new grant"
// +kubebuilder:validation:XValidation:rule="!has(self.startsAt) || !has(self.expiresAt) || self.startsAt < self.expiresAt",message="startsAt must be before expiresAt"
// +kubebuilder:validation:XValidation:rule="self.subject.kind != 'Group'",message="a Group needs delivery by Exchange, which this version does not offer: name a ServiceAccount or a User"
type AccessGrantSpec struct {
	// subject is who may use the grant: a ServiceAccount or a User. Immutable.
	// +required
	Subject Subject `json:"subject"`

	// targetRef names a Target of the same namespace. Immutable.
	// +required
	TargetRef ObjectName `json:"targetRef"`

	// startsAt is when the grant begins, RFC 3339; at once without it. Immutable.
	// +optional
	StartsAt *metav1.Time `json:"startsAt,omitempty"`

	// expiresAt is when the grant ends, RFC 3339. It may only move to an earlier time.
	// Prefer it in Git: a grant that is deleted and applied again does not start anew.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// duration is how long the grant lasts from the moment it is approved (or from startsAt,
	// if that is later), for example "1h"; at most 8760h. It may only shrink.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('8760h')",message="duration must be more than 0s and at most 8760h, written like 90m or 1h30m"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`

	// reason says why, for approvers and auditors, for example "monthly report, OPS-1423";
	// 1 to 1024 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Reason string `json:"reason"`

	// postgres is what the grant permits on a PostgreSQL Target. A grant without the block
	// that fits its Target permits nothing. Immutable.
	// +optional
	Postgres *PostgresPermissions `json:"postgres,omitempty"`

	// kubernetes is what the grant permits on a Kubernetes Target. Immutable.
	// +optional
	Kubernetes *KubernetesPermissions `json:"kubernetes,omitempty"`

	// ssh is what the grant permits on an SSH Target. Immutable.
	// +optional
	SSH *SSHPermissions `json:"ssh,omitempty"`

	// credentials says how the subject receives its credential. Immutable.
	// +kubebuilder:default={delivery: Secret}
	// +optional
	Credentials GrantCredentials `json:"credentials,omitzero"`

	// desiredState is Active or Revoked. Revoked is final: it ends live sessions at once and
	// cannot be taken back, so that no tool restores access.
	// +kubebuilder:default=Active
	// +optional
	DesiredState GrantState `json:"desiredState,omitempty"`

	// ttlAfterExpired, if set, is how long an expired or revoked grant is kept before the
	// operator deletes it, for example "720h"; 0s to 87600h. Without it the grant stays, so
	// that Git does not mint it again.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('87600h')",message="ttlAfterExpired must be between 0s and 87600h, written like 720h"
	// +optional
	TTLAfterExpired *metav1.Duration `json:"ttlAfterExpired,omitempty"`
}

// AccessLevel is how much a grant permits on a database.
// +kubebuilder:validation:Enum=ReadOnly;ReadWrite;Full
type AccessLevel string

// The access levels, each including the one before.
const (
	// AccessReadOnly permits statements that read, and the session's own settings.
	AccessReadOnly AccessLevel = "ReadOnly"
	// AccessReadWrite permits changing rows too.
	AccessReadWrite AccessLevel = "ReadWrite"
	// AccessFull permits definitions and administration too, as far as rules and the upstream
	// login allow.
	AccessFull AccessLevel = "Full"
)

// PostgresPermissions is what a grant permits on a PostgreSQL Target.
type PostgresPermissions struct {
	// databases that may be opened, by name or glob ("*" matches any run of characters), for
	// example ["orders", "report_*"]; 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +required
	Databases []string `json:"databases"`

	// access is ReadOnly, ReadWrite or Full. It is enforced by classifying each statement;
	// the upstream login's own privileges are the second barrier.
	// +kubebuilder:default=ReadOnly
	// +optional
	Access AccessLevel `json:"access,omitempty"`
}

// CredentialDelivery is how a subject receives its credential.
// +kubebuilder:validation:Enum=Secret
type CredentialDelivery string

// The ways of delivery.
const (
	// DeliverySecret writes an expiring credential into a Secret.
	DeliverySecret CredentialDelivery = "Secret"
)

// GrantCredentials says how the subject receives its credential.
type GrantCredentials struct {
	// delivery is Secret: the operator keeps one Secret with an expiring credential, in the
	// subject's namespace for a ServiceAccount and beside the grant for a User. The subject's
	// Namespace must carry the label `access.cardea.dev/accept-from` with the gate namespace's
	// name.
	// +kubebuilder:default=Secret
	// +optional
	Delivery CredentialDelivery `json:"delivery,omitempty"`

	// secretName is the name of that Secret; "cardea-" and the grant's name without it.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// mountPath is where the subject's pods mount the Secret; the uri in it points to the
	// CA certificate there.
	// +kubebuilder:default="/var/run/cardea"
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9._/-]+$`
	// +optional
	MountPath string `json:"mountPath,omitempty"`
}

// AccessGrantStatus is what became of a grant.
type AccessGrantStatus struct {
	// conditions: Accepted, Approved, CredentialIssued, ProxyReady, Active, Ready and Stalled;
	// on a Kubernetes Target SecretsReachable, which warns and forbids nothing: True where the
	// role leads to values of Secrets, masked or not, through pods that the grant writes or enters.
	// Ready means settled: Active, Expired and Revoked are Ready=True with that reason; Denied
	// and Invalid are Ready=False with Stalled=True.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the spec's generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// approvedAt is when the grant was approved; duration counts from here.
	// +optional
	ApprovedAt *metav1.Time `json:"approvedAt,omitempty"`

	// approval is what became of asking for approval, where policies want one.
	// +optional
	Approval *GrantApproval `json:"approval,omitempty"`

	// startsAt is when the grant begins.
	// +optional
	StartsAt *metav1.Time `json:"startsAt,omitempty"`

	// expiresAt is when the grant ends.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// secretRef is where the credential lies.
	// +optional
	SecretRef *NamespacedName `json:"secretRef,omitempty"`

	// verifiers are what the proxy checks a credential against: at most the current one and
	// the one before it, while a rotation overlaps. Nothing in them admits anybody.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=2
	// +optional
	Verifiers []CredentialVerifier `json:"verifiers,omitempty"`
}

// GrantApprovalOutcome is what became of asking for approval.
// +kubebuilder:validation:Enum=Pending;Approved;Denied;Unanswered
type GrantApprovalOutcome string

// The outcomes.
const (
	ApprovalPending    GrantApprovalOutcome = "Pending"
	ApprovalApproved   GrantApprovalOutcome = "Approved"
	ApprovalDenied     GrantApprovalOutcome = "Denied"
	ApprovalUnanswered GrantApprovalOutcome = "Unanswered"
)

// GrantApproval is what became of asking for approval of a grant.
type GrantApproval struct {
	// request names the ApprovalRequest, which is kept for a day after it lapsed.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Request string `json:"request"`

	// digest is what was asked for, as in the request: a grant that is changed, or whose Target
	// is, is asked for anew.
	// +kubebuilder:validation:MaxLength=64
	// +required
	Digest string `json:"digest"`

	// outcome is Pending, Approved, Denied or Unanswered.
	// +required
	Outcome GrantApprovalOutcome `json:"outcome"`

	// decisions that were counted. The proxy counts them again, by what policies want now.
	// +listType=map
	// +listMapKey=approver
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Decisions []ApprovalDecision `json:"decisions,omitempty"`
}

// NamespacedName names an object in another namespace.
type NamespacedName struct {
	// namespace of the object.
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace"`

	// name of the object.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// CredentialVerifier is what the proxy checks one credential against.
type CredentialVerifier struct {
	// id tells credentials of one grant apart, in logs and recordings too.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +required
	ID string `json:"id"`

	// scramSHA256 is the verifier of the 256-bit password in the form that PostgreSQL keeps:
	// SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY (RFC 5803).
	// +kubebuilder:validation:MaxLength=256
	// +optional
	SCRAMSHA256 string `json:"scramSHA256,omitempty"`

	// certificateSHA256 is the SHA-256 of the client certificate in DER, in lower-case hex.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	CertificateSHA256 string `json:"certificateSHA256,omitempty"`

	// sshCertificateSHA256 is the SHA-256 of the OpenSSH certificate as it is sent, in
	// lower-case hex; of grants on SSH Targets.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	SSHCertificateSHA256 string `json:"sshCertificateSHA256,omitempty"`

	// notBefore is when the credential begins.
	// +required
	NotBefore metav1.Time `json:"notBefore"`

	// expiresAt is when the credential ends.
	// +required
	ExpiresAt metav1.Time `json:"expiresAt"`
}

// AccessGrant lets one subject reach one Target until a time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=agrant,categories=cardea
// +kubebuilder:printcolumn:name="SUBJECT",type=string,JSONPath=`.spec.subject.name`
// +kubebuilder:printcolumn:name="TARGET",type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="EXPIRES",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name is the user name at the gate and a label value: at most 63 characters"
type AccessGrant struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the declared grant.
	// +required
	Spec AccessGrantSpec `json:"spec"`

	// status is written by the operator alone.
	// +optional
	Status AccessGrantStatus `json:"status,omitzero"`
}

// AccessGrantList is a list of AccessGrants.
//
// +kubebuilder:object:root=true
type AccessGrantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []AccessGrant `json:"items"`
}
