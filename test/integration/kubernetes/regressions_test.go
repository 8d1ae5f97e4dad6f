package kubernetes

import (
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// forged are headers that say who somebody is.
var forged = []string{"Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scopes", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes"}

// send sends a request over HTTP/1.1 as it is, with the grant's certificate.
func (g *gate) send(t *testing.T, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	secure, err := rest.TLSConfigFor(g.config)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: secure, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(g.config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// CVE-2021-31999 (Rancher), capsule-proxy #188, kubectl-rexec #171: who a request is from is
// the gate's to say. That a header is named in Connection, so that a proxy drops the right one
// and leaves the client's, changes nothing.
func TestForgedIdentity(t *testing.T) {
	g := start(t, "writer", "")
	for name, connection := range map[string]string{"plain": "", "named in Connection": strings.Join(forged, ", "), "named with others": "keep-alive, Authorization, " + strings.ToLower(strings.Join(forged, ","))} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
			for _, f := range forged {
				header[f] = []string{"system:masters"}
			}
			if connection != "" {
				header.Set("Connection", connection)
			}
			code, said := g.send(t, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`, header)
			if code != http.StatusCreated || !strings.Contains(said, `"username":"`+g.user+`"`) || strings.Contains(said, "system:masters") {
				t.Errorf("%d, %s", code, said)
			}
		})
	}
}

// CVE-2026-63329: identity is taken from a client's upgrade neither. A user who may only read
// is asked for.
func TestForgedIdentityInWebSocket(t *testing.T) {
	g := start(t, "reader", "    exec: Raw\n")
	before := node.reached.Load()
	header := http.Header{}
	for _, f := range forged {
		header[f] = []string{"system:masters"}
	}
	c, answer, err := dial(t, g, "command=id&stdout=true", header)
	if err != nil {
		t.Fatalf("%v, %+v", err, answer)
	}
	var said []byte
	for {
		_, m, err := c.ReadMessage()
		if err != nil {
			break
		}
		said = append(said, m...)
	}
	if !strings.Contains(string(said), g.user) || !strings.Contains(string(said), "cannot create resource") || strings.Contains(string(said), "system:masters") {
		t.Errorf("the client is told %s", said)
	}
	if n := node.reached.Load() - before; n != 0 {
		t.Errorf("%d requests reached the kubelet", n)
	}
}

// Kubernetes #78741: exec by GET is exec, upgraded or not, and whoever may only get it may not.
// TestStreamsRefused has it over WebSocket.
func TestExecByGet(t *testing.T) {
	for exec, want := range map[string]string{"Denied": "CDA-1006", "Raw": "need an upgrade"} {
		g := start(t, "reader", "    exec: "+exec+"\n")
		before := node.reached.Load()
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if code, said := g.send(t, method, "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=true", "", http.Header{}); code < 400 || !strings.Contains(said, want) {
				t.Errorf("%s with exec %s: %d, %s", method, exec, code, said)
			}
		}
		if n := node.reached.Load() - before; n != 0 {
			t.Errorf("%d requests reached the kubelet", n)
		}
	}
}

// An ephemeral container is no way into a pod, by whatever patch.
func TestEphemeralContainers(t *testing.T) {
	g := start(t, "writer", "    exec: Raw\n")
	patch := `{"spec":{"ephemeralContainers":[{"name":"e","image":"i"}]}}`
	for form, body := range map[string]string{
		"application/strategic-merge-patch+json": patch, "application/merge-patch+json": patch,
		"application/json-patch+json":  `[{"op":"add","path":"/spec/ephemeralContainers","value":[{"name":"e","image":"i"}]}]`,
		"application/apply-patch+yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {ephemeralContainers: [{name: e, image: i}]}",
	} {
		if code, said := g.send(t, http.MethodPatch, "/api/v1/namespaces/shop/pods/web/ephemeralcontainers?fieldManager=x", body, http.Header{"Content-Type": {form}}); code != http.StatusForbidden || !strings.Contains(said, "kubernetes-ephemeral-containers") {
			t.Errorf("%s: %d, %s", form, code, said)
		}
	}
	if out, err := g.kubectl("debug", "web", "--image=i", "--profile=general"); err == nil || !strings.Contains(out, "kubernetes-ephemeral-containers") {
		t.Errorf("kubectl debug: %v, %s", err, out)
	}
	p := &corev1.Pod{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, p); err != nil || len(p.Spec.EphemeralContainers) > 0 {
		t.Errorf("the pod has %v, %v", p.Spec.EphemeralContainers, err)
	}
}

// A pod is looked at in whatever form it is sent, and one whose form is in doubt is refused.
func TestPodsInYAML(t *testing.T) {
	g := start(t, "writer", "")
	// The API server takes the first document alone, and so does the gate.
	const first = "two documents, the first harmless"
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: escapes, namespace: shop}\nspec:\n  hostPID: true\n  containers: [{name: c, image: i}]\n"
	for name, tc := range map[string]struct {
		body string
		form []string
	}{
		"YAML":                         {text, []string{"application/yaml"}},
		"YAML with a parameter":        {text, []string{"application/yaml; charset=utf-8"}},
		"YAML that is said to be JSON": {text, []string{"application/json"}},
		"YAML of no form":              {text, nil},
		"YAML of a form in doubt":      {text, []string{"application/yaml", "application/json"}},
		"YAML of another form":         {text, []string{"text/yaml"}},
		first:                          {"---\napiVersion: v1\nkind: Pod\nmetadata: {name: escapes}\nspec: {containers: [{name: c, image: i}]}\n---\n" + text, []string{"application/yaml"}},
		"an anchor":                    {strings.Replace(text, "  hostPID: true\n", "  <<: &a {hostPID: true}\n", 1), []string{"application/yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tc.form != nil {
				header["Content-Type"] = tc.form
			}
			code, said := g.send(t, http.MethodPost, "/api/v1/namespaces/shop/pods", tc.body, header)
			if (code < 400) != (name == first) {
				t.Errorf("%d, %s", code, said)
			}
			p := &corev1.Pod{}
			err := admin.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "escapes"}, p)
			if p.Spec.HostPID || err == nil && name != first {
				t.Errorf("a pod was made: %+v", p.Spec)
			}
			if err == nil {
				err = admin.Delete(t.Context(), p, client.GracePeriodSeconds(0))
			}
			if client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "pod.yaml")
	write(t, path, text)
	if out, err := g.kubectl("create", "--validate=false", "-f", path); err == nil || !strings.Contains(out, "kubernetes-privileged-pods") {
		t.Errorf("kubectl create: %v, %s", err, out)
	}
}
