package v1alpha1

// Labels and annotations that carry meaning.
const (
	// LabelAcceptFrom on a Namespace lets the gate namespace it names deliver credentials
	// into that Namespace.
	LabelAcceptFrom = "access.cardea.dev/accept-from"
	// LabelTarget on a Secret is its owner's consent that the Target it names signs in
	// upstream with it; on objects of the product it names the Target.
	LabelTarget = "access.cardea.dev/target"
	// LabelGate names the gate namespace that an object in another namespace belongs to.
	LabelGate = "access.cardea.dev/gate"
	// LabelGrant names the AccessGrant that an object belongs to.
	LabelGrant = "access.cardea.dev/grant"
	// LabelGrantUID is the UID of the AccessGrant that an object belongs to.
	LabelGrantUID = "access.cardea.dev/grant-uid"
	// LabelSession names the Session that a recording's ConfigMap belongs to.
	LabelSession = "access.cardea.dev/session"
	// LabelSegment is the index of a recording's segment.
	LabelSegment = "access.cardea.dev/segment"
	// LabelLegalHold on a Session keeps it and its recording, on a RecordingStore all
	// recordings of that store, beyond any retention. Its value is for people. Removing it takes
	// the verb release on the object.
	LabelLegalHold = "access.cardea.dev/legal-hold"
	// AnnotationCreatedBy is stamped on an AccessGrant at admission with its creator's user
	// name.
	AnnotationCreatedBy = "access.cardea.dev/created-by"
)

// Names of objects that the operator makes in each gate namespace.
const (
	// ProxyName names the proxy's Deployment, Service, ServiceAccount, Role, RoleBinding,
	// NetworkPolicy and PodDisruptionBudget.
	ProxyName = "cardea-proxy"
	// ProxyPeersName names the headless Service by which the replicas of a gate find each
	// other.
	ProxyPeersName = "cardea-proxy-peers"
	// ProxyTLSName names the Secret with the proxy's serving certificate and the ConfigMap
	// with the authority that signed it and the clients' certificates.
	ProxyTLSName = "cardea-proxy-tls"
	// RecordingPrefix begins the names of ConfigMaps that hold recordings.
	RecordingPrefix = "cardea-rec-"
)

// Condition types.
const (
	ConditionReady             = "Ready"
	ConditionStalled           = "Stalled"
	ConditionAccepted          = "Accepted"
	ConditionApproved          = "Approved"
	ConditionCredentialIssued  = "CredentialIssued"
	ConditionProxyReady        = "ProxyReady"
	ConditionActive            = "Active"
	ConditionUpstreamReachable = "UpstreamReachable"
	ConditionGateClean         = "GateNamespaceClean"
	ConditionSecretsReachable  = "SecretsReachable"
)

// Condition reasons, shared with events.
const (
	ReasonAccepted          = "Accepted"
	ReasonActive            = "Active"
	ReasonApproved          = "Approved"
	ReasonConsentMissing    = "ConsentMissing"
	ReasonConsumed          = "Consumed"
	ReasonCredentialIssued  = "CredentialIssued"
	ReasonCredentialRemoved = "CredentialRemoved"
	ReasonCut               = "Cut"
	ReasonDenied            = "Denied"
	ReasonEnded             = "Ended"
	ReasonExpired           = "Expired"
	ReasonForeignPods       = "ForeignPods"
	ReasonRecordingDeleted  = "RecordingDeleted"
	ReasonFull              = "Full"
	ReasonIdle              = "Idle"
	ReasonInvalid           = "Invalid"
	ReasonNamespaceRefuses  = "NamespaceRefuses"
	ReasonOtherCluster      = "OtherCluster"
	ReasonPending           = "Pending"
	ReasonPolicyViolated    = "PolicyViolated"
	ReasonProgressing       = "Progressing"
	ReasonReachable         = "Reachable"
	ReasonReady             = "Ready"
	ReasonReferenceMissing  = "ReferenceMissing"
	ReasonRevoked           = "Revoked"
	ReasonRuleInvalid       = "RuleInvalid"
	ReasonRuleMissing       = "RuleMissing"
	ReasonScheduled         = "Scheduled"
	ReasonSecretConflict    = "SecretConflict"
	ReasonTargetMissing     = "TargetMissing"
	ReasonTargetNotReady    = "TargetNotReady"
	ReasonUnanswered        = "Unanswered"
	ReasonUnreachable       = "Unreachable"
	ReasonWithdrawn         = "Withdrawn"
)

// SecretTypePostgres is the type of a delivered PostgreSQL credential, with the keys of the
// Service Binding specification.
const SecretTypePostgres = "servicebinding.io/postgresql"

// SecretTypeKubernetes is the type of a delivered Kubernetes credential, whose key
// `kubeconfig` is all that a client needs.
const SecretTypeKubernetes = "access.cardea.dev/kubernetes"

// SecretTypeSSH is the type of a delivered SSH credential, whose key `config` is all that ssh
// needs besides the files that it names.
const SecretTypeSSH = "access.cardea.dev/ssh"
