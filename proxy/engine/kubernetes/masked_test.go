package kubernetes

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
	"github.com/cardea-dev/cardea/proxy/policy"
)

func TestForms(t *testing.T) {
	const of = ";g=meta.k8s.io;v=v1"
	for name, tc := range map[string]struct {
		accept string
		watch  bool
		want   form
		asked  string
	}{
		"nothing":                   {"", false, form{"application/json", []string{""}}, "application/json"},
		"anything":                  {"*/*", false, form{"application/json", []string{""}}, "application/json"},
		"kubectl":                   {"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", false, form{"application/json", []string{"Table", ""}}, "application/json;as=Table" + of + ",application/json"},
		"protobuf alone":            {"application/vnd.kubernetes.protobuf", false, form{"application/vnd.kubernetes.protobuf", []string{""}}, "application/json"},
		"protobuf, else JSON":       {"application/vnd.kubernetes.protobuf,application/json;q=0.1", false, form{"application/json", []string{""}}, "application/json"},
		"tables, else protobuf":     {"application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf", false, form{"application/json", []string{"Table"}}, "application/json;as=Table" + of},
		"metadata in protobuf":      {"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata" + of + ",application/json", false, form{"application/vnd.kubernetes.protobuf", []string{"PartialObjectMetadata"}}, "application/json;as=PartialObjectMetadata" + of},
		"by quality":                {"application/json;q=0.1,application/yaml", false, form{"application/yaml", []string{""}}, "application/json"},
		"a watch is never in YAML":  {"application/yaml,application/json;q=0.5", true, form{"application/json", []string{""}}, "application/json"},
		"a sequence":                {"application/cbor-seq", true, form{"application/cbor", []string{""}}, "application/json"},
		"a form that is none":       {"text/html,application/json", false, form{"application/json", []string{""}}, "application/json"},
		"a form that is not read":   {";;,application/json", false, form{"application/json", []string{""}}, "application/json"},
		"only what is not read":     {";;", false, form{}, ""},
		"of quality nought":         {"application/json;q=0", false, form{}, ""},
		"of quality that is no one": {"application/json;q=NaN", false, form{}, ""},
		"another shape":             {"application/json;as=Secret" + of, false, form{}, ""},
		"a shape of another group":  {"application/json;as=Table;g=x;v=v1", false, form{}, ""},
		"YAML for a watch":          {"application/yaml", true, form{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := formFor(http.Header{"Accept": {tc.accept}}, tc.watch)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(form{})); diff != "" || ok != (tc.asked != "") || got.accept() != tc.asked {
				t.Errorf("%v %q\n%s", ok, got.accept(), diff)
			}
		})
	}
}

