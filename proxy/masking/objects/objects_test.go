package objects_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/masking/objects"
)

func paths(t testing.TB, texts ...string) (all []objects.Path) {
	t.Helper()
	for _, text := range texts {
		p, err := objects.ParsePath(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, p)
	}
	return all
}

func decode(t testing.TB, text string) map[string]any {
	t.Helper()
	v, err := objects.Decode([]byte(text))
	o, ok := v.(map[string]any)
	if err != nil || !ok {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func TestPathsThatAreRefused(t *testing.T) {
	for _, text := range []string{
		"", ".", "a.", ".a", "a..b", "a[", "a[0]", "a['b", "a['']", "[*].a", "**", "a.b**", "a]b", "kind", "apiVersion", "metadata", "metadata.labels.x",
		"metadata.name", strings.Repeat("a.", 16) + "a",
	} {
		if _, err := objects.ParsePath(text); err == nil {
			t.Errorf("%q is read as a path", text)
		}
	}
}

func TestFieldsAreMasked(t *testing.T) {
	for name, tc := range map[string]struct {
		path, in, want string
	}{
		"a field":               {"data.password", `{"data":{"password":"x","user":"u"}}`, `{"data":{"password":"M","user":"u"}}`},
		"another letter case":   {"data.Password", `{"data":{"password":"x"}}`, `{"data":{"password":"x"}}`},
		"all beneath":           {"data", `{"data":{"a":"x","b":{"c":["y",{"d":"z"}]}}}`, `{"data":{"a":"M","b":{"c":["M",{"d":"M"}]}}}`},
		"a glob":                {"data.*word", `{"data":{"password":"x","words":"y"}}`, `{"data":{"password":"M","words":"y"}}`},
		"two globs":             {"data.*a*b", `{"data":{"xaab":"x","ba":"y"}}`, `{"data":{"xaab":"M","ba":"y"}}`},
		"a key with dots":       {"data['tls.key']", `{"data":{"tls.key":"x","tls":{"key":"y"}}}`, `{"data":{"tls.key":"M","tls":{"key":"y"}}}`},
		"a key that is a star":  {`data["*"]`, `{"data":{"*":"x","a":"y"}}`, `{"data":{"*":"M","a":"y"}}`},
		"elements":              {"spec.c[*].env[*].value", `{"spec":{"c":[{"env":[{"name":"n","value":"x"}]}]}}`, `{"spec":{"c":[{"env":[{"name":"n","value":"M"}]}]}}`},
		"elements, unsaid":      {"spec.c.env.value", `{"spec":{"c":[{"env":[{"name":"n","value":"x"}]}]}}`, `{"spec":{"c":[{"env":[{"name":"n","value":"M"}]}]}}`},
		"at any depth":          {"**.env.value", `{"env":{"value":"x"},"a":{"b":[{"env":[{"value":"y"}]}]},"value":"z"}`, `{"env":{"value":"M"},"a":{"b":[{"env":[{"value":"M"}]}]},"value":"z"}`},
		"at any depth, beneath": {"spec.**", `{"spec":{"a":{"b":"x"}},"status":{"c":"y"}}`, `{"spec":{"a":{"b":"M"}},"status":{"c":"y"}}`},
		"twice at any depth":    {"**.a.**.a", `{"a":{"a":{"a":"x","b":"y"},"b":"z"}}`, `{"a":{"a":{"a":"M","b":"M"},"b":"z"}}`},
		"numbers and truth":     {"spec.pin", `{"spec":{"pin":[1234,true,null,1.5]}}`, `{"spec":{"pin":["M","M",null,"M"]}}`},
		"what is no object":     {"spec.pin", `{"spec":"x","metadata":[1]}`, `{"spec":"x"}`},
		"numbers stay":          {"spec.x", `{"spec":{"n":12345678901234567890,"f":1.10}}`, `{"spec":{"n":12345678901234567890,"f":1.10}}`},
		"an annotation":         {"metadata.annotations['a/b']", `{"metadata":{"annotations":{"a/b":"x","c":"y"}}}`, `{"metadata":{"annotations":{"a/b":"M","c":"y"}}}`},
		"what was applied": {"data.p", `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"x\",\"q\":\"y\"}}\n"}}}`,
			`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"M\",\"q\":\"y\"}}"}}}`},
		"what was applied, cut": {"data.p", `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"x"}}}`,
			`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"M"}}}`},
		"other copies": {"data.p", `{"metadata":{"annotations":{"a":" {\"x\":1}","b":"H4sIAAA","c":"eyJhIjoxfQ==","d":"short","e":"` + strings.Repeat("e", 1025) + `"}}}`,
			`{"metadata":{"annotations":{"a":"M","b":"M","c":"M","d":"short","e":"M"}}}`},
		"who owns fields": {"data.p", `{"metadata":{"managedFields":[{"fieldsV1":{"v:secret":{}}}]}}`, `{"metadata":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := decode(t, tc.in)
			objects.New("example.org", "things", false, paths(t, tc.path)).Object(o)
			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			want, err := json.Marshal(decode(t, strings.ReplaceAll(tc.want, `M`, objects.Text)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(b)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Bytes stay bytes, so that clients can read what is masked.
func TestBytesAreMasked(t *testing.T) {
	mask := base64.StdEncoding.EncodeToString([]byte(objects.Text))
	for name, tc := range map[string]struct {
		plan     *objects.Plan
		in, want string
	}{
		"Secrets":                {objects.New("", "secrets", true, nil), `{"data":{"a":"eA=="},"stringData":{"b":"x"},"type":"T"}`, `{"data":{"a":"B"},"stringData":{"b":"M"},"type":"T"}`},
		"a rule about Secrets":   {objects.New("", "secrets", false, paths(t, "data.a")), `{"data":{"a":"eA==","b":"eA=="},"stringData":{"a":"x"}}`, `{"data":{"a":"B","b":"eA=="},"stringData":{"a":"M"}}`},
		"a ConfigMap":            {objects.New("", "configmaps", true, paths(t, "data", "binaryData")), `{"data":{"a":"x"},"binaryData":{"b":"eA=="}}`, `{"data":{"a":"M"},"binaryData":{"b":"B"}}`},
		"owners stay where keys": {objects.New("", "secrets", true, nil), `{"metadata":{"managedFields":[{"f:data":{"f:a":{}}}]}}`, `{"metadata":{"managedFields":[{"f:data":{"f:a":{}}}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := decode(t, tc.in)
			tc.plan.Object(o)
			want := decode(t, strings.NewReplacer(`"M"`, `"`+objects.Text+`"`, `"B"`, `"`+mask+`"`).Replace(tc.want))
			if diff := cmp.Diff(want, o); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, p := range map[string]*objects.Plan{
		"other resources":          objects.New("", "pods", true, nil),
		"a group of the same name": objects.New("example.org", "secrets", true, nil),
		"readable":                 objects.New("", "secrets", false, nil),
	} {
		if p != nil {
			t.Errorf("%s are masked", name)
		}
	}
}

// What the API server says of an object may quote it.
func TestStatuses(t *testing.T) {
	plan := objects.New("", "secrets", true, nil)
	for name, tc := range map[string]struct {
		in     string
		writes bool
		shown  bool
	}{
		"not found":                    {`"reason":"NotFound"`, true, true},
		"a conflict":                   {`"reason":"Conflict"`, true, true},
		"invalid":                      {`"reason":"Invalid"`, true, false},
		"internal":                     {`"reason":"InternalError"`, false, false},
		"without a reason":             {`"code":500`, false, false},
		"bad request of a read":        {`"reason":"BadRequest"`, false, true},
		"bad request of a write":       {`"reason":"BadRequest"`, true, false},
		"forbidden of a read":          {`"reason":"Forbidden"`, false, true},
		"forbidden by admission":       {`"reason":"Forbidden"`, true, false},
		"a reason that is none at all": {`"reason":{"a":"b"}`, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := decode(t, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"quoted","extra":"quoted",`+tc.in+
				`,"details":{"name":"n","other":"quoted","causes":[{"reason":"r","message":"quoted","field":"data[k]"}]}}`)
			plan.NewAnswer("dana", tc.writes).Mask(o)
			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if shown := strings.Count(string(b), "quoted"); shown != map[bool]int{true: 2}[tc.shown] || !strings.Contains(string(b), "data[k]") {
				t.Errorf("the message is shown %d times: %s", shown, b)
			}
		})
	}
	o := decode(t, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"secrets \"x\" is forbidden: User \"dana\" cannot patch resource"}`)
	plan.NewAnswer("dana", true).Mask(o)
	if !strings.Contains(fmt.Sprint(o["message"]), "cannot patch") {
		t.Errorf("what RBAC says is %v", o["message"])
	}
}

func TestTables(t *testing.T) {
	table := func(columns string) string {
		return `{"kind":"Table","apiVersion":"meta.k8s.io/v1",` + columns + `"rows":[{"cells":["n","x",3],"object":{"spec":{"a":"x"},"data":{"a":"x"}}},{"cells":"x"},"x"]}`
	}
	const columns = `"columnDefinitions":[{"name":"Name"},{"name":"A"},{"name":"Age"}],`
	for name, tc := range map[string]struct {
		plan  *objects.Plan
		in    []string
		cells string // of the last
	}{
		"of a custom resource":       {objects.New("example.org", "things", false, paths(t, "spec.a")), []string{table(columns)}, `["n","M",3]`},
		"of what no column shows":    {objects.New("", "configmaps", false, paths(t, "data.a")), []string{table(columns)}, `["n","x",3]`},
		"of what some column shows":  {objects.New("apps", "deployments", false, paths(t, "spec.a")), []string{table(columns)}, `["n","M",3]`},
		"whose columns were named":   {objects.New("example.org", "things", false, paths(t, "spec.a")), []string{table(columns), table("")}, `["n","M",3]`},
		"whose columns nobody named": {objects.New("", "configmaps", false, paths(t, "data.a")), []string{table("")}, `["M","M","M"]`},
	} {
		t.Run(name, func(t *testing.T) {
			answer := tc.plan.NewAnswer("dana", false)
			var last map[string]any
			for _, in := range tc.in {
				last = decode(t, in)
				answer.Mask(last)
			}
			rows := last["rows"].([]any)
			b, err := json.Marshal(rows[0].(map[string]any)["cells"])
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.ReplaceAll(tc.cells, "M", objects.Text); string(b) != want || rows[1] != nil || rows[2] != nil {
				t.Errorf("the rows are %v", rows)
			}
		})
	}
}

func TestWhatIsNotWritten(t *testing.T) {
	plan := objects.New("", "secrets", true, nil)
	mask := base64.StdEncoding.EncodeToString([]byte(objects.Text))
	inside := base64.StdEncoding.EncodeToString([]byte("a " + objects.Text + " b"))
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"plain":            {`{"data":{"a":"eA=="},"stringData":{"b":"x"}}`, nil},
		"bytes":            {`{"data":{"a":"` + mask + `"}}`, objects.ErrMasked},
		"text":             {`{"stringData":{"a":"` + objects.Text + `"}}`, objects.ErrMasked},
		"within a text":    {`{"stringData":{"a":"x ` + objects.Text + `"}}`, objects.ErrMasked},
		"within bytes":     {`{"data":{"a":"` + inside + `"}}`, objects.ErrMasked},
		"in a list":        {`{"spec":{"a":[{"b":["` + objects.Text + `"]}]}}`, objects.ErrMasked},
		"a key":            {`{"data":{"` + objects.Text + `":"eA=="}}`, objects.ErrMasked},
		"an annotation":    {`{"metadata":{"annotations":{"a":"` + objects.Text + `"}}}`, objects.ErrMasked},
		"a label":          {`{"metadata":{"labels":{"a":"` + objects.Text + `"}}}`, objects.ErrMasked},
		"what was applied": {`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"a\":\"` + objects.Text + `\"}"}}}`, nil},
		"all of it masked": {`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"` + objects.Text + `"}}}`, objects.ErrMasked},
		"in another place": {`{"data":{"kubectl.kubernetes.io/last-applied-configuration":"` + objects.Text + `"}}`, objects.ErrMasked},
		"a directive":      {`{"spec":{"$deleteFromPrimitiveList/args":["guess"]}}`, objects.ErrDirective},
	} {
		if err := plan.Writable(decode(t, tc.in)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if err := plan.Writable([]any{}); !errors.Is(err, objects.ErrForm) {
		t.Errorf("a list is written: %v", err)
	}
	for name, tc := range map[string]struct {
		op   objects.Operation
		want error
	}{
		"add":             {objects.Operation{Op: "add", Path: "/data/a", Value: "eA=="}, nil},
		"remove":          {objects.Operation{Op: "remove", Path: "/data/a"}, nil},
		"a mask":          {objects.Operation{Op: "replace", Path: "/data/a", Value: mask}, objects.ErrMasked},
		"all of it":       {objects.Operation{Op: "replace", Path: "", Value: map[string]any{"data": map[string]any{"a": mask}}}, objects.ErrMasked},
		"copy":            {objects.Operation{Op: "copy", Path: "/data/a"}, objects.ErrOperation},
		"move":            {objects.Operation{Op: "move", Path: "/data/a"}, objects.ErrOperation},
		"test":            {objects.Operation{Op: "test", Path: "/data/a"}, objects.ErrOperation},
		"test of all":     {objects.Operation{Op: "test", Path: "/metadata"}, objects.ErrOperation},
		"test of the UID": {objects.Operation{Op: "test", Path: "/metadata/uid"}, nil},
		"unknown":         {objects.Operation{Op: "Copy", Path: "/data/a"}, objects.ErrOperation},
		"what was applied": {objects.Operation{Op: "replace", Path: "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
			Value: `{"data":{"a":"` + mask + `"}}`}, nil},
	} {
		if err := plan.Patchable([]objects.Operation{tc.op}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestSelectorsTell(t *testing.T) {
	plan := objects.New("example.org", "things", false, paths(t, "spec.a.b", "status.**"))
	for path, want := range map[string]bool{"spec.a.b": true, "spec.a": false, "spec.a.b.c": true, "spec.c": false, "status.x": true, "other": false} {
		if got := plan.Masks(strings.Split(path, ".")); got != want {
			t.Errorf("%s tells: %v, want %v", path, got, want)
		}
	}
}

// Whatever an object looks like, the values of its masked fields are not in what is shown.
func FuzzMasking(f *testing.F) {
	f.Add(`{"kind":"Secret","apiVersion":"v1","metadata":{"annotations":{"a":"b"}},"data":{"a":"V"},"stringData":{"x":["V",{"V":1}]}}`)
	f.Add(`{"kind":"SecretList","items":[{"data":{"a":{"b":"V"}}}]}`)
	f.Add(`{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["a"],"object":{"data":{"a":"V"}}}]}`)
	f.Add(`{"kind":"Status","apiVersion":"v1","message":"V","details":{"causes":[{"message":"V"}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		const value = "q7Zx-secret-Wk39"
		doc, err := objects.Decode([]byte(text))
		o, ok := doc.(map[string]any)
		if err != nil || !ok || strings.Contains(text, value) {
			t.Skip()
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(value))
		plant(o, value, encoded)
		objects.New("", "secrets", true, nil).NewAnswer("dana", true).Mask(o)
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), value) || strings.Contains(string(b), encoded) {
			t.Errorf("the value is in %s", b)
		}
	})
}

// Any path is read or refused, masks what any object holds without an end, and masks a masked
// object no further.
func FuzzPaths(f *testing.F) {
	f.Add("data.password", `{"data":{"password":"x"}}`)
	f.Add("**.env[*].value", `{"spec":{"env":[{"value":"x"}]}}`)
	f.Add(`data['a.b']`, `{"data":{"a.b":"x"}}`)
	f.Fuzz(func(t *testing.T, text, doc string) {
		p, err := objects.ParsePath(text)
		v, derr := objects.Decode([]byte(doc))
		o, ok := v.(map[string]any)
		if err != nil || derr != nil || !ok {
			t.Skip()
		}
		plan := objects.New("example.org", "things", false, []objects.Path{p})
		plan.Object(o)
		once, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		plan.Object(o)
		if twice, err := json.Marshal(o); err != nil || string(once) != string(twice) {
			t.Errorf("%v: masked once %s, twice %s", err, once, twice)
		}
	})
}

// plant puts a value wherever a Secret has one.
func plant(o map[string]any, value, encoded string) {
	applied, _ := json.Marshal(map[string]any{"data": map[string]any{"k": encoded}, "stringData": map[string]any{"k": value}})
	secret := func() map[string]any {
		return map[string]any{
			"data": map[string]any{"k": encoded, "l": []any{encoded, map[string]any{"m": encoded}}}, "stringData": map[string]any{"k": value},
			"metadata": map[string]any{"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": string(applied), "other": string(applied)}},
		}
	}
	for k, v := range secret() {
		if !objects.IsStatus(o) && !objects.IsTable(o) {
			o[k] = v
		}
	}
	if objects.IsStatus(o) {
		o["message"], o["status"], o["reason"] = value, "Failure", "Invalid"
	}
	if items, ok := o["items"].([]any); ok && !objects.IsTable(o) {
		o["items"] = append(items, secret())
	}
	if objects.IsTable(o) {
		o["rows"] = []any{map[string]any{"cells": []any{"n"}, "object": secret()}}
	}
}
