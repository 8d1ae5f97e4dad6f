package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ApprovalRequestKind is what an ApprovalRequest is about.
// +kubebuilder:validation:Enum=Command;Grant
type ApprovalRequestKind string

// The kinds of requests.
const (
	// RequestCommand asks whether one command may run; the proxy makes it.
	RequestCommand ApprovalRequestKind = "Command"
	// RequestGrant asks whether a grant may begin; the operator makes it.
	RequestGrant ApprovalRequestKind = "Grant"
)

// ApprovalRequestSpec is one question to humans, about one exact command or about one grant.
// It is written once, by the proxy or the operator, and immutable.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'Command') == has(self.command) && (self.kind == 'Grant') == has(self.grant)",message="command must be set with kind Command, grant with kind Grant, and neither otherwise"
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the spec of an ApprovalRequest is immutable"
type ApprovalRequestSpec struct {
	// kind is Command or Grant.
	// +kubebuilder:default=Command
	// +optional
	Kind ApprovalRequestKind `json:"kind,omitempty"`

	// grantRef is the grant in use, or the one that is asked for.
	// +required
	GrantRef ObjectIdentity `json:"grantRef"`

	// targetRef is the Target that the command or the grant is for.
	// +required
	TargetRef ObjectIdentity `json:"targetRef"`

	// requester is the user name of the grant's subject, or "Group " and its name. It may not
	// approve.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Requester string `json:"requester"`

	// grantCreator is the user name that created the grant, empty if unknown. It may not
	// approve.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	GrantCreator string `json:"grantCreator,omitempty"`

	// reason is the grant's reason.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Reason string `json:"reason,omitempty"`

	// session that waits, for a request that holds its client; an approval is good for that
	// session alone. Empty for a request that returned an error: then any session of the
	// same grant may send the command once.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Session string `json:"session,omitempty"`

	// rule that asks for approval.
	// +required
	Rule RuleReference `json:"rule"`

	// command is what would run.
	// +optional
	Command ApprovalCommand `json:"command,omitzero"`

	// grant is what is asked for.
	// +optional
	Grant *ApprovalGrant `json:"grant,omitempty"`

	// required is how many distinct approvers must approve; for a grant the least number with
	// which its needs can be met.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8
	// +required
	Required int32 `json:"required"`

	// approvers are who may approve; 1 to 128.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +required
	Approvers []Subject `json:"approvers"`

	// expiresAt is when the request lapses unanswered.
	// +required
	ExpiresAt metav1.Time `json:"expiresAt"`
}

// ApprovalGrant is a grant that awaits approval.
type ApprovalGrant struct {
	// text is what is asked for, as YAML: subject, Target, permissions, times and reason.
	// +kubebuilder:validation:MaxLength=32768
	// +required
	Text string `json:"text"`

	// digest is the SHA-256 over what is asked for with the UIDs and generations of grant and
	// Target, in lower-case hex: what an approval is bound to.
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +required
	Digest string `json:"digest"`

	// subject of the grant. Members of a Group that asks may not approve.
	// +required
	Subject Subject `json:"subject"`

	// needs are who has to approve: each must be met. 1 to 16.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +required
	Needs []ApprovalNeed `json:"needs"`
}

// ApprovalNeed is met by one of its quorums.
type ApprovalNeed struct {
	// anyOf are quorums of which one is enough; 1 to 8.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +required
	AnyOf []ApprovalQuorum `json:"anyOf"`
}

// ApprovalQuorum is a number of distinct approvers.
type ApprovalQuorum struct {
	// required is how many of the approvers must approve; 1 to 8.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8
	// +optional
	Required int32 `json:"required,omitempty"`

	// approvers are users, groups, or ServiceAccounts that are named here. The grant's subject
	// and its creator never approve. 1 to 32.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +required
	Approvers []Subject `json:"approvers"`
}

