package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// rulesOf returns the rules of a session under an access level and command rules.
func rulesOf(t testing.TB, level v1alpha1.AccessLevel, change func(*Input), rules ...*v1alpha1.CommandRule) Rules {
	t.Helper()
	in := makeInput()
	in.Targets[0].Spec.Requires = nil
	in.Grants[0].Spec.Postgres.Access = level
	in.CommandRules = rules
	if change != nil {
		change(&in)
	}
	a, err := Compile(in).Admit(makeRequest(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return a.Rules
}

func TestAccessLevels(t *testing.T) {
	tests := map[string]struct {
		node sql.Node
		want v1alpha1.AccessLevel // the lowest level that includes it
	}{
		"read": {selectNode, v1alpha1.AccessReadOnly}, "session": {setNode, v1alpha1.AccessReadOnly}, "transaction": {beginNode, v1alpha1.AccessReadOnly},
		"write": {insertNode, v1alpha1.AccessReadWrite}, "definition": {createTable, v1alpha1.AccessFull}, "privilege": {grantNode, v1alpha1.AccessFull},
		"administration": {vacuumNode, v1alpha1.AccessFull},
	}
	levels := []v1alpha1.AccessLevel{v1alpha1.AccessReadOnly, v1alpha1.AccessReadWrite, v1alpha1.AccessFull}
	for name, tc := range tests {
		allowed := false
		for _, level := range levels {
			allowed = allowed || level == tc.want
			d := rulesOf(t, level, nil).Decide(command(selectNode, tc.node))
			if (d.Action == Allow) != allowed {
				t.Errorf("%s with access %s: %+v", name, level, d)
			}
			if !allowed && (d.Refusal.Code != CodeDeniedByAccess || d.Rule.Kind != "AccessGrant") {
				t.Errorf("%s with access %s: %+v", name, level, d)
			}
		}
	}
}

func TestUnknownIsDenied(t *testing.T) {
	allowAll := makeCommandRule("cardea-system", "allow", v1alpha1.ActionAllow, v1alpha1.SQLMatch{
		Groups: []v1alpha1.SQLGroup{"Read", "Write", "Definition", "Privilege", "Session", "Transaction", "Administration"}})
	tests := map[string]*Command{
		"no command":          nil,
		"zero command":        {},
		"no facts":            {Engine: "postgres"},
		"zero facts":          {Engine: "postgres", SQL: &sql.Facts{}},
		"not known":           command(selectNode).with(func(f *sql.Facts) { f.Known, f.Unknown = false, "a new construct" }),
		"another engine":      {Engine: "mysql", SQL: command(selectNode).SQL},
		"no nodes":            command().with(func(f *sql.Facts) { f.Statements = 1 }),
		"nodes of nothing":    command(selectNode).with(func(f *sql.Facts) { f.Statements = 0 }),
		"negative":            command().with(func(f *sql.Facts) { f.Statements = -1 }),
		"zero node":           command(selectNode, sql.Node{}),
		"node of no group":    command(sql.Node{Kind: "Select"}),
		"node of a new group": command(sql.Node{Kind: "Select", Group: "Magic"}),
		"node of a new kind":  command(sql.Node{Kind: "Summon", Group: sql.GroupRead}),
		"new feature":         command(selectNode).with(func(f *sql.Facts) { f.Features = []string{"TimeTravel"} }),
		"empty with feature":  command().with(func(f *sql.Facts) { f.Features = []string{sql.FeatureAdvisoryLock} }),
		"empty with relation": command().with(func(f *sql.Facts) { f.Relations = []sql.Relation{{Name: "t"}} }),
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			d := rulesOf(t, v1alpha1.AccessFull, nil, allowAll).Decide(c)
			if d.Action != Deny || d.Refusal == nil || d.Refusal.Code != CodeUnknownCommand {
				t.Errorf("Decide() = %+v", d)
			}
		})
	}
	if d := rulesOf(t, v1alpha1.AccessReadOnly, nil).Decide(command()); d.Action != Allow {
		t.Errorf("the empty command: %+v", d)
	}
}

