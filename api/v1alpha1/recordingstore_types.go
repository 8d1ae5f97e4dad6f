package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RecordingStoreSpec says where recordings go and how much of them is kept.
//
// +kubebuilder:validation:XValidation:rule="[has(self.configMap)].exists_one(x, x)",message="exactly one of configMap must be set"
type RecordingStoreSpec struct {
	// configMap keeps recordings in immutable ConfigMaps of the gate namespace. It is applied
	// whole: server-side apply would make null of it where its last field is left out.
	// +structType=atomic
	// +optional
	ConfigMap *ConfigMapStore `json:"configMap,omitempty"`

	// retention is how long a recording is kept after its session ended, for example "720h";
	// 1h to 87600h.
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')",message="retention must be between 1h and 87600h, written like 720h"
	// +optional
	Retention metav1.Duration `json:"retention,omitzero"`

	// responses bounds how much of what came back is recorded.
	// +kubebuilder:default={maxRows: 100, maxBytes: 65536}
	// +optional
	Responses ResponseBounds `json:"responses,omitzero"`
}

// ConfigMapStore keeps recordings in ConfigMaps.
//
// +kubebuilder:validation:XValidation:rule="!has(self.retentionBytes) || self.retentionBytes < self.maxBytes",message="retentionBytes must be below maxBytes: at maxBytes no session is admitted"
type ConfigMapStore struct {
	// maxBytes is the most that recordings may take in one gate namespace, in bytes of
	// compressed content; 1 MiB to 256 MiB. Sessions that would go beyond it are refused.
	// +kubebuilder:default=67108864
	// +kubebuilder:validation:Minimum=1048576
	// +kubebuilder:validation:Maximum=268435456
	// +optional
	MaxBytes int64 `json:"maxBytes,omitempty"`

	// retentionBytes is how many bytes of compressed content the recordings of this store are
	// kept to: beyond it the oldest ones whose sessions have ended are deleted before their
	// retention is over; below maxBytes, 1 MiB to 256 MiB. Recordings of open sessions, those
	// whose sessions ended within a day, and those under legal hold stay: whoever fills the store
	// does not get rid of what was just recorded. Without it none is deleted for its size.
	// +kubebuilder:validation:Minimum=1048576
	// +kubebuilder:validation:Maximum=268435456
	// +optional
	RetentionBytes int64 `json:"retentionBytes,omitempty"`
}

// ResponseBounds bounds how much of each command's response is recorded. What is beyond is
// counted, not kept.
type ResponseBounds struct {
	// maxRows of each response; 0 to 100000.
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	// +optional
	MaxRows *int32 `json:"maxRows,omitempty"`

	// maxBytes of each response, after masking; 0 to 1 MiB.
	// +kubebuilder:default=65536
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1048576
	// +optional
	MaxBytes *int32 `json:"maxBytes,omitempty"`
}

// RecordingStoreStatus is what is known of a store.
type RecordingStoreStatus struct {
	// conditions: Ready (the store takes recordings) and Stalled.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the spec's generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// bytes is what recordings take now.
	// +optional
	Bytes int64 `json:"bytes"`

	// recordings is how many recordings there are.
	// +optional
	Recordings int32 `json:"recordings"`
}

// RecordingStore says where recordings go.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=recstore,categories=cardea
// +kubebuilder:printcolumn:name="RECORDINGS",type=integer,JSONPath=`.status.recordings`
// +kubebuilder:printcolumn:name="BYTES",type=integer,JSONPath=`.status.bytes`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type RecordingStore struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the declared store.
	// +required
	Spec RecordingStoreSpec `json:"spec"`

	// status is written by the operator alone.
	// +optional
	Status RecordingStoreStatus `json:"status,omitzero"`
}

// RecordingStoreList is a list of RecordingStores.
//
// +kubebuilder:object:root=true
type RecordingStoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []RecordingStore `json:"items"`
}
