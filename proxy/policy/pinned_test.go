package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking/fn"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// TestPinnedFunctions holds functions that rules admit to those of the namespace whose
// masks they could show.
func TestPinnedFunctions(t *testing.T) {
	pinning := func(namespace, name, signature string) *v1alpha1.MaskingRule {
		r := makeMaskingRule(namespace, name, "*.*.email")
		r.Spec.Functions = []v1alpha1.PinnedFunction{{Signature: signature}}
		return r
	}
	money := sql.PinnedFunction{Schema: "app", Name: "money", Arguments: []string{"numeric", " app.currency"}}
	now := sql.PinnedFunction{Schema: "my app", Name: "now"}
	for name, c := range map[string]struct {
		rules []*v1alpha1.MaskingRule
		want  []sql.PinnedFunction
	}{
		"none": {[]*v1alpha1.MaskingRule{makeMaskingRule("shop-gate", "a", "*.*.email")}, nil},
		"two rules": {[]*v1alpha1.MaskingRule{pinning("shop-gate", "a", "app.money(numeric, app.currency)"), pinning("shop-gate", "b", "my app.now( )")},
			[]sql.PinnedFunction{money, now}},
		"of the root alone": {[]*v1alpha1.MaskingRule{pinning("shop-gate", "a", "app.money(numeric, app.currency)"), pinning("cardea-system", "b", "my app.now()")},
			[]sql.PinnedFunction{now}},
		"beneath the root's mask": {[]*v1alpha1.MaskingRule{pinning("shop-gate", "a", "my app.now()"), makeMaskingRule("cardea-system", "b", "*.*.ssn")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			in.MaskingRules = c.rules
			a, err := Compile(in).Admit(makeRequest(), noon)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, a.Masks.Functions()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestPinnedFunctionsThatAreNone keeps rules from compiling that the schema would refuse.
func TestPinnedFunctionsThatAreNone(t *testing.T) {
	for want, f := range map[string]v1alpha1.PinnedFunction{
		"[0].signature": {Signature: "money(numeric)"},
		"[0].sha256":    {Signature: "app.money()", SHA256: "ABC"},
	} {
		r := makeMaskingRule("shop-gate", "a", "*.*.email")
		r.Spec.Functions = []v1alpha1.PinnedFunction{f}
		if _, err := compileMaskingRule(r, false, fn.Options{}); err == nil || !strings.Contains(err.Error(), "spec.functions"+want) {
			t.Errorf("%v: %v", f, err)
		}
	}
	for _, signature := range []string{"", "a.b", "a.b.c()", `a."b"()`, "a.b(numeric(10))", "a.b()()", "a,b.c()", "a.b() ", "a.b(" + strings.Repeat("x", 512) + ")"} {
		r := makeMaskingRule("shop-gate", "a", "*.*.email")
		r.Spec.Functions = []v1alpha1.PinnedFunction{{Signature: signature}}
		if _, err := compileMaskingRule(r, false, fn.Options{}); err == nil {
			t.Errorf("%q is taken for a signature", signature)
		}
	}
	r := makeMaskingRule("shop-gate", "a", "*.*.email")
	r.Spec.Functions = make([]v1alpha1.PinnedFunction, maxPinned+1)
	if _, err := compileMaskingRule(r, false, fn.Options{}); err == nil {
		t.Error("too many functions are taken")
	}
	r.Spec.Functions, r.Spec.Columns, r.Spec.Detectors = []v1alpha1.PinnedFunction{{Signature: "a.b()"}}, nil, []v1alpha1.Detector{v1alpha1.DetectSSN}
	if _, err := compileMaskingRule(r, false, fn.Options{}); err == nil {
		t.Error("functions are taken without columns")
	}
}
