package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SessionState is the state that an administrator wants a session to be in.
// +kubebuilder:validation:Enum=Active;Terminated
type SessionState string

// The states of SessionSpec.DesiredState.
const (
	SessionActive     SessionState = "Active"
	SessionTerminated SessionState = "Terminated"
)

// SessionSpec says who connected to what. The proxy writes it once; desiredState alone may
// change, from Active to Terminated.
//
// +kubebuilder:validation:XValidation:rule="oldSelf.desiredState != 'Terminated' || self.desiredState == 'Terminated'",message="a terminated session stays terminated"
// +kubebuilder:validation:XValidation:rule="self.grantRef == oldSelf.grantRef && self.targetRef == oldSelf.targetRef && self.subject == oldSelf.subject && self.client == oldSelf.client && self.proxy == oldSelf.proxy && self.startedAt == oldSelf.startedAt",message="only desiredState of a Session may change"
type SessionSpec struct {
	// desiredState is Active or Terminated; Terminated ends the session at once.
	// +kubebuilder:default=Active
	// +optional
	DesiredState SessionState `json:"desiredState,omitempty"`

	// grantRef is the grant in use.
	// +required
	GrantRef ObjectIdentity `json:"grantRef"`

	// targetRef is the Target.
	// +required
	TargetRef ObjectIdentity `json:"targetRef"`

	// subject that connected.
	// +required
	Subject Subject `json:"subject"`

	// client is the IP address that connected.
	// +kubebuilder:validation:MaxLength=64
	// +required
	Client string `json:"client"`

	// proxy is the pod that carries the session.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Proxy string `json:"proxy"`

	// startedAt is when the session began.
	// +required
	StartedAt metav1.MicroTime `json:"startedAt"`
}

// SessionStatus counts what a session did and says where its recording is.
type SessionStatus struct {
	// conditions: Ready, whose reason is Active, Ended or Cut (the proxy was lost and the end
	// of the recording with it).
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// endedAt is when the session ended.
	// +optional
	EndedAt *metav1.MicroTime `json:"endedAt,omitempty"`

	// endReason is why, for example ClientClosed, GrantExpired, GrantRevoked, Locked,
	// Terminated.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	EndReason string `json:"endReason,omitempty"`

	// connections is how many connections of the same client and grant the session covers:
	// short ones in quick succession share one session.
	// +optional
	Connections int64 `json:"connections,omitempty"`

	// commands counts commands by what became of them.
	// +optional
	Commands CommandCounters `json:"commands,omitzero"`

	// recording says where the recording is and how far it got.
	// +optional
	Recording SessionRecording `json:"recording,omitzero"`
}

// CommandCounters counts commands by what became of them.
type CommandCounters struct {
	// forwarded to the target.
	// +optional
	Forwarded int64 `json:"forwarded,omitempty"`

	// denied by a rule, the grant or because they could not be understood.
	// +optional
	Denied int64 `json:"denied,omitempty"`

	// held for approval, whatever the outcome.
	// +optional
	Held int64 `json:"held,omitempty"`
}

// SessionRecording says where a recording is and how far it got.
type SessionRecording struct {
	// store is the RecordingStore's name; empty for ConfigMaps without one.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Store string `json:"store,omitempty"`

	// segments is how many segments have been stored.
	// +optional
	Segments int32 `json:"segments,omitempty"`

	// digest is the SHA-256 of the last stored segment's header and content, in lower-case
	// hex; each segment holds its predecessor's.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Digest string `json:"digest,omitempty"`

	// recorder is who closed the recording: a proxy's spool, by a name that it gave itself. It is
	// set once the recording is Complete, as number is.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Recorder string `json:"recorder,omitempty"`

	// number is the place of the recording among those that its recorder closed for its store,
	// from 1 without gaps. Each holds the digest of the one before, so that a missing one is
	// noticed, for example by `kubectl access verify --all`.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Number int64 `json:"number,omitempty"`

	// state is Open, Complete or Cut.
	// +optional
	State RecordingState `json:"state,omitempty"`
}

// RecordingState says how far a recording got.
// +kubebuilder:validation:Enum=Open;Complete;Cut
type RecordingState string

// The states of a recording.
const (
	// RecordingOpen has more to come.
	RecordingOpen RecordingState = "Open"
	// RecordingComplete has been stored to its last event.
	RecordingComplete RecordingState = "Complete"
	// RecordingCut lost its end with the proxy that wrote it.
	RecordingCut RecordingState = "Cut"
)

// Session is one connection through the gate, or several short ones in quick succession.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=asess,categories=cardea
// +kubebuilder:printcolumn:name="SUBJECT",type=string,JSONPath=`.spec.subject.name`
// +kubebuilder:printcolumn:name="TARGET",type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="FORWARDED",type=integer,JSONPath=`.status.commands.forwarded`
// +kubebuilder:printcolumn:name="DENIED",type=integer,JSONPath=`.status.commands.denied`
// +kubebuilder:printcolumn:name="HELD",type=integer,JSONPath=`.status.commands.held`
// +kubebuilder:printcolumn:name="RECORDING",type=string,JSONPath=`.status.recording.state`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type Session struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says who connected to what.
	// +required
	Spec SessionSpec `json:"spec"`

	// status is written by the proxy, and by the operator for a session whose proxy is gone.
	// +optional
	Status SessionStatus `json:"status,omitzero"`
}

// SessionList is a list of Sessions.
//
// +kubebuilder:object:root=true
type SessionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []Session `json:"items"`
}
