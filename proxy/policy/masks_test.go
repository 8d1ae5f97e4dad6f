package policy

import (
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

func TestMasks(t *testing.T) {
	in := makeInput()
	fixed := func(r *v1alpha1.MaskingRule, v string) *v1alpha1.MaskingRule {
		r.Spec.Columns[0].Function = v1alpha1.MaskFunction{Fixed: &v1alpha1.FixedFunction{Value: v}}
		return r
	}
	in.MaskingRules = []*v1alpha1.MaskingRule{
		fixed(makeMaskingRule("shop-gate", "b", "public.customers.email", "*.*.SSN", "straße.*.*"), "b"),
		fixed(makeMaskingRule("shop-gate", "a", "public.customers.*"), "a"),
		fixed(makeMaskingRule("cardea-system", "z", "*.customers.phone"), "z"),
	}
	a, err := Compile(in).Admit(makeRequest(), noon)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		schema, table, column string
		want                  string // of the fixed function; empty for no mask
	}{
		"first by name":           {"public", "customers", "email", "a"},
		"root first":              {"public", "customers", "phone", "z"},
		"any table":               {"hr", "people", "ssn", "b"},
		"letter case":             {"HR", "People", "sSn", "b"},
		"letter case, long s":     {"hr", "people", "\u017fsn", "b"},
		"letter case, not ASCII":  {"STRAßE", "x", "y", "b"},
		"not masked":              {"public", "orders", "id", ""},
		"longer name":             {"hr", "people", "ssn2", ""},
		"unknown schema":          {"", "customers", "email", "a"},
		"unknown column":          {"public", "orders", "", "b"},
		"nothing known":           {"", "", "", "z"},
		"a dot in the name":       {"x", "y.customers", "email", ""},
		"bytes that are no UTF-8": {"public", "customers", "\xff", "a"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ref := a.Masks.Mask(tc.schema, tc.table, tc.column)
			if (ref == 0) != (tc.want == "") {
				t.Fatalf("Mask() = %d", ref)
			}
			if ref == 0 {
				return
			}
			f, rule := a.Masks.Func(ref)
			if out, _, err := f.Mask(nil, []byte("secret")); err != nil || string(out) != tc.want || rule.Name != tc.want {
				t.Errorf("masked to %q by %v, %v", out, rule, err)
			}
		})
	}
	for _, ref := range []sql.MaskRef{sql.Hidden, sql.Hidden | sql.WholeValue} {
		f, rule := a.Masks.Func(ref)
		if out, null, err := f.Mask([]byte("x"), []byte("secret")); err != nil || !null || string(out) != "x" || rule.Name != "" {
			t.Errorf("Func(%d) shows %q, %v, %v", ref, out, null, err)
		}
	}
	for _, ref := range []sql.MaskRef{0, 99, sql.Hidden - 1, sql.WholeValue | sql.Hidden - 1} {
		f, rule := a.Masks.Func(ref)
		if out, _, err := f.Mask([]byte("x"), []byte("secret")); err == nil || string(out) != "x" || rule.Name != "" {
			t.Errorf("Func(%d) shows %q, %v", ref, out, err)
		}
	}
}

func TestExemptions(t *testing.T) {
	agent := v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "agent"}
	other := v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "other"}
	tests := map[string]struct {
		exempt    []v1alpha1.Subject
		exchanged bool
		masked    bool
	}{
		"proven":                  {[]v1alpha1.Subject{other, agent}, true, false},
		"from a Secret":           {[]v1alpha1.Subject{agent}, false, true},
		"somebody else":           {[]v1alpha1.Subject{other}, true, true},
		"a group that is unknown": {[]v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "fraud-team"}}, true, true},
		"nobody":                  {nil, true, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in, r := makeInput(), makeRequest()
			in.MaskingRules[0].Spec.Exempt, r.Exchanged = tc.exempt, tc.exchanged
			a, err := Compile(in).Admit(r, noon)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.Masks.Mask("public", "customers", "email") != 0; got != tc.masked || a.Masks.Empty() == tc.masked {
				t.Errorf("masked = %t, empty = %t", got, a.Masks.Empty())
			}
			r.Exchanged = false
			b, err := Compile(in).Admit(r, noon)
			if err != nil {
				t.Fatal(err)
			}
			if tc.masked != (a.Version == b.Version) {
				t.Error("the version does not tell exempt sessions apart")
			}
		})
	}
	in, r := makeInput(), makeRequest()
	r.Exchanged = true
	in.MaskingRules[0].Spec.Exempt = []v1alpha1.Subject{agent}
	in.MaskingRules = append(in.MaskingRules, makeMaskingRule("cardea-system", "root", "*.*.email"))
	a, err := Compile(in).Admit(r, noon)
	if err != nil || a.Masks.Mask("public", "customers", "email") == 0 || a.Masks.Mask("hr", "people", "ssn") != 0 {
		t.Errorf("an exemption of one rule lifts another: %v", err)
	}
}

