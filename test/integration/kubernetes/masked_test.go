package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/proxy/masking/objects"
)

// secret is a Secret in namespace shop whose values are found in whatever holds them.
type secret struct {
	name   string
	values []string
}

func newSecret(t *testing.T) *secret {
	t.Helper()
	s := &secret{name: "s" + strings.ToLower(rand.Text()[:8]), values: []string{rand.Text(), rand.Text()}}
	applied := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":"shop"},"data":{"password":%q},"stringData":{"token":%q}}`,
		s.name, base64.StdEncoding.EncodeToString([]byte(s.values[0])), s.values[1])
	o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: s.name, Labels: map[string]string{"of": "masked"},
		Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: applied, "tool/original": applied}},
		StringData: map[string]string{"password": s.values[0], "token": s.values[1]}}
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(t.Context()), o) })
	return s
}

// leaked returns the value that something holds, in any of the usual forms.
func (s *secret) leaked(out []byte) string {
	for _, v := range s.values {
		forms := []string{v, hex.EncodeToString([]byte(v)), strings.ToLower(v)}
		for offset := range 3 {
			e := base64.StdEncoding.EncodeToString(append(make([]byte, offset), v...))
			forms = append(forms, e[4:len(e)-4])
		}
		for _, f := range forms {
			if bytes.Contains(out, []byte(f)) || bytes.Contains(bytes.ToLower(out), []byte(strings.ToLower(v))) {
				return v
			}
		}
	}
	return ""
}

