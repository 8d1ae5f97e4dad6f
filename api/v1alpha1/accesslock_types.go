package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AccessLockSpec says what is shut. Fields that are set must all match; a lock in the root
// namespace covers every gate namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.targetSelector) || has(self.grantSelector) || has(self.subjects)",message="at least one of targetSelector, grantSelector and subjects must be set; targetSelector: {} locks everything"
type AccessLockSpec struct {
	// targetSelector matches Targets by label; `{}` matches all.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="matchExpressions: operator must be In or NotIn with values, or Exists or DoesNotExist without"
	// +optional
	TargetSelector *metav1.LabelSelector `json:"targetSelector,omitempty"`

	// grantSelector matches AccessGrants by label; `{}` matches all.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="matchExpressions: operator must be In or NotIn with values, or Exists or DoesNotExist without"
	// +optional
	GrantSelector *metav1.LabelSelector `json:"grantSelector,omitempty"`

	// subjects matches grants by their subject.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Subjects []Subject `json:"subjects,omitempty"`

	// reason is shown to the clients that are cut, for example "incident 4711"; at most 512
	// characters.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Reason string `json:"reason,omitempty"`
}

// AccessLock shuts everything it matches and cuts live sessions, for as long as it exists.
// A lock needs no operator: the proxy acts on it by itself.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=alock,categories=cardea
// +kubebuilder:printcolumn:name="REASON",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type AccessLock struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what is shut.
	// +required
	Spec AccessLockSpec `json:"spec"`
}

// AccessLockList is a list of AccessLocks.
//
// +kubebuilder:object:root=true
type AccessLockList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []AccessLock `json:"items"`
}
