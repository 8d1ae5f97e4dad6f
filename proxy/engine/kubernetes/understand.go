package kubernetes

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
	"github.com/cardea-dev/cardea/proxy/shell"
)

// infos parses requests as the API server does.
var infos = &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

// streaming are the subresources of pods that lead into containers. Whatever the method, a
// request for one is its use.
var streaming = []string{"exec", "attach", "portforward"}

// understood is one request, and what is known of it.
type understood struct {
	facts *kubeapi.Facts
	// path and query as they are passed on; the query is encoded anew.
	path, query string

	// plan says what is masked of the answer, and form how the client takes it; nil for nothing.
	plan *objects.Plan
	form form
	// secret says that the answer may hold values of Secrets that are not masked.
	secret bool
}

// uri is what is shown of the request's URL.
func (u *understood) uri() string {
	shown := (&url.URL{Path: u.path}).EscapedPath()
	if u.query != "" {
		shown += "?" + u.query
	}
	return shown
}

// instead is a request for another stream of the same container.
func (u *understood) instead(s *kubeapi.Stream) *understood {
	return &understood{facts: u.facts, path: u.path, query: streamQuery(s).Encode()}
}

// understand establishes what is known of a request. What the API server could read in another
// way is unknown.
func understand(r *http.Request, body []byte) *understood {
	u := &understood{path: r.URL.Path}
	query, why := plain(r)
	if why != "" {
		u.facts = &kubeapi.Facts{Unknown: why}
		return u
	}
	u.query = query.Encode()
	// RequestInfo reads what is passed on, not what came.
	info, err := infos.NewRequestInfo(&http.Request{Method: r.Method, URL: &url.URL{Path: u.path, RawQuery: u.query}})
	if err != nil || info == nil {
		u.facts = &kubeapi.Facts{Unknown: "its path is no path of the Kubernetes API"}
		return u
	}
	if !info.IsResourceRequest {
		u.facts = &kubeapi.Facts{Known: true, Verb: info.Verb, Path: info.Path}
		return u
	}
	u.facts = resourceFacts(info)
	if u.facts.Known && u.facts.Subresource == "portforward" && len(query) > 0 {
		u.facts = &kubeapi.Facts{Unknown: "it names ports in an old way"}
		return u
	}
	if u.facts.Known && isStream(u.facts) && u.facts.Subresource != "portforward" {
		stream, why := streamOf(u.facts.Subresource, query)
		if why != "" {
			u.facts = &kubeapi.Facts{Unknown: why}
			return u
		}
		u.facts.Stream = stream
		if u.facts.Subresource == "exec" {
			u.facts.Shell = shell.Argv(stream.Command)
		}
		u.query = streamQuery(stream).Encode()
	}
	if u.facts.MakesPods() {
		u.facts.Pods = podsIn(u.facts, headersFor(r.Header).Get("Content-Type"), body)
	}
	return u
}

func resourceFacts(info *request.RequestInfo) *kubeapi.Facts {
	switch {
	case info.Resource == "" || !slices.Contains([]string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}, info.Verb):
		return &kubeapi.Facts{Unknown: "its method does not go with its path"}
	case strings.HasPrefix(info.Path, "/"+info.APIPrefix+"/") && viaPrefix(info):
		return &kubeapi.Facts{Unknown: "the path prefixes watch and proxy are not carried"}
	case len(info.Parts) > 3 && info.Subresource != "proxy":
		return &kubeapi.Facts{Unknown: "its path goes on after the subresource"}
	}
	f := &kubeapi.Facts{
		Known: true, Verb: info.Verb, Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource,
		Subresource: info.Subresource, Namespace: info.Namespace, Name: info.Name,
	}
	if isStream(f) {
		f.Verb = "create"
	}
	f.Sensitive = f.Group == "" && (f.Resource == "secrets" || f.Resource == "serviceaccounts" && f.Subresource == "token")
	return f
}

// isStream reports whether a request leads into a container.
func isStream(f *kubeapi.Facts) bool {
	return f.Group == "" && f.Resource == "pods" && slices.Contains(streaming, f.Subresource)
}

// viaPrefix reports whether the path has its verb in it, as in /api/v1/watch/pods.
func viaPrefix(info *request.RequestInfo) bool {
	rest := strings.Split(strings.Trim(info.Path, "/"), "/")
	at := 2
	if info.APIGroup != "" {
		at = 3
	}
	return len(rest) > at && (rest[at] == "watch" || rest[at] == "proxy")
}

// plain returns the parameters of a request that can be read in one way only, or why it cannot.
func plain(r *http.Request) (url.Values, string) {
	u := r.URL
	switch {
	case !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, r.Method):
		return nil, "its method is none of the Kubernetes API"
	case u.Host != "" || u.Scheme != "" || u.Opaque != "" || u.User != nil:
		return nil, "its URL names a server"
	case u.RawPath != "" || !strings.HasPrefix(u.Path, "/") || path.Clean(u.Path) != u.Path || strings.ContainsFunc(u.Path, odd):
		return nil, "its path is not written in the usual form"
	case r.Header.Get("Upgrade") != "" && !isStreamPath(u.Path):
		return nil, "it asks for an upgrade of what is no stream"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, "its parameters cannot be read"
	}
	for name, values := range query {
		if len(values) > 1 && name != "command" {
			return nil, "it has a parameter twice"
		}
	}
	return query, ""
}

func isStreamPath(p string) bool { return slices.Contains(streaming, path.Base(p)) }

// odd are characters that no name in a path has, and that somebody could take for something
// else.
func odd(r rune) bool {
	return r < 0x21 || r > 0x7e || strings.ContainsRune(`%\;?#"<>`, r)
}
