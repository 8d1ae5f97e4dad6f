package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AccessProxyDefault is the only name that an AccessProxy may have.
const AccessProxyDefault = "default"

// AccessProxySpec says how the proxy of a gate namespace runs.
type AccessProxySpec struct {
	// replicas is how many proxies run while there is something to do; 1 to 10, what the
	// operator was installed with if it is not set. Nothing runs while nothing is to be done.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// resources of each proxy; what is not set is 50m of CPU and 64Mi of memory requested, and
	// 512Mi of memory at most.
	// +structType=atomic
	// +optional
	Resources *ProxyResources `json:"resources,omitempty"`

	// exposure says from where clients reach the gate; from within the cluster if it is not
	// set.
	// +structType=atomic
	// +optional
	Exposure *ProxyExposure `json:"exposure,omitempty"`

	// drain is how long sessions may go on when a proxy is stopped, for example "5m"; 0s to
	// 1h, "30s" if it is not set.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('1h')",message="drain must be between 0s and 1h, written like 5m"
	// +optional
	Drain *metav1.Duration `json:"drain,omitempty"`

	// scheduling says on which nodes proxies run.
	// +structType=atomic
	// +optional
	Scheduling *ProxyScheduling `json:"scheduling,omitempty"`
}

// ProxyResources are the resources of one proxy.
type ProxyResources struct {
	// requests is what a node must have free.
	// +optional
	Requests *ResourceAmounts `json:"requests,omitempty"`

	// limits is the most that a proxy may use.
	// +optional
	Limits *ResourceAmounts `json:"limits,omitempty"`
}

// ResourceAmounts are amounts of what a proxy uses.
type ResourceAmounts struct {
	// cpu, for example "500m".
	// +optional
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// memory, for example "256Mi"; at least 64Mi is sensible.
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// ExposureType is a type of Service.
// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
type ExposureType string

// The types of Service that a gate can have.
const (
	ExposureClusterIP    ExposureType = "ClusterIP"
	ExposureNodePort     ExposureType = "NodePort"
	ExposureLoadBalancer ExposureType = "LoadBalancer"
)

// ProxyExposure says from where clients reach the gate.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sourceRanges) || (has(self.type) && self.type == 'LoadBalancer')",message="sourceRanges has a meaning with type LoadBalancer alone"
type ProxyExposure struct {
	// type of the Service: ClusterIP (from within the cluster), NodePort or LoadBalancer.
	// +kubebuilder:default=ClusterIP
	// +optional
	Type ExposureType `json:"type,omitempty"`

	// hostnames are further names by which clients reach the gate, for example
	// "db.example.com"; its certificate has them too.
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`
	// +optional
	Hostnames []string `json:"hostnames,omitempty"`

	// sourceRanges are the networks from which a load balancer takes clients, for example
	// "192.0.2.0/24"; all of them if none is named.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network, written like 192.0.2.0/24"
	// +optional
	SourceRanges []string `json:"sourceRanges,omitempty"`

	// annotations of the Service, for the load balancer.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(self[k]) <= 1024)",message="a value may have at most 1024 characters"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ProxyScheduling says on which nodes proxies run. They are spread over nodes and zones in
// any case, as well as that is possible.
type ProxyScheduling struct {
	// nodeSelector are labels that a node must have.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations are taints of nodes that do not keep proxies away.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Tolerations []ProxyToleration `json:"tolerations,omitempty"`

	// priorityClassName names the PriorityClass of the pods.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// ProxyToleration tolerates one taint, as the toleration of a pod does.
//
// +kubebuilder:validation:XValidation:rule="has(self.key) || (has(self.operator) && self.operator == 'Exists')",message="operator must be Exists where no key is set"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || !has(self.operator) || self.operator == 'Equal'",message="value has a meaning with operator Equal alone"
type ProxyToleration struct {
	// key of the taint; all keys if it is not set, and operator is Exists.
	// +kubebuilder:validation:MaxLength=317
	// +optional
	Key string `json:"key,omitempty"`

	// operator is Equal or Exists.
	// +kubebuilder:validation:Enum=Equal;Exists
	// +kubebuilder:default=Equal
	// +optional
	Operator string `json:"operator,omitempty"`

	// value of the taint.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Value string `json:"value,omitempty"`

	// effect of the taint; all effects if it is not set.
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	// +optional
	Effect string `json:"effect,omitempty"`
}

// AccessProxyStatus is what is known of the proxy of a gate namespace.
type AccessProxyStatus struct {
	// conditions: Ready, with the reasons Ready (every replica takes sessions), Idle (nothing
	// is to be done and no proxy runs), Progressing, and Invalid (the namespace is no gate).
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the spec's generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is how many proxies run.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`

	// readyReplicas is how many proxies take sessions.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
}

// AccessProxy says how the proxy of its namespace runs. There is at most one, with the name
// default; a gate needs none.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=accessproxies,shortName=aproxy,categories=cardea
// +kubebuilder:printcolumn:name="REPLICAS",type=integer,JSONPath=`.status.replicas`
// +kubebuilder:printcolumn:name="READY",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="the name must be default: a gate namespace has one proxy"
type AccessProxy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is how the proxy runs.
	// +optional
	Spec AccessProxySpec `json:"spec,omitzero"`

	// status is written by the operator alone.
	// +optional
	Status AccessProxyStatus `json:"status,omitzero"`
}

// AccessProxyList is a list of AccessProxies.
//
// +kubebuilder:object:root=true
type AccessProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []AccessProxy `json:"items"`
}
