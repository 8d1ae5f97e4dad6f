package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

func TestExplain(t *testing.T) {
	writes := v1alpha1.SQLMatch{Writes: v1alpha1.WritesAny}
	failing := when("session.target.labels['none'] == ''")
	rules := rulesOf(t, v1alpha1.AccessReadOnly, nil,
		makeCommandRule("shop-gate", "deny", v1alpha1.ActionDeny, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Drop"}}, failing),
		makeCommandRule("shop-gate", "hold", v1alpha1.ActionRequireApproval, writes),
		makeCommandRule("shop-gate", "allow", v1alpha1.ActionAllow, writes, failing),
		makeCommandRule("shop-gate", "audit", v1alpha1.ActionAudit, writes, v1alpha1.SQLMatch{Functions: []string{"*"}}))
	c := command(insertNode).with(func(f *sql.Facts) { f.Features = []string{sql.FeatureCopyProgram} })
	e := Explain(rules, c)
	type row struct {
		name      string
		action    v1alpha1.RuleAction
		item      int
		undecided bool
	}
	var got []row
	for _, f := range e.Findings {
		got = append(got, row{f.Rule.Name, f.Action, f.Item, f.Undecided != nil})
	}
	want := []row{
		{"postgres-copy-program", v1alpha1.ActionDeny, -1, false},
		{"deny", v1alpha1.ActionDeny, 1, true},
		{"hold", v1alpha1.ActionRequireApproval, 0, false},
		{"allow", v1alpha1.ActionAllow, 0, false},
		{"allow", v1alpha1.ActionAllow, 1, true},
		{"audit", v1alpha1.ActionAudit, 0, false},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]sql.Node{insertNode}, e.Beyond); diff != "" {
		t.Errorf("beyond the access level (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rules.Decide(c), e.Decision); diff != "" {
		t.Errorf("another decision (-want +got):\n%s", diff)
	}
	if e := Explain(rules, command(sql.Node{})); e.Decision.Action != Deny || e.Findings != nil {
		t.Errorf("what is not understood: %+v", e)
	}
}
