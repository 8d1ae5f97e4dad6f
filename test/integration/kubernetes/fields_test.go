package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/proxy/masking/objects"
)

const fieldsRule = `apiVersion: access.cardea.dev/v1alpha1
kind: MaskingRule
metadata: {name: fields, namespace: gate}
spec:
  targetSelector: {}
  fields:
  - {resources: [configmaps], paths: ["data.password", binaryData]}
  - {resources: ["*.example.org"], paths: [spec.key, "spec.logins[*].password"]}
  - {resources: [pods, "*.apps"], paths: ["**.env[*].value"]}`

const vaults = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: vaults.example.org}
spec:
  group: example.org
  names: {kind: Vault, listKind: VaultList, plural: vaults, singular: vault}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    selectableFields: [{jsonPath: .spec.key}, {jsonPath: .spec.colour}]
    additionalPrinterColumns: [{name: Key, type: string, jsonPath: .spec.key}, {name: Colour, type: string, jsonPath: .spec.colour}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              key: {type: string}
              colour: {type: string}
              logins: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [password], items: {type: object, required: [password], properties: {user: {type: string}, password: {type: string}}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}`

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// made makes an object, and ends it with the test.
func made(t *testing.T, o client.Object) {
	t.Helper()
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(t.Context()), o) })
}

// G3: fields that a rule names are masked wherever an object shows them.
func TestMaskedFields(t *testing.T) {
	made(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "keeper"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"", "apps", "example.org"}, Resources: []string{"*"}, Verbs: []string{"*"}}}})
	made(t, parsed(t, vaults))
	s := &secret{name: "fields", values: []string{"q7Zx8SecretWk39aL", "Zb51OtherKq80Mn2p"}}
	made(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: s.name},
		Data: map[string]string{"password": s.values[0], "colour": "green"}, BinaryData: map[string][]byte{"b": []byte(s.values[1])}})
	vault := parsed(t, fmt.Sprintf("apiVersion: example.org/v1\nkind: Vault\nmetadata: {name: %s, namespace: shop}\nspec: {key: %s, colour: green, logins: [{user: u, password: %s}]}", s.name, s.values[0], s.values[1]))
	until(t, "vaults are served", func() bool { return admin.Create(t.Context(), vault.DeepCopy()) == nil })
	t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(t.Context()), vault) })
	template := fmt.Sprintf("{containers: [{name: c, image: i, env: [{name: A, value: %s}, {name: B, value: %s}]}]}", s.values[0], s.values[1])
	made(t, parsed(t, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop}\nspec: %s", s.name, template)))
	made(t, parsed(t, fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: shop}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: %s}}", s.name, template)))
	g := start(t, "keeper", "    exec: Raw\n", fieldsRule)
	t.Run("shown", func(t *testing.T) { fieldsShown(t, g, s) })
	t.Run("written", func(t *testing.T) { fieldsWritten(t, g, s) })
	for _, e := range g.events(t) {
		if e.Output != nil && s.leaked(e.Output.Data) != "" {
			t.Errorf("the recording holds a value: %s", e.Output.Data)
		}
	}
	t.Run("while the rule changes", func(t *testing.T) { ruleChanges(t, s) })
}

func fieldsShown(t *testing.T, g *gate, s *secret) {
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	core, custom, apps := "/api/v1/namespaces/shop/", "/apis/example.org/v1/namespaces/shop/vaults", "/apis/apps/v1/namespaces/shop/deployments/"
	for name, tc := range map[string]struct {
		path, accept string
		status       int
		want         string
	}{
		"a ConfigMap":              {core + "configmaps/" + s.name, "", 200, "green"},
		"in protobuf":              {core + "configmaps/" + s.name, runtime.ContentTypeProtobuf, 200, "green"},
		"in CBOR":                  {core + "configmaps/" + s.name, runtime.ContentTypeCBOR, 200, "green"},
		"a table of ConfigMaps":    {core + "configmaps?includeObject=Object", table, 200, objects.Text},
		"a custom resource":        {custom + "/" + s.name, "", 200, objects.Text},
		"a list of them":           {custom, "", 200, objects.Text},
		"their watch":              {custom + "?watch=1&timeoutSeconds=1", "", 200, objects.Text},
		"its status":               {custom + "/" + s.name + "/status", "", 200, objects.Text},
		"it in CBOR":               {custom + "/" + s.name, runtime.ContentTypeCBOR, 200, objects.Text},
		"it in YAML":               {custom + "/" + s.name, "application/yaml", 200, objects.Text},
		"it in protobuf":           {custom + "/" + s.name, runtime.ContentTypeProtobuf, 403, "CDA-2004"},
		"its table":                {custom, table, 200, objects.Text},
		"its table with objects":   {custom + "?includeObject=Object", table, 200, objects.Text},
		"its watch, as tables":     {custom + "?watch=1&timeoutSeconds=1", table, 200, objects.Text},
		"its watch, in CBOR":       {custom + "?watch=1&timeoutSeconds=1", runtime.ContentTypeCBOR, 200, objects.Text},
		"by a masked field":        {custom + "?fieldSelector=spec.key%3Dx", "", 403, "CDA-2004"},
		"by another field":         {custom + "?fieldSelector=spec.colour%3Dgreen", "", 200, objects.Text},
		"a pod":                    {core + "pods/" + s.name, "", 200, objects.Text},
		"a table of pods":          {core + "pods?includeObject=Object", table, 200, objects.Text},
		"pods, in protobuf":        {core + "pods", runtime.ContentTypeProtobuf, 200, objects.Text},
		"pods by node":             {core + "pods?fieldSelector=spec.nodeName%3Dnone", "", 200, "PodList"},
		"a Deployment":             {apps + s.name, "", 200, objects.Text},
		"a Deployment in protobuf": {apps + s.name, runtime.ContentTypeProtobuf, 200, objects.Text},
		"its scale":                {apps + s.name + "/scale", "", 200, "Scale"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out := g.ask(t, http.MethodGet, tc.path, "", tc.accept, "")
			if status != tc.status || !bytes.Contains(out, []byte(tc.want)) {
				t.Errorf("status %d, want %d and %q:\n%s", status, tc.status, tc.want, out)
			}
			if v := s.leaked(out); v != "" {
				t.Errorf("%s is in the answer:\n%s", v, out)
			}
		})
	}
}

func fieldsWritten(t *testing.T, g *gate, s *secret) {
	cm, vault, deployment := "/api/v1/namespaces/shop/configmaps/"+s.name, "/apis/example.org/v1/namespaces/shop/vaults/"+s.name, "/apis/apps/v1/namespaces/shop/deployments/"+s.name
	for _, tc := range []struct {
		name, method, path, form, body string
		status                         int
	}{
		{"a field beside", "PATCH", cm, "application/merge-patch+json", `{"data":{"colour":"red"}}`, 200},
		{"a mask", "PATCH", cm, "application/merge-patch+json", `{"data":{"password":"` + objects.Text + `"}}`, 403},
		{"a copy", "PATCH", cm, "application/json-patch+json", `[{"op":"copy","from":"/data/password","path":"/data/colour"}]`, 403},
		{"a move", "PATCH", vault, "application/json-patch+json", `[{"op":"move","from":"/spec/key","path":"/spec/colour"}]`, 403},
		{"a test", "PATCH", vault, "application/json-patch+json", `[{"op":"test","path":"/spec/key","value":"x"}]`, 403},
		{"what is no schema", "PATCH", vault + "?fieldValidation=Strict", "application/merge-patch+json", `{"spec":{"key":7}}`, 422},
		{"scale", "PATCH", deployment + "/scale", "application/merge-patch+json", `{"spec":{"replicas":0}}`, 200},
		{"an image", "PATCH", deployment, "application/strategic-merge-patch+json", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}}`, 200},
		{"a deletion by value", "PATCH", deployment, "application/strategic-merge-patch+json", `{"metadata":{"$deleteFromPrimitiveList/finalizers":["x"]}}`, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, out := g.ask(t, tc.method, tc.path, tc.form, "", tc.body)
			if status != tc.status {
				t.Errorf("status %d, want %d:\n%s", status, tc.status, out)
			}
			if v := s.leaked(out); v != "" {
				t.Errorf("%s is in the answer:\n%s", v, out)
			}
		})
	}
	out, err := g.kubectl("set", "env", "deployment/"+s.name, "--list")
	if err != nil || s.leaked([]byte(out)) != "" {
		t.Errorf("kubectl set env --list: %v\n%s", err, out)
	}
	now := &corev1.ConfigMap{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: s.name}, now); err != nil || now.Data["password"] != s.values[0] || now.Data["colour"] != "red" {
		t.Errorf("the ConfigMap holds %v %v", now.Data, err)
	}
}

