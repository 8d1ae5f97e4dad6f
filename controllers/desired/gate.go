package desired

import (
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Labels that the operator puts on what it makes, and by which it finds it again.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// ManagedBy is the value of LabelManagedBy and the operator's field manager.
	ManagedBy = "cardea-operator"
	// PartOf is the value of LabelPartOf.
	PartOf = "cardea"

	// AnnotationProxy on the proxy's Deployment is the generation of the AccessProxy that it
	// was made from.
	AnnotationProxy = "access.cardea.dev/proxy-generation"
	// AnnotationTemplate on the proxy's Deployment is a digest of the template of its pods.
	AnnotationTemplate = "access.cardea.dev/template"
	// AnnotationIdleSince on the proxy's Deployment is when it last had something to do.
	AnnotationIdleSince = "access.cardea.dev/idle-since"
	// LabelMetrics on a Namespace lets its pods scrape the proxy.
	LabelMetrics = "metrics"
)

// Ports of the proxy.
const (
	PostgresPort   = 5432
	KubernetesPort = 6443
	SSHPort        = 2222
	MetricsPort    = 8080
)

// Gate is what the objects of one gate namespace are made from.
type Gate struct {
	Namespace     string
	RootNamespace string
	Image         string
	Replicas      int32
	// Proxy is how the proxy runs, of the AccessProxy of the given generation; zero without
	// one.
	Proxy           v1alpha1.AccessProxySpec
	ProxyGeneration int64
	// IdleSince is when the gate had nothing left to do; zero while it has.
	IdleSince time.Time
	// Secrets and ConfigMaps that the proxy may read, sorted.
	Secrets    []string
	ConfigMaps []string
	// Kubernetes says that a Target is an API server; Users are those of the open grants on this
	// cluster's, sorted.
	Kubernetes bool
	Users      []string
	// SSH says that a Target is an SSH server.
	SSH bool
	// TargetPorts are the ports of the Targets, APIServerPorts those of the API server;
	// sorted. The proxy may connect to nothing else.
	TargetPorts    []int32
	APIServerPorts []int32
}

// RootName names what belongs to a gate in the root namespace: Role and RoleBinding.
func RootName(namespace string) string { return v1alpha1.ProxyName + "-" + namespace }

// CAName names the Secret with a gate's authority in the root namespace.
func CAName(namespace string) string { return "cardea-ca-" + namespace }

// Host is the name by which clients reach a gate.
func Host(namespace string) string { return v1alpha1.ProxyName + "." + namespace + ".svc" }

// PeersHost is the name by which the replicas of a gate find each other.
func PeersHost(namespace string) string { return v1alpha1.ProxyPeersName + "." + namespace + ".svc" }

// Labels are those of every object of a gate.
func Labels(namespace string) map[string]string {
	return map[string]string{
		LabelName: v1alpha1.ProxyName, LabelPartOf: PartOf, LabelManagedBy: ManagedBy,
		v1alpha1.LabelGate: namespace,
	}
}

// Selector selects the proxy's pods within their namespace.
func Selector() map[string]string { return map[string]string{LabelName: v1alpha1.ProxyName} }