// ApprovalCommand is the command that awaits approval and what gives it meaning.
type ApprovalCommand struct {
	// engine is the protocol, for example "postgres".
	// +kubebuilder:validation:MaxLength=32
	// +required
	Engine string `json:"engine"`

	// text is the command as written; literals that meet a masked column and passwords are
	// replaced. At most 16 KiB: a longer command cannot be approved.
	// +kubebuilder:validation:MaxLength=24576
	// +required
	Text string `json:"text"`

	// parameters are the bound values as text, masked like the command.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=4096
	// +optional
	Parameters []string `json:"parameters,omitempty"`

	// digest is the HMAC-SHA-256 over the exact bytes of the command, its parameters and its
	// context, keyed by the gate, in lower-case hex: what an approval is bound to.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:MinLength=64
	// +required
	Digest string `json:"digest"`

	// estimatedRows is how many rows the target's planner expects the command to change or
	// return; absent where it was not asked.
	// +kubebuilder:validation:Minimum=0
	// +optional
	EstimatedRows *int64 `json:"estimatedRows,omitempty"`

	// context is what gives the command its meaning, by name: database, role, searchPath.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Context map[string]ContextValue `json:"context,omitempty"`
}

// ContextValue is one value of a command's context.
// +kubebuilder:validation:MaxLength=1024
type ContextValue string

// DecisionValue is what an approver decided.
// +kubebuilder:validation:Enum=Approved;Denied
type DecisionValue string

// The decisions.
const (
	DecisionApproved DecisionValue = "Approved"
	DecisionDenied   DecisionValue = "Denied"
)

// ApprovalDecision is one approver's decision. An approver writes decision and comment;
// approver, groups and time are filled in at admission and verified against the caller.
// While the operator is down, an approver writes approver and groups out, as
// `kubectl auth whoami` shows them, and sends the earlier decisions back unchanged.
type ApprovalDecision struct {
	// approver is the user name of the caller.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Approver string `json:"approver"`

	// groups of the caller.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=512
	// +optional
	Groups []string `json:"groups,omitempty"`

	// decision is Approved or Denied. One denial decides.
	// +required
	Decision DecisionValue `json:"decision"`

	// comment for the requester, at most 1024 characters.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Comment string `json:"comment,omitempty"`

	// time of the decision.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// ApprovalRequestStatus holds the decisions and what became of them.
type ApprovalRequestStatus struct {
	// conditions: Ready, whose reason is Pending, Approved, Denied, Expired, Withdrawn or
	// Consumed; written by the operator for readers. The proxy counts decisions itself.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// decisions, one for each approver; at most 16. A decision cannot be changed.
	// +listType=map
	// +listMapKey=approver
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Decisions []ApprovalDecision `json:"decisions,omitempty"`

	// consumed is set by the proxy, once, before it forwards the command.
	// +optional
	Consumed *ApprovalConsumption `json:"consumed,omitempty"`

	// withdrawnAt is set by the proxy when the waiting client is gone, and by the operator when
	// the grant that is asked for was changed, revoked or deleted: the request can no longer be
	// used.
	// +optional
	WithdrawnAt *metav1.Time `json:"withdrawnAt,omitempty"`
}

// ApprovalConsumption says which session used an approval.
type ApprovalConsumption struct {
	// session that forwarded the command.
	// +kubebuilder:validation:MaxLength=63
	// +required
	Session string `json:"session"`

	// time at which the approval was used up.
	// +required
	Time metav1.Time `json:"time"`
}

// ApprovalRequest is one question to humans, about one exact command or one grant, and their
// decisions.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=apreq,categories=cardea
// +kubebuilder:printcolumn:name="KIND",type=string,JSONPath=`.spec.kind`
// +kubebuilder:printcolumn:name="REQUESTER",type=string,JSONPath=`.spec.requester`
// +kubebuilder:printcolumn:name="TARGET",type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="COMMAND",type=string,JSONPath=`.spec.command.text`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="UNTIL",type=string,JSONPath=`.spec.expiresAt`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type ApprovalRequest struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the question.
	// +required
	Spec ApprovalRequestSpec `json:"spec"`

	// status holds the decisions.
	// +optional
	Status ApprovalRequestStatus `json:"status,omitzero"`
}

// ApprovalRequestList is a list of ApprovalRequests.
//
// +kubebuilder:object:root=true
type ApprovalRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ApprovalRequest `json:"items"`
}
