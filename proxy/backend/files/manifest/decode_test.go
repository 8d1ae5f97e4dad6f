package manifest

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const grant = `apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: report-agent, namespace: shop-gate}
spec:
  subject: {kind: ServiceAccount, namespace: shop, name: report-agent}
  targetRef: {name: orders-db}
  duration: 1h
  reason: monthly report
  postgres: {databases: [orders]}
`

func decoder(t *testing.T) *Decoder {
	t.Helper()
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDefaults(t *testing.T) {
	docs := decoder(t).Decode(t.Context(), "grant.yaml", []byte(grant), nil)
	if len(docs) != 1 || docs[0].Err != nil {
		t.Fatalf("docs = %+v", docs)
	}
	g := docs[0].Object.(*v1alpha1.AccessGrant)
	if g.Spec.DesiredState != v1alpha1.GrantActive || g.Spec.Credentials.MountPath != "/var/run/cardea" || g.Spec.Postgres.Access != v1alpha1.AccessReadOnly {
		t.Errorf("spec = %+v, want the defaults of the definition", g.Spec)
	}
}

func TestRefusals(t *testing.T) {
	replace := func(from, to string) string { return strings.Replace(grant, from, to, 1) }
	for name, tc := range map[string]struct{ in, want string }{
		"unknown field":         {replace("reason:", "raeson: x\n  reason:"), `unknown field "spec.raeson"`},
		"field in other case":   {replace("targetRef:", "TargetRef:"), `unknown field "spec.TargetRef"`},
		"repeated field":        {replace("duration: 1h", "duration: 1h\n  duration: 2h"), "already set"},
		"duration in words":     {replace("duration: 1h", "duration: 1 hour"), "spec.duration needs a duration such as"},
		"duration in days":      {replace("duration: 1h", "duration: 7d"), "spec.duration needs a duration such as"},
		"duration too long":     {replace("duration: 1h", "duration: 999999999h"), "spec.duration needs a duration such as"},
		"duration a number":     {replace("duration: 1h", "duration: 3600"), "spec.duration needs a string"},
		"time in words":         {replace("duration: 1h", "expiresAt: tomorrow"), "spec.expiresAt needs a time such as"},
		"time without zone":     {replace("duration: 1h", "expiresAt: 2026-12-31 18:00:00"), "spec.expiresAt needs a time such as"},
		"wrong type":            {replace("databases: [orders]", "databases: orders"), "wrong type"},
		"missing field":         {replace("  reason: monthly report\n", ""), "spec.reason: Required value"},
		"bound":                 {replace("monthly report", strings.Repeat("x", 1025)), "spec.reason: Too long"},
		"enum":                  {replace("databases: [orders]", "databases: [orders], access: All"), "Unsupported value"},
		"CEL rule":              {replace("duration: 1h", "duration: 1h\n  expiresAt: 2030-01-01T00:00:00Z"), "exactly one of expiresAt and duration"},
		"set with repeats":      {replace("[orders]", "[orders, orders]"), "Duplicate value"},
		"no namespace":          {replace(", namespace: shop-gate", ""), "metadata.namespace is required"},
		"name":                  {replace("name: report-agent, namespace: shop-gate", "name: Report_Agent, namespace: shop-gate"), "metadata.name"},
		"kind":                  {replace("kind: AccessGrant", "kind: AccessGrand"), "no kind"},
		"no kind":               {replace("kind: AccessGrant\n", ""), "apiVersion and kind are required"},
		"not YAML":              {"a: [", "yaml"},
		"not an object":         {"- a", "not a Kubernetes object"},
		"unknown metadata":      {replace("{name: report-agent,", "{nickname: x, name: report-agent,"), `unknown field "metadata.nickname"`},
		"Secret of wrong shape": {"apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\ndata: [planted-value]", "wrong type"},
	} {
		t.Run(name, func(t *testing.T) {
			docs := decoder(t).Decode(t.Context(), "f.yaml", []byte(tc.in), nil)
			if len(docs) != 1 || docs[0].Err == nil || !strings.Contains(docs[0].Err.Error(), tc.want) {
				t.Fatalf("docs = %+v, want an error with %q", docs, tc.want)
			}
			if docs[0].Object != nil {
				t.Error("a refused document has an object")
			}
			if strings.Contains(docs[0].Err.Error(), "planted-value") {
				t.Error("the error holds a value of a Secret")
			}
		})
	}
}

func TestTransitions(t *testing.T) {
	d := decoder(t)
	old := d.Decode(t.Context(), "f.yaml", []byte(strings.Replace(grant, "reason:", "desiredState: Revoked\n  reason:", 1)), nil)[0].Object
	again := d.Decode(t.Context(), "f.yaml", []byte(grant), func(kind, namespace, name string) Object { return old })
	if again[0].Err == nil || !strings.Contains(again[0].Err.Error(), "a revoked grant stays revoked") {
		t.Errorf("err = %v, want that a revoked grant stays revoked", again[0].Err)
	}
}

func TestDocuments(t *testing.T) {
	in := "# a comment\n---\n" + grant + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\nstringData: {password: x}\n"
	docs := decoder(t).Decode(t.Context(), "f.yaml", []byte(in), nil)
	if len(docs) != 3 {
		t.Fatalf("%d documents, want 3: %+v", len(docs), docs)
	}
	if docs[0].Err != nil || !docs[1].Ignored || docs[2].Err != nil {
		t.Errorf("docs = %+v", docs)
	}
}

func FuzzDecode(f *testing.F) {
	d, err := NewDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(grant))
	f.Add([]byte("---\n---\n{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, doc := range d.Decode(t.Context(), "f.yaml", in, nil) {
			if (doc.Object != nil) == (doc.Err != nil || doc.Ignored) {
				t.Errorf("%+v: exactly one of object, error and ignored must be set", doc)
			}
		}
	})
}
