package policy

import (
	"slices"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

const (
	groupRBAC           = "rbac.authorization.k8s.io"
	groupAdmission      = "admissionregistration.k8s.io"
	groupCertificates   = "certificates.k8s.io"
	groupAuthentication = "authentication.k8s.io"
)

// isProxy matches the subresources by which the API server passes any request on.
func isProxy(f *kubeapi.Facts) bool {
	return f.Group == "" && f.Subresource == "proxy" && slices.Contains([]string{"nodes", "services", "pods"}, f.Resource)
}

func isEphemeral(f *kubeapi.Facts) bool {
	return f.Is("", "pods", "ephemeralcontainers") && writes(f)
}

// escapes matches what enters, or makes, pods that reach out of their containers. Pods of
// which that is not known may.
func escapes(f *kubeapi.Facts) bool {
	if !f.EntersPod() && !f.MakesPods() {
		return false
	}
	return f.Pods == nil || !f.Pods.Known || len(f.Pods.Escapes) > 0
}

// mintsCredentials matches what makes a lasting identity beside the gate.
func mintsCredentials(f *kubeapi.Facts) bool {
	switch {
	case f.Is("", "serviceaccounts", "token"):
		return true
	case f.Group == groupCertificates && f.Resource == "certificatesigningrequests":
		return writes(f)
	case f.Group == groupAuthentication && f.Resource == "tokenreviews":
		return true
	}
	return false
}

// changesRights matches writes that change what anybody may do.
func changesRights(f *kubeapi.Facts) bool {
	return (f.Group == groupRBAC || f.Group == groupAdmission) && writes(f)
}

// entersNode matches requests to the kubelet by way of the API server.
func entersNode(f *kubeapi.Facts) bool {
	return f.Group == "" && f.Resource == "nodes" && f.Subresource != "" && f.Subresource != "status" && f.Subresource != "proxy"
}

func writes(f *kubeapi.Facts) bool {
	return f.Verb != "get" && f.Verb != "list" && f.Verb != "watch"
}
