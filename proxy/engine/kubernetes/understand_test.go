package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/shell"
)

func TestUnderstand(t *testing.T) {
	for request, want := range map[string]kubeapi.Facts{
		"GET /api/v1/namespaces/shop/pods":            {Known: true, Verb: "list", Version: "v1", Resource: "pods", Namespace: "shop"},
		"GET /api/v1/namespaces/shop/pods?watch=true": {Known: true, Verb: "watch", Version: "v1", Resource: "pods", Namespace: "shop"},
		"DELETE /apis/apps/v1/namespaces/shop/deployments/web": {
			Known: true, Verb: "delete", Group: "apps", Version: "v1", Resource: "deployments", Namespace: "shop", Name: "web"},
		// kubernetes #78741: exec by GET is exec.
		"GET /api/v1/namespaces/shop/pods/x/exec?command=id&stdout=1&stderr=true&tty=true": {
			Known: true, Verb: "create", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "x",
			Shell: shell.Argv([]string{"id"}), Stream: &kubeapi.Stream{Command: []string{"id"}, Stdout: true, TTY: true}},
		"POST /api/v1/namespaces/shop/pods/x/attach?container=c&stdin=true": {
			Known: true, Verb: "create", Version: "v1", Resource: "pods", Subresource: "attach", Namespace: "shop", Name: "x",
			Stream: &kubeapi.Stream{Container: "c", Stdin: true}},
		"GET /api/v1/namespaces/shop/secrets/s": {
			Known: true, Verb: "get", Version: "v1", Resource: "secrets", Namespace: "shop", Name: "s", Sensitive: true},
		"GET /version": {Known: true, Verb: "get", Path: "/version"},
	} {
		method, target, _ := strings.Cut(request, " ")
		if diff := cmp.Diff(&want, understand(httptest.NewRequest(method, target, nil), nil).facts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", request, diff)
		}
	}
}

// What somebody could read in another way is unknown, and so denied.
func TestUnknownRequests(t *testing.T) {
	for name, request := range map[string]string{
		"a slash that is encoded":       "GET /api/v1/namespaces/shop%2Fpods/x",
		"a segment that is encoded":     "GET /api/v1/namespaces/%2e%2e/pods",
		"a segment of dots":             "GET /api/v1/namespaces/shop/../bank/pods",
		"a slash twice":                 "GET /api/v1//namespaces/shop/pods",
		"a slash at the end":            "GET /api/v1/namespaces/shop/pods/",
		"a semicolon in the parameters": "GET /api/v1/namespaces/shop/pods?watch=0;watch=1",
		"a parameter twice":             "GET /api/v1/namespaces/shop/pods?watch=0&watch=1",
		"the verb in the path":          "GET /api/v1/watch/namespaces/shop/pods",
		"the old proxy":                 "GET /api/v1/proxy/namespaces/shop/pods/x",
		"more after the subresource":    "GET /api/v1/namespaces/shop/pods/x/log/y",
		"a method of its own":           "PURGE /api/v1/namespaces/shop/pods",
		"exec of nothing":               "POST /api/v1/namespaces/shop/pods/x/exec?stdout=true",
		"exec of an empty name":         "POST /api/v1/namespaces/shop/pods/x/exec?stdout=true&command=",
		"exec of a zero byte":           "POST /api/v1/namespaces/shop/pods/x/exec?stdout=true&command=a%00b",
		"exec without streams":          "POST /api/v1/namespaces/shop/pods/x/exec?command=id",
		"exec with more":                "POST /api/v1/namespaces/shop/pods/x/exec?stdout=true&command=id&user=root",
		"exec in a maybe terminal":      "POST /api/v1/namespaces/shop/pods/x/exec?stdout=true&command=id&tty=yes",
		"exec in another path":          "POST /api/v1/namespaces/shop/pods/x/exec?stdout=true&command=id&container=../c",
		"attach with a command":         "POST /api/v1/namespaces/shop/pods/x/attach?stdout=true&command=id",
		"a tunnel":                      "TRACE /api/v1/namespaces/shop/pods",
	} {
		t.Run(name, func(t *testing.T) {
			method, target, _ := strings.Cut(request, " ")
			if f := understand(httptest.NewRequest(method, target, nil), nil).facts; f.Known || f.Unknown == "" {
				t.Errorf("%s is understood as %+v", request, f)
			}
		})
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/shop/pods", nil)
	r.Header.Set("Upgrade", "websocket")
	if f := understand(r, nil).facts; f.Known {
		t.Errorf("an upgrade of a list is understood as %+v", f)
	}
}

// CVE-2021-31999, capsule-proxy #188, kubectl-rexec #171: nothing that says who somebody is
// passes, in whatever spelling.
func TestHeadersThatPass(t *testing.T) {
	in := http.Header{}
	for _, name := range []string{"Authorization", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scopes",
		"X-Remote-User", "X-Remote-Group", "X-Remote-Extra-A", "X-Forwarded-For", "Connection", "Upgrade", "X-Http-Method-Override", "Cookie"} {
		in.Set(name, "x")
	}
	in["impersonate-user"], in["X-REMOTE-USER"] = []string{"admin"}, []string{"admin"}
	in.Set("Accept", "application/json")
	want := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}}
	if diff := cmp.Diff(want, headersFor(in)); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}
