package kubernetes

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

const harmless = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i","securityContext":{"capabilities":{"add":["NET_BIND_SERVICE"]}}}]}}}}`

// encoded returns a Deployment of a JSON text in another form.
func encoded(t *testing.T, media, text string) string {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := json.Unmarshal([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
	if !ok {
		t.Fatal("no serializer of " + media)
	}
	var b bytes.Buffer
	if err := scheme.Codecs.EncoderForVersion(info.Serializer, appsv1.SchemeGroupVersion).Encode(d, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What reaches out of its container is found in every form of a body, and what is in no form
// that is understood is not known.
func TestPodsIn(t *testing.T) {
	with := func(field string) string {
		return strings.Replace(harmless, `{"containers"`, `{`+field+`,"containers"`, 1)
	}
	for name, tc := range map[string]struct {
		verb, media, body string
		known             bool
		want              string // one escape
	}{
		"harmless":              {"create", "application/json", harmless, true, ""},
		"no media type":         {"create", "", with(`"hostPID":true`), true, "hostPID"},
		"JSON":                  {"update", "application/json; charset=utf-8", with(`"hostNetwork":true`), true, "hostNetwork"},
		"JSON twice":            {"create", "application/json", strings.Replace(with(`"hostIPC":true`), `"hostIPC":true`, `"hostIPC":false,"hostIPC":true`, 1), true, "hostIPC"},
		"YAML":                  {"create", "application/yaml", encoded(t, "application/yaml", with(`"hostPID":true`)), true, "hostPID"},
		"protobuf":              {"create", "application/vnd.kubernetes.protobuf", encoded(t, "application/vnd.kubernetes.protobuf", with(`"hostPID":true`)), true, "hostPID"},
		"protobuf, harmless":    {"create", "application/vnd.kubernetes.protobuf", encoded(t, "application/vnd.kubernetes.protobuf", harmless), true, ""},
		"CBOR":                  {"create", "application/cbor", encoded(t, "application/cbor", with(`"hostPID":true`)), true, "hostPID"},
		"privileged":            {"create", "", strings.Replace(harmless, `"capabilities":`, `"privileged":true,"capabilities":`, 1), true, "a privileged container"},
		"a capability":          {"create", "", strings.Replace(harmless, `NET_BIND_SERVICE`, `CAP_sys_admin`, 1), true, "capability CAP_sys_admin"},
		"all capabilities":      {"create", "", strings.Replace(harmless, `NET_BIND_SERVICE`, `ALL`, 1), true, "capability ALL"},
		"an init container":     {"create", "", with(`"initContainers":[{"name":"i","securityContext":{"privileged":true}}]`), true, "a privileged container"},
		"a hostPath":            {"create", "", with(`"volumes":[{"name":"v","hostPath":{"path":"/"}}]`), true, "a hostPath volume"},
		"another kind":          {"create", "", `{"apiVersion":"v1","kind":"ConfigMap"}`, false, ""},
		"a list":                {"create", "", `{"apiVersion":"v1","kind":"List","items":[]}`, false, ""},
		"another media type":    {"create", "text/plain", harmless, false, ""},
		"a media type in doubt": {"create", "application/json,application/yaml", harmless, false, ""},
		"no body":               {"create", "", "", false, ""},
		"half a body":           {"create", "", harmless[:40], false, ""},
		"a merge patch":         {"patch", "application/merge-patch+json", `{"spec":{"template":{"spec":{"hostPID":true}}}}`, true, "hostPID"},
		"a harmless one":        {"patch", "application/merge-patch+json", `{"spec":{"replicas":3}}`, true, ""},
		"of another kind":       {"patch", "application/merge-patch+json", `{"kind":"ConfigMap","apiVersion":"v1","spec":{"template":{"spec":{"hostPID":true}}}}`, true, "hostPID"},
		"a strategic patch":     {"patch", "application/strategic-merge-patch+json", `{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"name":"c","securityContext":{"privileged":true}}]}}}}`, true, "a privileged container"},
		"apply":                 {"patch", "application/apply-patch+yaml", "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {hostPID: true}}}\n", true, "hostPID"},
		"apply in CBOR":         {"patch", "application/apply-patch+cbor", "\xd9\xd9\xf7\xa0", false, ""},
		"a patch of nothing":    {"patch", "application/merge-patch+json", `[]`, false, ""},
		"no kind of patch":      {"patch", "application/json", `{}`, false, ""},
		"JSON Patch":            {"patch", "application/json-patch+json", `[{"op":"replace","path":"/spec/replicas","value":2},{"op":"add","path":"/metadata/annotations/a~1b","value":"c"},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"i"}]`, true, ""},
		"JSON Patch of a pod":   {"patch", "application/json-patch+json", `[{"op":"add","path":"/spec/template/spec/hostPID","value":true}]`, false, ""},
		"JSON Patch of all":     {"patch", "application/json-patch+json", `[{"op":"replace","path":"","value":{}}]`, false, ""},
		"JSON Patch of context": {"patch", "application/json-patch+json", `[{"op":"add","path":"/spec/template/spec/containers/0/securityContext","value":{"privileged":true}}]`, false, ""},
		"JSON Patch that hides": {"patch", "application/json-patch+json", `[{"op":"add","path":"/spec/template/spec/hostPID","Path":"/spec/replicas","value":true}]`, false, ""},
		"JSON Patch that copies": {"patch", "application/json-patch+json",
			`[{"op":"copy","from":"/spec/template/spec/containers/0/args","path":"/spec/template/spec/containers/0/env"}]`, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := podsIn(&kubeapi.Facts{Known: true, Verb: tc.verb, Group: "apps", Version: "v1", Resource: "deployments", Namespace: "shop"}, tc.media, []byte(tc.body))
			if p.Known != tc.known || p.Known == (p.Unknown != "") || strings.Join(p.Escapes, ", ") != tc.want {
				t.Errorf("%+v", p)
			}
		})
	}
}

// Every resource from which pods are made is looked into.
func TestPodsOfEveryMaker(t *testing.T) {
	const spec = `{"hostPID":true}`
	for name, body := range map[string]string{
		"/pods": `{"spec":` + spec + `}`, "/podtemplates": `{"template":{"spec":` + spec + `}}`, "/replicationcontrollers": `{"spec":{"template":{"spec":` + spec + `}}}`,
		"apps/daemonsets": `{"spec":{"template":{"spec":` + spec + `}}}`, "apps/deployments": `{"spec":{"template":{"spec":` + spec + `}}}`, "apps/replicasets": `{"spec":{"template":{"spec":` + spec + `}}}`,
		"apps/statefulsets": `{"spec":{"template":{"spec":` + spec + `}}}`, "batch/jobs": `{"spec":{"template":{"spec":` + spec + `}}}`,
		"batch/cronjobs": `{"spec":{"jobTemplate":{"spec":{"template":{"spec":` + spec + `}}}}}`,
	} {
		group, resource, _ := strings.Cut(name, "/")
		f := &kubeapi.Facts{Known: true, Verb: "create", Group: group, Version: "v1", Resource: resource, Namespace: "shop"}
		if p := podsIn(f, "", []byte(body)); !f.MakesPods() || len(p.Escapes) != 1 {
			t.Errorf("%s: %+v", name, p)
		}
		f.Version = "v9"
		if p := podsIn(f, "", []byte(body)); p.Known {
			t.Errorf("%s of another version: %+v", name, p)
		}
	}
}

func TestEscapesOfEphemeralContainers(t *testing.T) {
	privileged := true
	c := corev1.EphemeralContainer{}
	c.SecurityContext = &corev1.SecurityContext{Privileged: &privileged}
	if found := escapesOf(&corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{c}}); len(found) != 1 {
		t.Errorf("found %v", found)
	}
}