// A watch that began before a rule ends with it, and says why.
func ruleChanges(t *testing.T, s *secret) {
	g := start(t, "keeper", "", fieldsRule)
	path := filepath.Join(g.dir, "gate.yaml")
	with, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(text string) bool {
		out, _ := g.kubectl("get", "configmap", s.name, "-o", "jsonpath={.data.password}")
		return out == text
	}
	write(t, path, strings.Replace(string(with), fieldsRule, "", 1))
	until(t, "nothing is masked", func() bool { return shows(s.values[0]) })
	c, err := kubernetes.NewForConfig(g.config)
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.CoreV1().ConfigMaps("shop").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + s.name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.ResultChan(); e.Type != "ADDED" || e.Object.(*corev1.ConfigMap).Data["password"] != s.values[0] {
		t.Fatalf("the first event is %+v", e)
	}
	write(t, path, string(with))
	until(t, "the rule is in force", func() bool { return shows(objects.Text) })
	// Each connection takes the rule when it hears of it.
	until(t, "the watch ends", func() bool {
		touch := client.RawPatch("application/merge-patch+json", []byte(`{"data":{"touched":"`+rand.Text()+`"}}`))
		if err := admin.Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: s.name}}, touch); err != nil {
			t.Fatal(err)
		}
		select {
		case e, open := <-w.ResultChan():
			if status, ok := e.Object.(*metav1.Status); ok && !strings.Contains(status.Message, "CDA-2005") {
				t.Fatalf("the watch ends with %+v", status)
			} else if ok {
				return true
			}
			if !open {
				t.Fatal("the watch ends without a reason")
			}
		default:
		}
		return false
	})
}