func TestPrecedence(t *testing.T) {
	drops := v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Drop"}}
	rule := func(ns, name string, a v1alpha1.RuleAction) *v1alpha1.CommandRule {
		return makeCommandRule(ns, name, a, drops)
	}
	terms := func(r *v1alpha1.CommandRule, required int32, timeout time.Duration) *v1alpha1.CommandRule {
		r.Spec.Approval.Required, r.Spec.Approval.Timeout.Duration = required, timeout
		return r
	}
	const gate, root = "shop-gate", "cardea-system"
	tests := map[string]struct {
		rules  []*v1alpha1.CommandRule
		level  v1alpha1.AccessLevel
		want   Action
		rule   string
		code   Code
		audits int
	}{
		"default allows":                  {level: v1alpha1.AccessFull, want: Allow},
		"default denies":                  {level: v1alpha1.AccessReadOnly, want: Deny, rule: "AccessGrant/shop-gate/agent", code: CodeDeniedByAccess},
		"deny over all":                   {rules: []*v1alpha1.CommandRule{rule(gate, "d", v1alpha1.ActionDeny), rule(root, "r", v1alpha1.ActionRequireApproval), rule(root, "a", v1alpha1.ActionAllow)}, level: v1alpha1.AccessFull, want: Deny, rule: "CommandRule/shop-gate/d", code: CodeDeniedByRule},
		"root deny names itself":          {rules: []*v1alpha1.CommandRule{rule(gate, "a", v1alpha1.ActionDeny), rule(root, "z", v1alpha1.ActionDeny)}, level: v1alpha1.AccessFull, want: Deny, rule: "CommandRule/cardea-system/z", code: CodeDeniedByRule},
		"approval over allow":             {rules: []*v1alpha1.CommandRule{rule(gate, "r", v1alpha1.ActionRequireApproval), rule(root, "a", v1alpha1.ActionAllow)}, level: v1alpha1.AccessReadOnly, want: RequireApproval, rule: "CommandRule/shop-gate/r"},
		"approval over default":           {rules: []*v1alpha1.CommandRule{rule(gate, "r", v1alpha1.ActionRequireApproval)}, level: v1alpha1.AccessReadOnly, want: RequireApproval, rule: "CommandRule/shop-gate/r"},
		"allow over default":              {rules: []*v1alpha1.CommandRule{rule(gate, "a", v1alpha1.ActionAllow)}, level: v1alpha1.AccessReadOnly, want: Allow, rule: "CommandRule/shop-gate/a"},
		"audit marks":                     {rules: []*v1alpha1.CommandRule{rule(gate, "x", v1alpha1.ActionAudit), rule(root, "y", v1alpha1.ActionAudit)}, level: v1alpha1.AccessFull, want: Allow, audits: 2},
		"audit admits nothing":            {rules: []*v1alpha1.CommandRule{rule(root, "y", v1alpha1.ActionAudit)}, level: v1alpha1.AccessReadOnly, want: Deny, rule: "AccessGrant/shop-gate/agent", code: CodeDeniedByAccess, audits: 1},
		"root approval keeps its terms":   {rules: []*v1alpha1.CommandRule{terms(rule(gate, "a", v1alpha1.ActionRequireApproval), 8, 10*time.Second), rule(root, "r", v1alpha1.ActionRequireApproval)}, level: v1alpha1.AccessFull, want: RequireApproval, rule: "CommandRule/cardea-system/r"},
		"most approvers":                  {rules: []*v1alpha1.CommandRule{rule(gate, "a", v1alpha1.ActionRequireApproval), terms(rule(gate, "b", v1alpha1.ActionRequireApproval), 2, time.Hour)}, level: v1alpha1.AccessFull, want: RequireApproval, rule: "CommandRule/shop-gate/b"},
		"shortest timeout":                {rules: []*v1alpha1.CommandRule{rule(gate, "a", v1alpha1.ActionRequireApproval), terms(rule(gate, "b", v1alpha1.ActionRequireApproval), 1, time.Minute)}, level: v1alpha1.AccessFull, want: RequireApproval, rule: "CommandRule/shop-gate/b"},
		"first name":                      {rules: []*v1alpha1.CommandRule{rule(gate, "b", v1alpha1.ActionRequireApproval), rule(gate, "a", v1alpha1.ActionRequireApproval)}, level: v1alpha1.AccessFull, want: RequireApproval, rule: "CommandRule/shop-gate/a"},
		"a rule for others does not hold": {rules: []*v1alpha1.CommandRule{rule("other", "d", v1alpha1.ActionDeny)}, level: v1alpha1.AccessFull, want: Allow},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := rulesOf(t, tc.level, nil, tc.rules...).Decide(command(dropTableNode))
			if d.Action != tc.want || RuleName(d.Rule) != tc.rule || len(d.Audit) != tc.audits {
				t.Fatalf("Decide() = %+v", d)
			}
			if (d.Refusal != nil) != (tc.want == Deny) || d.Refusal != nil && (d.Refusal.Code != tc.code || d.Refusal.Rule != tc.rule || d.Refusal.Hint == "") {
				t.Errorf("Refusal = %+v", d.Refusal)
			}
			if (d.Terms != nil) != (tc.want == RequireApproval) {
				t.Errorf("Terms = %+v", d.Terms)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	relations := func(rs ...sql.Relation) func(*sql.Facts) { return func(f *sql.Facts) { f.Relations = rs } }
	functions := func(names ...string) func(*sql.Facts) {
		return func(f *sql.Facts) {
			for _, n := range names {
				f.Functions = append(f.Functions, sql.Function{Name: n})
			}
		}
	}
	tests := map[string]struct {
		match v1alpha1.SQLMatch
		c     *Command
		// governed: a Deny rule denies it; admitted: an Allow rule lets it pass ReadOnly.
		governed, admitted bool
	}{
		"statement":                     {v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Insert"}}, command(insertNode), true, true},
		"another statement":             {v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Update"}}, command(insertNode), false, false},
		"one of two statements":         {v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Insert"}}, command(insertNode, createTable), true, false},
		"group":                         {v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Definition"}}, command(createTable), true, true},
		"object":                        {v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Definition"}, Objects: []string{"Table"}}, command(createTable), true, true},
		"another object":                {v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Definition"}, Objects: []string{"View"}}, command(createTable), false, false},
		"properties of different nodes": {v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Insert"}, Groups: []v1alpha1.SQLGroup{"Definition"}}, command(insertNode, createTable), false, false},
		"any write":                     {v1alpha1.SQLMatch{Writes: v1alpha1.WritesAny}, command(deleteNode), true, true},
		"no write":                      {v1alpha1.SQLMatch{Writes: v1alpha1.WritesAny}, command(createTable), false, false},
		"locking read is no write":      {v1alpha1.SQLMatch{Writes: v1alpha1.WritesAny}, command(sql.Node{Kind: "Select", Group: sql.GroupWrite}), false, false},
		"unfiltered":                    {v1alpha1.SQLMatch{Writes: v1alpha1.WritesUnfiltered}, command(deleteAllNode), true, true},
		"filtered":                      {v1alpha1.SQLMatch{Writes: v1alpha1.WritesUnfiltered}, command(deleteNode), false, false},
		"truncate is unfiltered":        {v1alpha1.SQLMatch{Writes: v1alpha1.WritesUnfiltered}, command(sql.Node{Kind: "Truncate", Group: sql.GroupWrite}), true, true},
		"relation":                      {v1alpha1.SQLMatch{Relations: []string{"billing.*"}}, command(insertNode).with(relations(sql.Relation{Schema: "billing", Name: "t"})), true, true},
		"relation by case":              {v1alpha1.SQLMatch{Relations: []string{"billing.*"}}, command(insertNode).with(relations(sql.Relation{Schema: "Billing", Name: "t"})), true, false},
		"relation of unknown schema":    {v1alpha1.SQLMatch{Relations: []string{"billing.t*"}}, command(insertNode).with(relations(sql.Relation{Name: "t"})), true, false},
		"relation of any schema":        {v1alpha1.SQLMatch{Relations: []string{"*.t"}}, command(insertNode).with(relations(sql.Relation{Name: "t"})), true, true},
		"one of two relations":          {v1alpha1.SQLMatch{Relations: []string{"billing.*"}}, command(insertNode).with(relations(sql.Relation{Schema: "billing", Name: "t"}, sql.Relation{Schema: "public", Name: "t"})), true, false},
		"any relation of the schema":    {v1alpha1.SQLMatch{Relations: []string{"billing.t"}}, command(insertNode).with(relations(sql.Relation{Schema: "billing"})), true, false},
		"any relation of another":       {v1alpha1.SQLMatch{Relations: []string{"billing.t"}}, command(insertNode).with(relations(sql.Relation{Schema: "public"})), false, false},
		"any relation at all":           {v1alpha1.SQLMatch{Relations: []string{"*.*"}}, command(insertNode).with(relations(sql.Relation{})), true, false},
		"no relation":                   {v1alpha1.SQLMatch{Relations: []string{"*.*"}}, command(insertNode), false, false},
		"function":                      {v1alpha1.SQLMatch{Functions: []string{"nextval"}}, command(insertNode).with(functions("nextval")), true, true},
		"function by case":              {v1alpha1.SQLMatch{Functions: []string{"nextval"}}, command(insertNode).with(functions("NextVal")), true, false},
		"one of two functions":          {v1alpha1.SQLMatch{Functions: []string{"next*"}}, command(insertNode).with(functions("nextval", "evil")), true, false},
		"no function":                   {v1alpha1.SQLMatch{Functions: []string{"*"}}, command(insertNode), false, false},
		"unnamed function":              {v1alpha1.SQLMatch{Functions: []string{"dblink*"}}, command(insertNode).with(functions("")), true, false},
		"statement and relation":        {v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Insert"}, Relations: []string{"a.*"}}, command(insertNode).with(relations(sql.Relation{Schema: "b", Name: "t"})), false, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := rulesOf(t, v1alpha1.AccessFull, nil, makeCommandRule("shop-gate", "d", v1alpha1.ActionDeny, tc.match)).Decide(tc.c)
			if (d.Action == Deny) != tc.governed {
				t.Errorf("under a Deny rule: %+v", d)
			}
			d = rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "a", v1alpha1.ActionAllow, tc.match)).Decide(tc.c)
			if (d.Action == Allow) != tc.admitted {
				t.Errorf("under an Allow rule: %+v", d)
			}
		})
	}
}

// A rule that denies a function denies x.f as well, which may call it.
func TestAttributeNotation(t *testing.T) {
	f := &sql.Facts{Known: true, Statements: 1, Nodes: []sql.Node{{Kind: "Select", Group: sql.GroupRead}}, Attributes: []string{"grab"}}
	for functions, want := range map[string]bool{"grab": true, "g*": true, "other": false} {
		m, err := compileMatch(v1alpha1.CommandMatch{SQL: &v1alpha1.SQLMatch{Functions: []string{functions}}}, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := m.matches(&question{facts: f}); got != want {
			t.Errorf("%s: %v, want %v", functions, got, want)
		}
	}
}

func TestApprovalAdmitsOnlyWhatItNames(t *testing.T) {
	r := rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "r", v1alpha1.ActionRequireApproval, v1alpha1.SQLMatch{Writes: v1alpha1.WritesUnfiltered}))
	if d := r.Decide(command(selectNode, deleteAllNode)); d.Action != RequireApproval {
		t.Errorf("an unfiltered delete: %+v", d)
	}
	if d := r.Decide(command(deleteAllNode, createTable)); d.Action != Deny || d.Refusal.Code != CodeDeniedByAccess {
		t.Errorf("with a definition beside it: %+v", d)
	}
}

func TestMaskViolation(t *testing.T) {
	violation := command(selectNode).with(func(f *sql.Facts) {
		f.MaskViolation, f.MaskedColumn = "a masked column stands in WHERE", "public.customers.email"
	})
	allow := makeCommandRule("cardea-system", "a", v1alpha1.ActionAllow, v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Read"}})
	hold := makeCommandRule("cardea-system", "r", v1alpha1.ActionRequireApproval, v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Read"}})
	d := rulesOf(t, v1alpha1.AccessFull, nil, allow, hold).Decide(violation)
	want := v1alpha1.RuleReference{Kind: "MaskingRule", Namespace: "shop-gate", Name: "pii"}
	if d.Action != Deny || d.Refusal.Code != CodeMaskedColumn || d.Rule != want {
		t.Errorf("on a masked target: %+v", d)
	}
	violation.SQL.MaskedColumn = "what.is.this.name"
	if d := rulesOf(t, v1alpha1.AccessFull, nil, allow).Decide(violation); d.Action != Deny || d.Refusal.Code != CodeMaskedColumn || d.Rule.Name != "" {
		t.Errorf("with an unreadable name: %+v", d)
	}
	if d := rulesOf(t, v1alpha1.AccessFull, func(in *Input) { in.MaskingRules = nil }).Decide(violation); d.Action != Allow {
		t.Errorf("without masks: %+v", d)
	}
}

func TestBaseline(t *testing.T) {
	disable := func(names ...string) func(*Input) {
		return func(in *Input) { in.Targets[0].Spec.Baseline = &v1alpha1.Baseline{Disable: names} }
	}
	everything := makeCommandRule("cardea-system", "a", v1alpha1.ActionAllow, v1alpha1.SQLMatch{
		Groups: []v1alpha1.SQLGroup{"Read", "Write", "Definition", "Privilege", "Session", "Transaction", "Administration"}})
	for _, b := range BaselineRules() {
		for _, feature := range b.features {
			c := command(selectNode).with(func(f *sql.Facts) { f.Features = []string{feature} })
			d := rulesOf(t, v1alpha1.AccessFull, nil, everything).Decide(c)
			if d.Action != Deny || d.Rule != b.Reference() || d.Refusal.Code != CodeDeniedByRule {
				t.Errorf("%s: %s: %+v", b.Name, feature, d)
			}
			if d := rulesOf(t, v1alpha1.AccessFull, disable(b.Name)).Decide(c); d.Action != Allow {
				t.Errorf("%s switched off: %s: %+v", b.Name, feature, d)
			}
		}
	}
	nodes := map[string][]sql.Node{
		"postgres-drop-database":   {dropDatabase},
		"postgres-do-block":        {{Kind: "Do", Group: sql.GroupAdministration}},
		"postgres-function-call":   {{Kind: "Call", Group: sql.GroupWrite}},
		"postgres-create-function": {createFunction, {Kind: "Rename", Group: sql.GroupDefinition, Object: "Function"}, {Kind: "Create", Group: sql.GroupDefinition, Object: "Operator"}},
	}
	for name, ns := range nodes {
		for _, n := range ns {
			if d := rulesOf(t, v1alpha1.AccessFull, nil, everything).Decide(command(n)); d.Action != Deny || d.Rule.Name != name {
				t.Errorf("%s: %+v: %+v", name, n, d)
			}
			if d := rulesOf(t, v1alpha1.AccessFull, disable(name)).Decide(command(n)); d.Action != Allow {
				t.Errorf("%s switched off: %+v: %+v", name, n, d)
			}
		}
	}
}

func TestFunctionCallsNeedARuleThatNamesThem(t *testing.T) {
	call := func(names ...string) *Command {
		return command(sql.Node{Kind: "Select", Group: sql.GroupWrite}).with(func(f *sql.Facts) {
			f.Features = []string{sql.FeatureFunctionCall}
			for _, n := range names {
				f.Functions = append(f.Functions, sql.Function{Name: n})
			}
		})
	}
	allow := makeCommandRule("shop-gate", "a", v1alpha1.ActionAllow, v1alpha1.SQLMatch{Functions: []string{"refresh_*", "count"}})
	deny := makeCommandRule("shop-gate", "d", v1alpha1.ActionDeny, v1alpha1.SQLMatch{Writes: v1alpha1.WritesAny})
	tests := map[string]struct {
		rules []*v1alpha1.CommandRule
		c     *Command
		want  Action
	}{
		"no rule":          {nil, call("refresh_stock"), Deny},
		"named":            {[]*v1alpha1.CommandRule{allow}, call("refresh_stock", "count"), Allow},
		"not all named":    {[]*v1alpha1.CommandRule{allow}, call("refresh_stock", "evil"), Deny},
		"none known":       {[]*v1alpha1.CommandRule{allow}, call(), Deny},
		"it may write":     {[]*v1alpha1.CommandRule{allow, deny}, call("refresh_stock"), Deny},
		"rule of no names": {[]*v1alpha1.CommandRule{makeCommandRule("shop-gate", "a", v1alpha1.ActionAllow, v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Write"}})}, call("evil"), Deny},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, level := range []v1alpha1.AccessLevel{v1alpha1.AccessReadOnly, v1alpha1.AccessFull} {
				if d := rulesOf(t, level, nil, tc.rules...).Decide(tc.c); d.Action != tc.want {
					t.Errorf("access %s: %+v", level, d)
				}
			}
		})
	}
}

func TestDecideIsDeterministic(t *testing.T) {
	r := rulesOf(t, v1alpha1.AccessReadOnly, nil, makeInput().CommandRules...)
	for _, c := range []*Command{command(deleteAllNode), command(selectNode), command(createTable), nil} {
		if diff := cmp.Diff(r.Decide(c), r.Decide(c)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAllowingAllocatesNothing(t *testing.T) {
	r, c := rulesOf(t, v1alpha1.AccessReadOnly, nil, makeInput().CommandRules...), command(selectNode)
	if n := testing.AllocsPerRun(100, func() { r.Decide(c) }); n > 0 {
		t.Errorf("a plain decision allocates %v times", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	r, c := rulesOf(b, v1alpha1.AccessReadOnly, nil, makeInput().CommandRules...), command(selectNode)
	for b.Loop() {
		r.Decide(c)
	}
}