// ask sends a request with the grant's certificate, as it is written.
func (g *gate) ask(t *testing.T, method, path, contentType, accept, body string) (status int, answer []byte) {
	t.Helper()
	c, err := rest.HTTPClientFor(g.config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(g.config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "gzip, zstd")
	for name, v := range map[string]string{"Accept": accept, "Content-Type": contentType} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	answer, err = io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	_ = a.Header.Write(&head)
	return a.StatusCode, append(head.Bytes(), answer...)
}

// G3: no form in which the API server shows a Secret shows its values, whatever is asked and
// written; nor does the recording.
func TestMaskedSecrets(t *testing.T) {
	g := start(t, "writer", "    secrets: Masked\n")
	var all []*secret
	for name, test := range map[string]func(*testing.T, *gate, *secret){
		"in every form": maskedInEveryForm, "written": maskedAndWritten, "by kubectl": maskedForKubectl, "by client-go": maskedForClients,
	} {
		s := newSecret(t)
		all = append(all, s)
		t.Run(name, func(t *testing.T) { test(t, g, s) })
	}
	for _, e := range g.events(t) {
		for _, s := range all {
			if e.Output != nil && s.leaked(e.Output.Data) != "" {
				t.Errorf("the recording holds a value: %s", e.Output.Data)
			}
			if e.Command != nil && s.leaked([]byte(e.Command.Text+strings.Join(e.Command.Parameters, " "))) != "" && !strings.Contains(e.Command.Text, "fieldSelector=data") {
				t.Errorf("the recording holds a value: %s", e.Command.Text)
			}
		}
	}
}

func maskedInEveryForm(t *testing.T, g *gate, s *secret) {
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	one, all := "/api/v1/namespaces/shop/secrets/"+s.name, "/api/v1/namespaces/shop/secrets"
	mask := base64.StdEncoding.EncodeToString([]byte(objects.Text))
	for name, tc := range map[string]struct {
		path, accept string
		status       int
		want         string
	}{
		"JSON":                       {one, "", 200, mask},
		"JSON, wanted":               {one, "application/json", 200, mask},
		"anything":                   {one, "*/*", 200, mask},
		"YAML":                       {one, "application/yaml", 200, "password: " + mask},
		"protobuf":                   {one, runtime.ContentTypeProtobuf, 200, objects.Text},
		"CBOR":                       {one, runtime.ContentTypeCBOR, 200, objects.Text},
		"protobuf or JSON":           {one, runtime.ContentTypeProtobuf + ",application/json", 200, mask},
		"by quality":                 {one, "application/json;q=0.2, application/yaml;q=0.9", 200, "password: " + mask},
		"a table":                    {one, table, 200, "columnDefinitions"},
		"a table of objects":         {all + "?includeObject=Object", table, 200, mask},
		"a table of metadata":        {all + "?includeObject=Metadata", table, 200, "columnDefinitions"},
		"a table in YAML":            {all, "application/yaml;as=Table;v=v1;g=meta.k8s.io", 200, "columnDefinitions"},
		"a table in CBOR":            {all, "application/cbor;as=Table;v=v1;g=meta.k8s.io", 200, "columnDefinitions"},
		"a table, or else":           {all, table + ",application/json", 200, "columnDefinitions"},
		"metadata":                   {one, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 200, "PartialObjectMetadata"},
		"metadata in protobuf":       {one, "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 200, "PartialObjectMetadata"},
		"metadata in CBOR":           {one, "application/cbor;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 200, "PartialObjectMetadata"},
		"metadata of all":            {all, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", 200, s.name},
		"metadata of all, protobuf":  {all, "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", 200, s.name},
		"a list":                     {all, "", 200, mask},
		"a list in YAML":             {all, "application/yaml", 200, mask},
		"a list in protobuf":         {all, runtime.ContentTypeProtobuf, 200, objects.Text},
		"a list in CBOR":             {all, runtime.ContentTypeCBOR, 200, objects.Text},
		"a list by pages":            {all + "?limit=1", "", 200, "SecretList"},
		"a list, pretty":             {all + "?pretty=true", "", 200, mask},
		"by name":                    {all + "?fieldSelector=metadata.name%3D" + s.name, "", 200, mask},
		"by type":                    {all + "?fieldSelector=type%3DOpaque", "", 200, mask},
		"by label":                   {all + "?labelSelector=of%3Dmasked", "", 200, mask},
		"by value":                   {all + "?fieldSelector=data.password%3D" + s.values[0], "", 403, "CDA-2004"},
		"a watch":                    {all + "?watch=1&timeoutSeconds=1", "", 200, mask},
		"a watch of tables":          {all + "?watch=1&timeoutSeconds=1", table, 200, "columnDefinitions"},
		"a watch of objects' tables": {all + "?watch=true&timeoutSeconds=1&includeObject=Object", table, 200, mask},
		"a watch in protobuf":        {all + "?watch=true&timeoutSeconds=1", "application/vnd.kubernetes.protobuf;stream=watch", 200, objects.Text},
		"a watch in CBOR":            {all + "?watch=true&timeoutSeconds=1", "application/cbor", 200, objects.Text},
		"a watch in CBOR sequences":  {all + "?watch=true&timeoutSeconds=1", "application/cbor-seq", 200, objects.Text},
		"a watch in YAML":            {all + "?watch=true&timeoutSeconds=1", "application/yaml", 403, "CDA-2004"},
		"a watch, bookmarks":         {all + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "", 200, "BOOKMARK"},
		"a watch from the past":      {all + "?watch=1&timeoutSeconds=1&resourceVersion=1", "", 200, ""},
		"old watch paths":            {"/api/v1/watch/namespaces/shop/secrets", "", 403, "CDA-2003"},
		"upper case":                 {"/API/v1/namespaces/shop/secrets", "", 403, ""},
		"an upper case version":      {"/api/V1/namespaces/shop/secrets", "", 404, ""},
		"an upper case resource":     {"/api/v1/namespaces/shop/Secrets", "", 0, ""},
		"a subresource":              {one + "/status", "", 403, "Forbidden"},
		"a form nobody knows":        {one, "text/html", 403, "CDA-2004"},
		"of quality zero":            {one, "application/json;q=0", 403, "CDA-2004"},
		"an old table":               {all, "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", 200, mask},
		"a profile":                  {one, "application/json;profile=x", 403, "CDA-2004"},
		"a Secret that is not there": {"/api/v1/namespaces/shop/secrets/nothing", "", 404, "NotFound"},
		"that, in protobuf":          {"/api/v1/namespaces/shop/secrets/nothing", runtime.ContentTypeProtobuf, 404, "NotFound"},
		"a bad version":              {all + "?resourceVersion=x", "", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out := g.ask(t, http.MethodGet, tc.path, "", tc.accept, "")
			if tc.status != 0 && status != tc.status || !bytes.Contains(out, []byte(tc.want)) {
				t.Errorf("status %d, want %d and %q:\n%s", status, tc.status, tc.want, out)
			}
			if v := s.leaked(out); v != "" {
				t.Errorf("%s is in the answer:\n%s", v, out)
			}
		})
	}
	older := &gate{config: rest.CopyConfig(g.config)}
	older.config.NextProtos = []string{"http/1.1"}
	for name, g := range map[string]*gate{"HTTP/2": g, "HTTP/1.1": older} {
		for _, path := range []string{one, all, all + "?watch=1&timeoutSeconds=1"} {
			t.Run(name+" "+path, func(t *testing.T) {
				t.Parallel()
				if status, out := g.ask(t, http.MethodGet, path, "", "", ""); status != http.StatusOK || s.leaked(out) != "" || !bytes.Contains(out, []byte(mask)) {
					t.Errorf("status %d, %s", status, out)
				}
				status, out := g.ask(t, http.MethodHead, path, "", "", "")
				if status != http.StatusOK && status != http.StatusMethodNotAllowed || s.leaked(out) != "" || bytes.Contains(out, []byte("Content-Length: ")) && !bytes.Contains(out, []byte("Content-Length: 0")) {
					t.Errorf("HEAD, status %d, tells:\n%s", status, out)
				}
			})
		}
	}
}

// What is written to a masked Secret is answered masked, and holds no mask itself.
func maskedAndWritten(t *testing.T, g *gate, s *secret) {
	one, all := "/api/v1/namespaces/shop/secrets/"+s.name, "/api/v1/namespaces/shop/secrets"
	object := func(data string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q},"data":{%s}}`, s.name, data)
	}
	mask := base64.StdEncoding.EncodeToString([]byte(objects.Text))
	const merge, strategic, patch, apply = string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.JSONPatchType), string(types.ApplyYAMLPatchType)
	for _, tc := range []struct {
		name, method, path, form, body string
		status                         int
	}{
		{"merge patch", "PATCH", one, merge, `{"data":{"more":"bW9yZQ=="}}`, 200},
		{"merge patch of a label", "PATCH", one + "?dryRun=All", merge, `{"metadata":{"labels":{"a":"b"}}}`, 200},
		{"merge patch with a mask", "PATCH", one, merge, `{"data":{"password":"` + mask + `"}}`, 403},
		{"merge patch with a mask in text", "PATCH", one, merge, `{"stringData":{"password":"` + objects.Text + `"}}`, 403},
		{"strategic patch", "PATCH", one, strategic, `{"data":{"more":null}}`, 200},
		{"strategic patch with a mask", "PATCH", one, strategic, `{"data":{"x":"` + mask + `"}}`, 403},
		{"JSON Patch", "PATCH", one, patch, `[{"op":"add","path":"/data/x","value":"eA=="},{"op":"remove","path":"/data/x"}]`, 200},
		{"JSON Patch with a test of identity", "PATCH", one, patch, `[{"op":"test","path":"/metadata/resourceVersion","value":"1"}]`, 422},
		{"JSON Patch with a mask", "PATCH", one, patch, `[{"op":"replace","path":"/data/password","value":"` + mask + `"}]`, 403},
		{"JSON Patch, copy", "PATCH", one, patch, `[{"op":"copy","from":"/data/password","path":"/metadata/labels/x"}]`, 403},
		{"JSON Patch, move", "PATCH", one, patch, `[{"op":"move","from":"/data/password","path":"/metadata/annotations/x"}]`, 403},
		{"JSON Patch, test", "PATCH", one, patch, `[{"op":"test","path":"/data/password","value":"eA=="}]`, 403},
		{"JSON Patch, two operations in one", "PATCH", one, patch, `[{"op":"copy","from":"/data/password","path":"/metadata/labels/x","op":"add"}]`, 403},
		{"JSON Patch that is none", "PATCH", one, patch, `{"op":"copy"}`, 403},
		{"apply", "PATCH", one + "?fieldManager=me", apply, object(`"applied": "YQ=="`), 200},
		{"apply with a mask", "PATCH", one + "?fieldManager=me", apply, object(`"password": ` + mask), 403},
		{"apply in conflict", "PATCH", one + "?fieldManager=me", apply, object(`"password": "YQ=="`), 409},
		{"a patch of no known form", "PATCH", one, "application/x-patch", `{}`, 403},
		{"update with a mask", "PUT", one, "application/json", object(`"password":"` + mask + `"`), 403},
		{"update in YAML with a mask", "PUT", one, "application/yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: " + s.name + "}\ndata: {password: " + mask + "}", 403},
		{"update of what cannot be read", "PUT", one, "application/json", `{"data"`, 403},
		{"update in a form nobody knows", "PUT", one, "application/xml", `<x/>`, 403},
		{"a bad value", "PATCH", one, merge, `{"data":{"password":"?"}}`, 422},
		{"a field that may not change", "PATCH", one, merge, `{"type":"other/type"}`, 422},
		{"creation in a dry run", "POST", all + "?dryRun=All", "application/json", strings.Replace(object(`"a":"YQ=="`), s.name, s.name+"-2", 1), 201},
		{"creation of what is there", "POST", all, "application/json", object(`"a":"YQ=="`), 409},
		{"a collection's end in a dry run", "DELETE", all + "?dryRun=All&labelSelector=of%3Dmasked", "", "", 200},
		{"its end in a dry run", "DELETE", one + "?dryRun=All", "", "", 200},
		{"its end, object returned", "DELETE", one + "?dryRun=All&propagationPolicy=Foreground", "", "", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, accept := range []string{"application/json", "application/yaml", runtime.ContentTypeProtobuf} {
				status, out := g.ask(t, tc.method, tc.path, tc.form, accept, tc.body)
				if status != tc.status || status == 403 && !bytes.Contains(out, []byte("CDA-2004")) {
					t.Errorf("status %d, want %d:\n%s", status, tc.status, out)
				}
				if v := s.leaked(out); v != "" {
					t.Errorf("%s is in the answer:\n%s", v, out)
				}
			}
		})
	}
	now := &corev1.Secret{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: s.name}, now); err != nil {
		t.Fatal(err)
	}
	if string(now.Data["password"]) != s.values[0] || string(now.Data["applied"]) != "a" {
		t.Errorf("the Secret holds %v", now.Data)
	}
}

// kubectl works on masked Secrets as it is.
func maskedForKubectl(t *testing.T, g *gate, s *secret) {
	manifest := filepath.Join(t.TempDir(), "secret.yaml")
	write(t, manifest, "apiVersion: v1\nkind: Secret\nmetadata: {name: "+s.name+"}\nstringData: {password: new}\n")
	editor := filepath.Join(t.TempDir(), "editor")
	write(t, editor, "#!/bin/sh\nsed -i 's/of: masked/of: edited/' \"$1\"\n")
	if err := os.Chmod(editor, 0o700); err != nil { //nolint:gosec // it is a script
		t.Fatal(err)
	}
	t.Setenv("KUBE_EDITOR", editor)
	for _, tc := range []struct {
		args, want string
		fail       bool
	}{
		{"get secret " + s.name, "Opaque", false},
		{"get secrets -o wide", s.name, false},
		{"get secret " + s.name + " -o yaml", "password: ", false},
		{"get secret " + s.name + " -o json", `"password": `, false},
		{"get secret " + s.name + " -o jsonpath={.data.password}", "", false},
		{"get secret " + s.name + " -o go-template={{.data.password|base64decode}}", objects.Text, false},
		{"get secrets -o custom-columns=A:.data,B:.metadata.annotations", "password", false},
		{"get secrets --show-managed-fields -o yaml", "f:password", false},
		{"describe secret " + s.name, fmt.Sprintf("%d bytes", len(objects.Text)), false},
		{"label secret " + s.name + " x=y", "labeled", false},
		{"edit secret " + s.name, "edited", false},
		{"patch secret " + s.name + ` -p {"stringData":{"token":"new"}} -o yaml`, "token: ", false},
		{"diff -f " + manifest, "", true},
		{"apply -f " + manifest, "configured", false},
		{"apply --server-side --force-conflicts -o yaml -f " + manifest, "password: ", false},
		{"replace -f " + manifest + " -o json", `"password": `, false},
		{"apply view-last-applied secret " + s.name, "", false},
		{"delete secret " + s.name, "deleted", false},
	} {
		out, err := g.kubectl(strings.Fields(tc.args)...)
		if (err != nil) != tc.fail || !strings.Contains(out, tc.want) {
			t.Errorf("kubectl %s: %v\n%s", tc.args, err, out)
		}
		if v := s.leaked([]byte(out)); v != "" {
			t.Errorf("kubectl %s shows %s:\n%s", tc.args, v, out)
		}
	}
}

// client-go works in each of its forms, and cannot write back what it read.
func maskedForClients(t *testing.T, g *gate, s *secret) {
	for _, form := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf, runtime.ContentTypeCBOR} {
		t.Run(form, func(t *testing.T) {
			config := rest.CopyConfig(g.config)
			config.AcceptContentTypes, config.ContentType = form, form
			c, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			api := c.CoreV1().Secrets("shop")
			got, err := api.Get(t.Context(), s.name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Data["password"]) != objects.Text || string(got.Data["token"]) != objects.Text {
				t.Errorf("the Secret holds %v", got.Data)
			}
			if _, err := api.Update(t.Context(), got, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "CDA-2004") {
				t.Errorf("a masked Secret was written back: %v", err)
			}
			if _, err := api.Create(t.Context(), got, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
				t.Errorf("a masked Secret was made: %v", err)
			}
			list, err := api.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + s.name})
			if err != nil || len(list.Items) != 1 || string(list.Items[0].Data["token"]) != objects.Text {
				t.Errorf("the list holds %v %v", list, err)
			}
			w, err := api.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + s.name})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if e := <-w.ResultChan(); e.Type != "ADDED" || string(e.Object.(*corev1.Secret).Data["token"]) != objects.Text {
				t.Errorf("the watch says %+v", e)
			}
		})
	}
}