func TestBodiesOfWhatIsMasked(t *testing.T) {
	plan := objects.New("", "secrets", true, nil)
	mask := base64.StdEncoding.EncodeToString([]byte(objects.Text))
	encoded := func(form string) string {
		b, err := encode([]byte(`{"kind":"Secret","apiVersion":"v1","data":{"a":"`+mask+`"}}`), form)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, tc := range map[string]struct {
		verb, form, body string
		want             error
	}{
		"JSON":                {"update", "application/json", `{"data":{"a":"eA=="}}`, nil},
		"a read":              {"get", "", `?`, nil},
		"a deletion":          {"delete", "application/json", `{"kind":"DeleteOptions"}`, nil},
		"no form":             {"create", "", `{"data":{"a":"` + mask + `"}}`, objects.ErrMasked},
		"YAML":                {"update", "application/yaml", "data: {a: " + mask + "}", objects.ErrMasked},
		"protobuf":            {"update", runtime.ContentTypeProtobuf, encoded(runtime.ContentTypeProtobuf), objects.ErrMasked},
		"CBOR":                {"update", runtime.ContentTypeCBOR, encoded(runtime.ContentTypeCBOR), objects.ErrMasked},
		"apply":               {"patch", "application/apply-patch+yaml", "data: {a: " + mask + "}", objects.ErrMasked},
		"apply in CBOR":       {"patch", "application/apply-patch+cbor", encoded(runtime.ContentTypeCBOR), objects.ErrMasked},
		"merge":               {"patch", "application/merge-patch+json", `{"data":{"a":"` + mask + `"}}`, objects.ErrMasked},
		"no JSON":             {"update", "application/json", `{`, errBody},
		"no YAML":             {"update", "application/yaml", "a: [", errBody},
		"no protobuf":         {"update", runtime.ContentTypeProtobuf, "k8s\x00x", errBody},
		"no CBOR":             {"update", runtime.ContentTypeCBOR, "\xff", errBody},
		"two documents":       {"update", "application/json", `{}{}`, errBody},
		"no form that is one": {"update", ";", `{}`, errForm},
		"XML":                 {"update", "application/xml", `<a/>`, errForm},
		"a form of patches":   {"patch", "application/json", `{}`, errForm},
		"a list":              {"update", "application/json", `[]`, objects.ErrForm},
		"JSON Patch":          {"patch", "application/json-patch+json", `[{"op":"copy","from":"/data/a","path":"/type"}]`, objects.ErrOperation},
		"an operation twice":  {"patch", "application/json-patch+json", `[{"op":"copy","op":"add","path":"/type"}]`, errBody},
		"no operation":        {"patch", "application/json-patch+json", `[{"path":"/type"}]`, errBody},
	} {
		t.Run(name, func(t *testing.T) {
			if err := writable(plan, &kubeapi.Facts{Verb: tc.verb}, tc.form, []byte(tc.body)); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestSelectorsThatTell(t *testing.T) {
	path, err := objects.ParsePath("spec.key")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		resource, query string
		tells           bool
	}{
		"none":                   {"secrets", "limit=1", false},
		"a name":                 {"secrets", "fieldSelector=metadata.name%3Dx", false},
		"a type":                 {"secrets", "fieldSelector=type%21%3Dx", false},
		"a value":                {"secrets", "fieldSelector=data.a%3Dx", true},
		"a name and a value":     {"secrets", "fieldSelector=metadata.name%3Dx%2Cdata.a%3Dx", true},
		"a masked field":         {"things", "fieldSelector=spec.key%3Dx", true},
		"a masked field, dotted": {"things", "fieldSelector=.spec.key%3Dx", true},
		"what lies in it":        {"things", "fieldSelector=spec.key.part%3Dx", true},
		"another field":          {"things", "fieldSelector=spec.colour%3Dx", false},
		"what is not read":       {"things", "fieldSelector=x", true},
		"in brackets":            {"things", "fieldSelector=spec['key']%3Dx", true},
	} {
		t.Run(name, func(t *testing.T) {
			plan := objects.New("", tc.resource, true, []objects.Path{path})
			if got := revealing(plan, &understood{facts: &kubeapi.Facts{Resource: tc.resource}, query: tc.query}); (got != "") != tc.tells {
				t.Errorf("it tells by %q", got)
			}
		})
	}
}

// masking masks one document as an answer does.
func masking(plan *objects.Plan, body string, l Limits) ([]byte, error) {
	a := &answer{passage: &passage{handler: &handler{limits: l.withDefaults()}, plan: plan}, masker: plan.NewAnswer("dana", false), whole: &bytes.Buffer{}}
	err := a.copyDocument(strings.NewReader(body))
	return a.whole.Bytes(), err
}

func TestDocumentsAreMaskedPartByPart(t *testing.T) {
	plan := objects.New("", "secrets", true, nil)
	mask := base64.StdEncoding.EncodeToString([]byte(objects.Text))
	for name, tc := range map[string]struct{ in, want string }{
		"an object":        {`{"kind":"Secret","data":{"a":"eA=="}}`, `{"kind":"Secret","data":{"a":"B"}}`},
		"a list":           {`{"kind":"SecretList","metadata":{"continue":"c"},"items":[{"data":{"a":"eA=="}},{"data":{}}]}`, `{"kind":"SecretList","metadata":{"continue":"c"},"items":[{"data":{"a":"B"}},{"data":{}}]}`},
		"an empty list":    {`{"kind":"SecretList","items":[]}`, `{"kind":"SecretList","items":[]}`},
		"no list":          {`{"kind":"SecretList","items":null}`, `{"kind":"SecretList","items":[]}`},
		"nothing before":   {`{"items":[{"data":{"a":"eA=="}}],"metadata":{}}`, `{"items":[{"data":{"a":"B"}}],"metadata":{}}`},
		"more after":       {`{"items":[1,{"data":{"a":"eA=="}}],"data":{"a":"eA=="}}`, `{"items":[null,{"data":{"a":"B"}}],"data":{"a":"B"}}`},
		"a custom list":    {`{"apiVersion":"v1","items":[{"data":{"a":"eA=="}}],"kind":"ThingList","metadata":{}}`, `{"apiVersion":"v1","items":[{"data":{"a":"B"}}],"kind":"ThingList","metadata":{}}`},
		"a table":          {`{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["n"],"object":{"data":{"a":"eA=="}}}]}`, `{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["n"],"object":{"data":{"a":"B"}}}]}`},
		"a table too late": {`{"rows":[{"cells":["n"],"object":{"data":{"a":"eA=="}}}],"kind":"Table","apiVersion":"meta.k8s.io/v1"}`, `{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["` + objects.Text + `"],"object":{"data":{"a":"B"}}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := masking(plan, tc.in, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			is, err := objects.Decode(got)
			if err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			want, err := objects.Decode([]byte(strings.ReplaceAll(tc.want, `"B"`, `"`+mask+`"`)))
			if diff := cmp.Diff(want, is); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
	for name, body := range map[string]string{
		"nothing":           ``,
		"a list":            `[]`,
		"text":              `Secret`,
		"cut":               `{"kind":"Secret","data":{"a":"eA=="}`,
		"a list cut":        `{"items":[{"data":{"a":"eA=="}}`,
		"items that are no": `{"items":{"data":{"a":"eA=="}}}`,
		"items twice":       `{"items":[],"items":[{"data":{"a":"eA=="}}]}`,
		"a kind afterwards": `{"items":[],"kind":"Status","apiVersion":"v1","message":"eA=="}`,
		"a table at last":   `{"items":[],"kind":"Table","apiVersion":"meta.k8s.io/v1","x":"eA=="}`,
		"two documents":     `{"kind":"Secret"}{"kind":"Secret"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := masking(plan, body, Limits{}); !errors.Is(err, errUnmaskable) || bytes.Contains(got, []byte("eA==")) {
				t.Errorf("%v, and %s", err, got)
			}
		})
	}
}

// G9: what cannot be held is not sent.
func TestLargeAnswers(t *testing.T) {
	plan := objects.New("", "secrets", true, nil)
	one := `{"data":{"a":"` + strings.Repeat("A", 4<<10) + `"}}`
	many := `{"items":[` + strings.TrimSuffix(strings.Repeat(one+",", 100), ",") + `]}`
	if _, err := masking(plan, one, Limits{Object: 1 << 10}); !errors.Is(err, errUnmaskable) {
		t.Errorf("an object larger than may be is masked: %v", err)
	}
	if _, err := masking(plan, many, Limits{Object: 64 << 10}); err != nil {
		t.Errorf("a list is larger than an object may be: %v", err)
	}
	if _, err := masking(plan, many, Limits{Converted: 1 << 10}); err == nil || !errors.As(err, new(*policy.Refusal)) {
		t.Errorf("an answer larger than may be is converted: %v", err)
	}
}

// Whatever comes, no value of a Secret is in what goes, in any form.
func FuzzMaskedAnswers(f *testing.F) {
	f.Add(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"n"},"type":"Opaque"}`)
	f.Add(`{"kind":"SecretList","apiVersion":"v1","metadata":{},"items":[{"data":{"a":"eA=="}}]}`)
	f.Add(`{"apiVersion":"v1","items":[{"data":{"a":"eA=="}}],"kind":"SecretList","metadata":{}}`)
	f.Add(`{"kind":"Status","apiVersion":"v1","message":"x","details":{"causes":[]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		const value, mark = "q7Zx-secret-Wk39", "cTdaeC1zZWNyZXQtV2szOQ"
		doc, err := objects.Decode([]byte(body))
		o, ok := doc.(map[string]any)
		if err != nil || !ok || objects.IsTable(o) {
			t.Skip()
		}
		o["data"] = map[string]any{"k": mark + "==", "l": []any{value}}
		o["items"] = []any{map[string]any{"data": map[string]any{"k": mark + "=="}, "stringData": map[string]any{"k": value}}}
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		// What else there is holds none.
		if bytes.Count(b, []byte(value)) != 2 || bytes.Count(b, []byte(mark)) != 2 {
			t.Skip()
		}
		got, err := masking(objects.New("", "secrets", true, nil), string(b), Limits{})
		forms := [][]byte{got}
		for _, form := range media[1:] {
			if e, eerr := encode(got, form); err == nil && eerr == nil {
				forms = append(forms, e)
			}
		}
		for _, out := range forms {
			if bytes.Contains(out, []byte(value)) || bytes.Contains(out, []byte(mark)) {
				t.Errorf("a value is in %q", out)
			}
		}
	})
}
