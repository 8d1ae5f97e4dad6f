package v1alpha1

import "k8s.io/apimachinery/pkg/types"

// ObjectName names an object of a known kind in the same namespace.
type ObjectName struct {
	// name of the object, for example "orders-db".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// ObjectIdentity names one incarnation of an object: a deleted and recreated
// object of the same name is another one.
type ObjectIdentity struct {
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// uid of the object.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	UID types.UID `json:"uid"`

	// generation of the object's spec that was in force.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// SubjectKind says what kind of identity a Subject names.
// +kubebuilder:validation:Enum=ServiceAccount;User;Group
type SubjectKind string

// The kinds of a Subject.
const (
	SubjectServiceAccount SubjectKind = "ServiceAccount"
	SubjectUser           SubjectKind = "User"
	SubjectGroup          SubjectKind = "Group"
)

// Subject names an identity as Kubernetes RBAC does.
//
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' ? has(self.__namespace__) : !has(self.__namespace__)",message="namespace is required for a ServiceAccount and not allowed otherwise"
type Subject struct {
	// kind is ServiceAccount, User or Group.
	// +required
	Kind SubjectKind `json:"kind"`

	// namespace of the ServiceAccount; only for kind ServiceAccount.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// name of the ServiceAccount, user or group, for example "report-agent".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// Username returns the name under which the API server knows the subject; the
// empty string for a Group, which is no single user.
func (s Subject) Username() string {
	switch s.Kind {
	case SubjectServiceAccount:
		return "system:serviceaccount:" + s.Namespace + ":" + s.Name
	case SubjectUser:
		return s.Name
	case SubjectGroup:
	}
	return ""
}

// RuleReference names the rule behind a decision.
type RuleReference struct {
	// kind of the rule: CommandRule, MaskingRule, AccessGrant, or Baseline for a rule that
	// ships with the product.
	// +kubebuilder:validation:MaxLength=63
	// +required
	Kind string `json:"kind"`

	// namespace of the rule; empty for a baseline rule.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// name of the rule.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}
