package kubernetes

import (
	"net/http"
	"strings"
)

// maxHeader is the most bytes of a header's value that passes.
const maxHeader = 4 << 10

// passing are the headers of a request that reach the API server. None of them says who
// somebody is, and none governs the connection.
var passing = []string{"Accept", "Content-Type", "User-Agent", "Kubectl-Command", "Kubectl-Session"}

// returning are the headers of an answer that reach the client.
var returning = []string{
	"Audit-Id", "Cache-Control", "Content-Type", "Etag", "Retry-After", "Warning", "X-Content-Type-Options",
	"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid",
}

// headersFor returns what goes to the API server of a client's headers. It is made anew, so
// that nothing else of them does, in whatever spelling.
func headersFor(in http.Header) http.Header {
	out := http.Header{}
	for _, name := range passing {
		if v := in.Values(name); len(v) == 1 && len(v[0]) <= maxHeader {
			out.Set(name, v[0])
		} else if len(v) > 1 {
			if joined := strings.Join(v, ","); len(joined) <= maxHeader {
				out.Set(name, joined)
			}
		}
	}
	// What comes back is recorded as it is.
	out.Set("Accept-Encoding", "identity")
	return out
}

// answerHeaders copies what goes to the client of an answer's headers.
func answerHeaders(out, in http.Header) {
	for _, name := range returning {
		for _, v := range in.Values(name) {
			out.Add(name, v)
		}
	}
}