// What is held is asked about without its values, and is answered by the rules of when it goes on.
func TestMaskedRequestsAreHeld(t *testing.T) {
	s := newSecret(t)
	made(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: s.name}, Data: map[string]string{"password": s.values[0]}})
	const hold = `apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: ask, namespace: gate}
spec:
  targetSelector: {}
  match:
  - {kubernetes: {verbs: [patch], resources: [secrets]}}
  - {kubernetes: {verbs: [get], resources: [configmaps]}}
  action: RequireApproval
  approval: {required: 1, approvers: [{kind: Group, name: ops}], timeout: 10m, whilePending: Wait}`
	g := start(t, "writer", "    secrets: Masked\n", hold)
	seen := map[string]bool{}
	held := func(out *output, args ...string) (ended <-chan struct{}, request string) {
		ended = g.begin(t, out, args...)
		until(t, "it is held", func() bool {
			requests, err := filepath.Glob(filepath.Join(g.dir, ".approvals", "*.yaml"))
			for _, r := range requests {
				if !seen[r] {
					request, seen[r] = r, true
				}
			}
			return err == nil && request != ""
		})
		return ended, request
	}
	approve := func(request string) string {
		b, err := os.ReadFile(request)
		if err != nil {
			t.Fatal(err)
		}
		write(t, request, strings.Replace(string(b), "status:\n", "status:\n  decisions:\n  - {approver: olga, groups: [ops], decision: Approved}\n", 1))
		return string(b)
	}
	var out output
	ended, request := held(&out, "patch", "secret", s.name, "-p", `{"stringData":{"more":"`+s.values[0]+`"}}`, "-o", "yaml")
	asked := approve(request)
	<-ended
	if s.leaked([]byte(asked)) != "" || !strings.Contains(asked, "PATCH") {
		t.Errorf("the approver is asked\n%s", asked)
	}
	if s.leaked([]byte(out.String())) != "" || !strings.Contains(out.String(), "more: ") {
		t.Errorf("kubectl patch shows\n%s", out.String())
	}

	var late output
	ended, request = held(&late, "get", "configmap", s.name, "-o", "yaml")
	path := filepath.Join(g.dir, "gate.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(b)+"\n---\n"+fieldsRule)
	until(t, "the rule is in force", func() bool {
		out, _ := g.kubectl("get", "configmaps", "--field-selector", "data.password=x")
		return strings.Contains(out, "CDA-2004")
	})
	approve(request)
	<-ended
	if s.leaked([]byte(late.String())) != "" || !strings.Contains(late.String(), "CDA-") {
		t.Errorf("kubectl get shows\n%s", late.String())
	}
}
