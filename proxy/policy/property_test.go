package policy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// rank orders outcomes by how much they let through.
func rank(d Decision) int { return map[Action]int{Deny: 0, RequireApproval: 1, Allow: 2}[d.Action] }

// anyCommand and anyRule draw commands and rules from a small world, in which they meet
// often.
func anyCommand(r *rand.Rand) *Command {
	nodes := []sql.Node{selectNode, insertNode, deleteNode, deleteAllNode, dropTableNode, createTable, grantNode, vacuumNode, dropDatabase, setNode, createFunction, {}}
	var picked []sql.Node
	for range r.IntN(4) {
		picked = append(picked, nodes[r.IntN(len(nodes))])
	}
	return command(picked...).with(func(f *sql.Facts) {
		f.Known = r.IntN(10) > 0
		for range r.IntN(3) {
			f.Relations = append(f.Relations, sql.Relation{Schema: []string{"", "public", "billing"}[r.IntN(3)], Name: []string{"a", "b"}[r.IntN(2)]})
			f.Functions = append(f.Functions, sql.Function{Name: []string{"f", "g"}[r.IntN(2)]})
		}
		if r.IntN(4) == 0 {
			f.Features = []string{[]string{sql.FeatureFunctionCall, sql.FeatureAdvisoryLock, sql.FeatureCopyProgram}[r.IntN(3)]}
		}
		if r.IntN(6) == 0 {
			f.MaskViolation = "a masked column stands in WHERE"
		}
	})
}

func anyRule(r *rand.Rand, name string, action v1alpha1.RuleAction) *v1alpha1.CommandRule {
	ms := []v1alpha1.SQLMatch{
		{Statements: []v1alpha1.SQLStatement{"Insert", "Delete"}}, {Groups: []v1alpha1.SQLGroup{"Definition", "Read"}}, {Writes: v1alpha1.WritesAny},
		{Writes: v1alpha1.WritesUnfiltered}, {Relations: []string{"billing.*"}}, {Functions: []string{"f"}}, {Groups: []v1alpha1.SQLGroup{"Write", "Privilege"}, Relations: []string{"*.a"}},
	}
	return makeCommandRule([]string{"shop-gate", "cardea-system"}[r.IntN(2)], name, action, ms[r.IntN(len(ms))], ms[r.IntN(len(ms))])
}

// TestStricterRulesNeverAdmitMore adds rules to random policies: Deny and RequireApproval
// from anywhere never let more through, and Allow from a gate namespace never what a
// Deny rule refuses. RequireApproval is counted as stricter only for what was allowed.
func TestStricterRulesNeverAdmitMore(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	actions := []v1alpha1.RuleAction{v1alpha1.ActionDeny, v1alpha1.ActionRequireApproval, v1alpha1.ActionAudit, v1alpha1.ActionAllow}
	levels := []v1alpha1.AccessLevel{v1alpha1.AccessReadOnly, v1alpha1.AccessReadWrite, v1alpha1.AccessFull}
	for range 300 {
		var rules []*v1alpha1.CommandRule
		for i := range r.IntN(5) {
			rules = append(rules, anyRule(r, fmt.Sprintf("r%d", i), actions[r.IntN(len(actions))]))
		}
		level := levels[r.IntN(len(levels))]
		before := rulesOf(t, level, nil, rules...)
		deny := rulesOf(t, level, nil, append(slices.Clone(rules), anyRule(r, "new", v1alpha1.ActionDeny))...)
		hold := rulesOf(t, level, nil, append(slices.Clone(rules), anyRule(r, "new", v1alpha1.ActionRequireApproval))...)
		allow := rulesOf(t, level, nil, append(slices.Clone(rules), anyRule(r, "new", v1alpha1.ActionAllow))...)
		for range 30 {
			c := anyCommand(r)
			d := before.Decide(c)
			if n := deny.Decide(c); rank(n) > rank(d) {
				t.Fatalf("a Deny rule turns %+v into %+v for %+v", d, n, c.SQL)
			}
			if n := hold.Decide(c); n.Action == Allow && d.Action != Allow {
				t.Fatalf("a RequireApproval rule turns %+v into %+v for %+v", d, n, c.SQL)
			}
			n := allow.Decide(c)
			if d.Action == Deny && d.Refusal.Code != CodeDeniedByAccess && d.Rule.Name != "postgres-function-call" && n.Action != Deny || d.Action == RequireApproval && n.Action != RequireApproval {
				t.Fatalf("an Allow rule turns %+v into %+v for %+v", d, n, c.SQL)
			}
		}
	}
}

