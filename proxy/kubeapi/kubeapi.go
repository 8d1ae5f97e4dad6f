// Package kubeapi is what the gate knows of a request to a Kubernetes API server, in the
// words of RBAC. It refuses nothing itself: policy decides on it, the Kubernetes engine
// establishes it. It is pure, so that the operator can judge rules by it.
package kubeapi

import (
	"maps"
	"slices"

	"github.com/cardea-dev/cardea/proxy/shell"
)

// Facts are what is known of one request. The zero Facts are those of a request that is not
// understood. They are never changed once they are made.
type Facts struct {
	// Known says that the request means what the other fields say, and nothing else. Unknown
	// says why not, without a value of the request.
	Known   bool
	Unknown string

	// Verb is that of RBAC; for a request that is about no resource the method in lower case.
	Verb string
	// Path is set for a request that is about no resource, such as discovery. The other fields
	// are empty then.
	Path string

	Group       string // empty for the core group
	Version     string
	Resource    string
	Subresource string
	// Namespace is empty for what lies in no namespace, and for a request about all of them.
	Namespace string
	// Name is empty where the path has none: list, watch, create and deletecollection.
	Name string

	// Shell is what a request starts in a container; nil for one that starts nothing, and for an
	// exec of which it is not known.
	Shell *shell.Facts

	// Opens says that a request for a terminal becomes a gated shell: it starts no more than a
	// shell, whose lines are decided on one by one.
	Opens bool
	// Line says that Shell is a line of a gated shell. The other fields are those of the request
	// that opened it.
	Line bool

	// Sensitive says that the body or the answer may hold values of Secrets.
	Sensitive bool

	// Stream is what a request that leads into a container asks for; nil for any other.
	Stream *Stream

	// Pods is what is known of the pod that a request enters, or of the pods that will be made
	// from it; nil for one that does neither, and where nothing is known.
	Pods *Pods
}

// Pods is what is known of pods. The zero Pods are not known.
type Pods struct {
	// Known says that Escapes are all. Unknown says why not.
	Known   bool
	Unknown string
	// Escapes are the fields by which they reach out of their containers.
	Escapes []string
	// UID is that of the pod that is entered.
	UID string
}

// EntersPod reports whether a request leads into a pod that runs.
func (f *Facts) EntersPod() bool {
	return f.Is("", "pods", "exec") || f.Is("", "pods", "attach") || f.Is("", "pods", "portforward")
}

// makers are the resources from whose objects the cluster makes pods.
var makers = map[string][]string{
	"":      {"pods", "podtemplates", "replicationcontrollers"},
	"apps":  {"daemonsets", "deployments", "replicasets", "statefulsets"},
	"batch": {"cronjobs", "jobs"},
}

// Maker is a resource from whose objects the cluster makes pods.
type Maker struct{ Group, Resource string }

// String returns RESOURCE or RESOURCE.GROUP.
func (m Maker) String() string { return (&Facts{Group: m.Group, Resource: m.Resource}).Named() }

// Makers returns the resources from whose objects the cluster makes pods, in order.
func Makers() []Maker {
	var all []Maker
	for _, group := range slices.Sorted(maps.Keys(makers)) {
		for _, resource := range makers[group] {
			all = append(all, Maker{group, resource})
		}
	}
	return all
}

// MakesPods reports whether pods will be made from what a request writes.
func (f *Facts) MakesPods() bool {
	return f.Subresource == "" && slices.Contains([]string{"create", "update", "patch"}, f.Verb) && slices.Contains(makers[f.Group], f.Resource)
}

// Stream is what exec and attach ask for.
type Stream struct {
	// Container is empty for the pod's default one.
	Container string
	// Command is the argv of exec; attach has none.
	Command []string

	Stdin, Stdout, Stderr bool
	// TTY says that there is a terminal, whose output is stdout alone.
	TTY bool
}

// IsResource reports whether the request is about a resource.
func (f *Facts) IsResource() bool { return f.Resource != "" }

// Is reports whether the request is about a resource of a group, subresource included.
func (f *Facts) Is(group, resource, subresource string) bool {
	return f.Group == group && f.Resource == resource && f.Subresource == subresource
}

// Named returns the resource as rules name it: RESOURCE, RESOURCE.GROUP, each with
// /SUBRESOURCE.
func (f *Facts) Named() string {
	name := f.Resource
	if f.Group != "" {
		name += "." + f.Group
	}
	if f.Subresource != "" {
		name += "/" + f.Subresource
	}
	return name
}

// User is the user at the API server that stands for one incarnation of a grant.
func User(namespace, grant, uid string) string {
	return "cardea:grant:" + namespace + ":" + grant + ":" + uid
}