func TestDetectors(t *testing.T) {
	agent := v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "agent"}
	net := func(name string, exempt []v1alpha1.Subject, list ...v1alpha1.Detector) *v1alpha1.MaskingRule {
		r := makeMaskingRule("shop-gate", name, "*.*.x")
		r.Spec.Columns, r.Spec.Detectors, r.Spec.Exempt = nil, list, exempt
		return r
	}
	in, r := makeInput(), makeRequest()
	in.MaskingRules = []*v1alpha1.MaskingRule{net("a", []v1alpha1.Subject{agent}, v1alpha1.DetectSSN), net("b", nil, v1alpha1.DetectEmail)}
	const ssn, email = "123-45-6789", "ada@example.com"
	for name, exchanged := range map[string]bool{"masked": false, "exempt from one": true} {
		r.Exchanged = exchanged
		a, err := Compile(in).Admit(r, noon)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Masks.Empty() || !a.Detectors.Found([]byte(email)) || a.Detectors.Found([]byte(ssn)) == exchanged {
			t.Errorf("%s: empty = %t, %+v", name, a.Masks.Empty(), a.Detectors)
		}
	}
	for name, rule := range map[string]*v1alpha1.MaskingRule{"neither": net("c", nil), "unknown": net("c", nil, "Passport")} {
		in.MaskingRules = []*v1alpha1.MaskingRule{rule}
		if _, err := Compile(in).Admit(r, noon); err == nil {
			t.Errorf("%s: the Target is open", name)
		}
	}
}

func TestGlob(t *testing.T) {
	tests := map[string]struct {
		pattern, name string
		fold, want    bool
	}{
		"same": {"orders", "orders", false, true}, "case": {"orders", "Orders", false, false}, "fold": {"oRders", "OrdeRs", true, true},
		"prefix": {"report_*", "report_1", false, true}, "empty run": {"report_*", "report_", false, true}, "middle": {"a*c", "abbbc", false, true},
		"back": {"*ab*ab", "abaab", false, true}, "no back": {"*ab*ab", "aab", false, false}, "many": {"a**b", "ab", false, true},
		"all": {"*", "", false, true}, "nothing": {"", "", false, true}, "not nothing": {"", "a", false, false}, "dot": {"a.c", "abc", false, false},
		"class": {"[ab]", "a", false, false}, "question mark": {"a?", "ab", false, false}, "longer": {"abc", "abcd", false, false}, "shorter": {"abcd", "abc", false, false},
		"kelvin": {"k", "\u212a", true, true}, "two bad bytes": {"\xff", "\xfe", false, false}, "star for bad bytes": {"a*", "a\xff\xfe", false, true},
	}
	for name, tc := range tests {
		if got := newGlob(tc.pattern, tc.fold).match(tc.name); got != tc.want {
			t.Errorf("%s: %q matches %q: %t", name, tc.pattern, tc.name, got)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b*c", "abbc")
	f.Add("*", "\xff")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 24 {
			t.Skip()
		}
		g := newGlob(pattern, false)
		if got, want := g.match(name), slowMatch(g.pattern, name); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, name, got, want)
		}
	})
}

// slowMatch is the definition of a glob.
func slowMatch(p []rune, name string) bool {
	if len(p) == 0 {
		return name == ""
	}
	if p[0] == '*' && slowMatch(p[1:], name) {
		return true
	}
	if name == "" {
		return false
	}
	r, size := decode(name)
	if p[0] == '*' {
		return slowMatch(p, name[size:])
	}
	return p[0] == r && slowMatch(p[1:], name[size:])
}