// TestRemovingObjectsNeverAdmits takes objects that an admission rests on away, one by
// one and in pairs.
func TestRemovingObjectsNeverAdmits(t *testing.T) {
	removals := map[string]func(*Input){
		"targets": func(in *Input) { in.Targets = nil }, "grants": func(in *Input) { in.Grants = nil }, "stores": func(in *Input) { in.Stores = nil },
		"masking rules": func(in *Input) { in.MaskingRules = nil }, "command rules": func(in *Input) { in.CommandRules = nil },
		"conditions": func(in *Input) { in.Grants[0].Status.Conditions = nil }, "labels": func(in *Input) { in.Targets[0].Labels = nil },
	}
	for a, first := range removals {
		for b, second := range removals {
			in := makeInput()
			if b != "grants" || a == b {
				second(&in)
			}
			if a == "conditions" && len(in.Grants) == 0 || a == "labels" && len(in.Targets) == 0 {
				continue
			}
			first(&in)
			if got, err := Compile(in).Admit(makeRequest(), noon); err == nil {
				t.Errorf("without %s and %s: %+v", a, b, got)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	version := func(change func(*Input)) string {
		in := makeInput()
		change(&in)
		a, err := Compile(in).Admit(makeRequest(), noon)
		if err != nil {
			t.Fatal(err)
		}
		return a.Version
	}
	base := version(func(*Input) {})
	same := map[string]func(*Input){
		"nothing":  func(*Input) {},
		"counters": func(in *Input) { in.MaskingRules[0].Status.Targets = 7; in.Stores[0].Status.Bytes = 9 },
		"another verifier": func(in *Input) {
			in.Grants[0].Status.Verifiers = append(in.Grants[0].Status.Verifiers, v1alpha1.CredentialVerifier{ID: "c2"})
		},
		"an idle lock": func(in *Input) {
			in.Locks = []*v1alpha1.AccessLock{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop-gate"}, Spec: v1alpha1.AccessLockSpec{Subjects: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "x"}}}}}
		},
		"another order": func(in *Input) { slices.Reverse(in.CommandRules) },
	}
	other := map[string]func(*Input){
		"mask":         func(in *Input) { in.MaskingRules[0].Spec.Columns[0].Names[0] = "public.customers.phone" },
		"rule message": func(in *Input) { in.CommandRules[0].Spec.Message = "x" },
		"one more rule": func(in *Input) {
			in.MaskingRules = append(in.MaskingRules, makeMaskingRule("cardea-system", "r", "*.*.x"))
		},
		"access level": func(in *Input) { in.Grants[0].Spec.Postgres.Access = v1alpha1.AccessFull },
		"target":       func(in *Input) { in.Targets[0].Spec.Postgres.Port++ },
		"target UID":   func(in *Input) { in.Targets[0].UID = "new" },
		"baseline": func(in *Input) {
			in.Targets[0].Spec.Baseline = &v1alpha1.Baseline{Disable: []string{"postgres-triggers"}}
		},
		"store": func(in *Input) { in.Stores[0].Spec.ConfigMap.MaxBytes++ },
	}
	for name, change := range same {
		if version(change) != base {
			t.Errorf("%s changes the version", name)
		}
	}
	for name, change := range other {
		if version(change) == base {
			t.Errorf("%s does not change the version", name)
		}
	}
}

// FuzzCompile compiles whatever decodes and asks everything of it: nothing panics.
func FuzzCompile(f *testing.F) {
	seed, err := json.Marshal(struct {
		In Input
		R  Request
		F  sql.Facts
	}{makeInput(), makeRequest(), *command(selectNode).SQL})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"In":{"Namespace":"a","Grants":[null,{}],"Targets":[null,{}],"Locks":[{}],"MaskingRules":[{}],"CommandRules":[{"spec":{"match":[{}]}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v struct {
			In Input
			R  Request
			F  sql.Facts
		}
		if json.Unmarshal(data, &v) != nil {
			t.Skip()
		}
		s := Compile(v.In)
		s.Verifiers(v.R.Grant, noon)
		s.Terminated("s")
		for _, g := range v.In.Grants {
			AssessGrant(v.In, g)
		}
		for _, tg := range v.In.Targets {
			AssessTarget(v.In, tg)
		}
		if a, err := s.Admit(v.R, noon); err == nil {
			a.Rules.Decide(&Command{Engine: a.Request.Engine, SQL: &v.F})
			a.Masks.Func(a.Masks.Mask("a", "b", "c"))
		}
	})
}

func TestEveryKnownNameIsCovered(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../sql/features.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.BasicLit); ok && v.Kind == token.STRING {
			if name, err := strconv.Unquote(v.Value); err != nil || !knownFeatures[name] {
				t.Errorf("feature %s has no baseline rule and is not known to be harmless", v.Value)
			}
		}
		return true
	})
	types, err := os.ReadFile("../../api/v1alpha1/commandrule_types.go")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`Enum=(Select;\S+)`).FindSubmatch(types)
	if m == nil {
		t.Fatal("the API's statements were not found")
	}
	statements := strings.Split(string(m[1]), ";")
	for _, s := range statements {
		if !knownStatements[sql.Kind(s)] {
			t.Errorf("statement %s is not known", s)
		}
	}
	if len(statements) != len(knownStatements) {
		t.Errorf("%d statements are known, the API has %d", len(knownStatements), len(statements))
	}
}

// BenchmarkCompile compiles ten thousand grants.
func BenchmarkCompile(b *testing.B) {
	in := makeInput()
	for i := range 10000 {
		g := makeGrant()
		g.Name = fmt.Sprintf("grant-%d", i)
		in.Grants = append(in.Grants, g)
	}
	for b.Loop() {
		Compile(in)
	}
}

func BenchmarkAdmit(b *testing.B) {
	s := Compile(makeInput())
	for b.Loop() {
		if _, err := s.Admit(makeRequest(), noon.Add(time.Second)); err != nil {
			b.Fatal(err)
		}
	}
}
