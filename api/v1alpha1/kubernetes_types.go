package v1alpha1

// KubernetesTarget is a Kubernetes API server behind the gate.
type KubernetesTarget struct {
	// roles are what grants may name. Whoever writes the list must be allowed to bind each of
	// them. 1 to 16.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +required
	Roles []RoleReference `json:"roles"`

	// server is the API server of another cluster; this cluster's without it. In another
	// cluster the operator binds no roles: its administrator binds them to the user
	// "cardea:grant:NAMESPACE:NAME:UID" of a grant.
	// +optional
	Server *KubernetesServer `json:"server,omitempty"`
}

// KubernetesServer is the API server of another cluster.
type KubernetesServer struct {
	// url of the API server, for example "https://10.0.0.1:6443": https, a host, and a port if
	// it is not 443; no path.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^https://[A-Za-z0-9.:_\[\]-]+$`
	// +required
	URL string `json:"url"`

	// caRef names the PEM bundle of the authorities that may sign the server's certificate;
	// the system's authorities without it.
	// +optional
	CARef *KeyReference `json:"caRef,omitempty"`

	// credentialRef names a Secret of the same namespace with what the proxy proves its
	// identity by: of type kubernetes.io/tls a client certificate, of type Opaque a bearer
	// token under the key "token". It carries the label `access.cardea.dev/target` with this
	// Target's name. The identity must be allowed to impersonate the users of the grants, and
	// should be allowed nothing else.
	// +required
	CredentialRef ObjectName `json:"credentialRef"`
}

// RoleKind is a kind of RBAC role.
// +kubebuilder:validation:Enum=Role;ClusterRole
type RoleKind string

// The kinds of roles.
const (
	// RoleKindRole is a Role of the namespace that a grant names.
	RoleKindRole RoleKind = "Role"
	// RoleKindClusterRole is a ClusterRole, granted in the namespaces that a grant names.
	RoleKindClusterRole RoleKind = "ClusterRole"
)

// RoleReference names an RBAC role.
type RoleReference struct {
	// kind is Role or ClusterRole. A Role is looked up in each namespace that a grant names.
	// +required
	Kind RoleKind `json:"kind"`

	// name of the role, for example "view".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^/%]+$`
	// +required
	Name string `json:"name"`
}

// ExecMode is how far a grant lets its holder into containers.
// +kubebuilder:validation:Enum=Denied;Commands;Gated;Raw
type ExecMode string

// The modes of exec.
const (
	// ExecDenied refuses exec and attach.
	ExecDenied ExecMode = "Denied"
	// ExecCommands permits exec without a terminal: each command is decided on.
	ExecCommands ExecMode = "Commands"
	// ExecGated permits shells in a terminal too, of which each line is decided on.
	ExecGated ExecMode = "Gated"
	// ExecRaw permits terminals and attach too: recorded, and not understood.
	ExecRaw ExecMode = "Raw"
)

// SecretsMode is what a grant lets its holder see of Secrets.
// +kubebuilder:validation:Enum=Denied;Masked;Readable
type SecretsMode string

// The modes of Secrets.
const (
	// SecretsDenied refuses every request about Secrets.
	SecretsDenied SecretsMode = "Denied"
	// SecretsMasked lets the grant's role decide, and masks every value.
	SecretsMasked SecretsMode = "Masked"
	// SecretsReadable lets the grant's role decide.
	SecretsReadable SecretsMode = "Readable"
)

// KubernetesPermissions is what a grant permits on a Kubernetes Target, within what its role
// permits.
type KubernetesPermissions struct {
	// namespaces in which the role is granted, by exact name, for example ["shop"]; 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Namespaces []string `json:"namespaces"`

	// roleRef is the role that is granted: one of the Target's.
	// +required
	RoleRef RoleReference `json:"roleRef"`

	// secrets is Denied (every request about Secrets is refused, whatever the role permits),
	// Masked (what the role permits, with every value masked and the keys shown) or Readable.
	// +kubebuilder:default=Denied
	// +optional
	Secrets SecretsMode `json:"secrets,omitempty"`

	// exec is Denied, Commands (no terminal), Gated (also a shell in a terminal, whose lines are
	// decided on one by one, as commands are) or Raw (terminals and attach too: recorded, and
	// not understood). The role must permit it too.
	// +kubebuilder:default=Denied
	// +optional
	Exec ExecMode `json:"exec,omitempty"`

	// ports of pods that may be forwarded, for example [8080]; none without it. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	// +optional
	Ports []int32 `json:"ports,omitempty"`
}

// KubernetesMatch matches requests to a Kubernetes API; fields that are set must all hold. It
// stands in rules that refuse, hold or mark: what is permitted is the role's to say.
//
// +kubebuilder:validation:XValidation:rule="has(self.verbs) || has(self.resources) || has(self.namespaces) || has(self.names)",message="at least one of verbs, resources, namespaces and names must be set"
type KubernetesMatch struct {
	// verbs matches the verbs of RBAC, for example [delete, deletecollection]. exec, attach and
	// port-forward are `create` of a subresource.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:Pattern=`^[a-z]+$`
	// +optional
	Verbs []string `json:"verbs,omitempty"`

	// resources matches resources by globs: RESOURCE of the core group, RESOURCE.GROUP, each
	// with /SUBRESOURCE, for example ["pods/exec", "deployments.apps", "*.example.org"]. A
	// resource without a subresource does not match its subresources; "*" matches everything.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	Resources []string `json:"resources,omitempty"`

	// namespaces matches the namespace of a request by globs.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// names matches the name of an object by globs. Where the request does not name it, in a
	// list, a deletecollection or a create, the rule applies.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	Names []string `json:"names,omitempty"`
}
