package policy

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

func when(expression string) v1alpha1.SQLMatch { return v1alpha1.SQLMatch{Expression: expression} }

// TestExpressionsThatDoNotCompile holds that a slip of the pen is found before any command
// meets the rule, and says where it is.
func TestExpressionsThatDoNotCompile(t *testing.T) {
	tests := map[string]struct{ expression, want string }{
		"field":                  {"statement.kindz.exists(k, k == 'Drop')", "line 1, column 10: undefined field 'kindz'"},
		"variable":               {"stmt.unfiltered", "undeclared reference to 'stmt'"},
		"field of an element":    {"statement.nodes.exists(n, n.type == 'Drop')", "undefined field 'type'"},
		"has":                    {"has(session.foo)", "undefined field 'foo'"},
		"syntax":                 {"1 +", "Syntax error"},
		"string":                 {"session.grant", "must be a bool"},
		"of any type":            {"dyn(true)", "must be a bool"},
		"types":                  {"statement.count > 1u", "no matching overload"},
		"kind":                   {"statement.kinds.exists(k, k == 'Drpo')", `"Drpo" is no kind of statement`},
		"kind in a list":         {"statement.nodes.all(n, n.kind in ['Insert', 'Selct'])", `"Selct" is no kind of statement`},
		"kind before in":         {"'drop' in statement.kinds", `"drop" is no kind of statement`},
		"group":                  {"statement.nodes.exists(n, n.group != 'Reed')", `"Reed" is no group`},
		"feature":                {"'Copy' in statement.features", `"Copy" is no feature`},
		"access":                 {"session.access == 'Readonly'", `"Readonly" is no access level`},
		"subject":                {"session.subject.kind == 'Robot'", `"Robot" is no kind of subject`},
		"pattern of the command": {"statement.relations.exists(r, 'x'.matches(r.name))", "the pattern must be a literal"},
		"pattern":                {"session.grant.matches('(')", "invalid matches argument"},
		"large pattern":          {"session.grant.matches('(a{1000}){1000}')", "invalid matches argument"},
		"long pattern":           {"session.grant.matches('(a{900})(b{900})')", "exceeds"},
		"time":                   {"timestamp('2026-01-01T00:00:00Z') < now", "undeclared reference to 'now'"},
		"text":                   {"statement.text.contains('x')", "undefined field 'text'"},
		"object":                 {"cardea.Node{kind: 'Drop'}.kind == 'Drop'", "no objects are made"},
		"nested":                 {"statement.relations.exists(a, statement.relations.exists(b, statement.relations.exists(c, a.name == b.name)))", "nesting limit"},
		"costly":                 {"statement.relations.exists(a, statement.relations.exists(b, a.name.contains(b.name) && b.name.contains(a.name) && a.name + b.name == 'x'))", "may cost more than the limit"},
		"long":                   {strings.Repeat(" ", maxExpression) + "true", "1 to 2048 bytes"},
		"deep":                   {strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500), "recursion"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := compileExpression(tc.expression)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want one line with %q", err, tc.want)
			}
			r := makeCommandRule("shop-gate", "e", v1alpha1.ActionAllow, when(tc.expression))
			if a := AssessCommandRule(r); a.OK || a.Reason != v1alpha1.ReasonRuleInvalid || !strings.Contains(a.Message, "spec.match[0]: sql.expression: ") {
				t.Errorf("AssessCommandRule() = %+v", a)
			}
			in := makeInput()
			in.CommandRules = append(in.CommandRules, r)
			if _, err := Compile(in).Admit(makeRequest(), noon); err == nil {
				t.Error("the Target is open")
			}
		})
	}
}

func TestExpressions(t *testing.T) {
	facts := func() *Command {
		return command(selectNode, deleteAllNode).with(func(f *sql.Facts) {
			f.Relations = []sql.Relation{{Schema: "billing", Name: "invoices", Write: true}, {Name: "orders"}}
			f.Functions = []sql.Function{{Schema: "pg_catalog", Name: "now"}, {Name: "lower"}}
			f.Attributes = []string{"total"}
			f.Features = []string{sql.FeatureAdvisoryLock}
		})
	}
	const fails = "fails"
	tests := map[string]string{ // true, false or fails
		"statement.count == 2":                                                      "true",
		"statement.unfiltered":                                                      "true",
		"statement.kinds == ['Select', 'Delete']":                                   "true",
		"statement.groups == ['Read', 'Write']":                                     "true",
		"statement.objects == []":                                                   "true",
		"statement.nodes.exists(n, n.kind == 'Delete' && n.unfiltered)":             "true",
		"statement.nodes.exists(n, n.kind == 'Select' && n.unfiltered)":             "false",
		"statement.nodes.all(n, n.object == '')":                                    "true",
		"statement.attributes == ['total'] && 'AdvisoryLock' in statement.features": "true",
		// What is known decides; what is not is needed by neither.
		"statement.relations.exists(r, r.schema == 'billing')":                    "true",
		"statement.relations.exists(r, r.name == 'orders' && !r.write)":           "true",
		"statement.relations.all(r, r.name != 'secrets')":                         "true",
		"statement.relations.exists(r, has(r.schema) && r.schema == 'hr')":        "false",
		"statement.relations.exists(r, !has(r.schema))":                           "true",
		"statement.functions.exists(f, f.name.matches('^(?i)LOW'))":               "true",
		"statement.functions.filter(f, has(f.schema)).all(f, f.schema == 'x')":    "false",
		"statement.relations.map(r, r.name) == ['invoices', 'orders']":            "true",
		"statement.relations.exists_one(r, r.write && r.name.startsWith('inv'))":  "true",
		"session.namespace == 'shop-gate' && session.grant == 'agent'":            "true",
		"session.access == 'ReadOnly' && session.database == 'orders'":            "true",
		"session.subject.kind == 'ServiceAccount'":                                "true",
		"session.subject.username == 'system:serviceaccount:shop:agent'":          "true",
		"session.subject.namespace + '/' + session.subject.name == 'shop/agent'":  "true",
		"session.target.name == 'orders-db'":                                      "true",
		"session.target.labels['tier'] == 'prod'":                                 "true",
		"'team' in session.target.labels && session.target.labels['team'] == 'a'": "false",
		"session.target.labels.map(k, k)[0] == 'tier'":                            "true",
		"session.inTransaction":                                                   "true",
		"statement.relations.exists(r, r.schema == 'hr')":                         fails,
		"statement.relations.all(r, r.schema == 'billing')":                       fails,
		"!statement.relations.exists(r, r.schema == 'hr')":                        fails,
		"session.target.labels['team'] == 'a'":                                    fails,
		"statement.kinds[7] == 'Drop'":                                            fails,
		"1 / (statement.count - 2) == 0":                                          fails,
	}
	for expression, want := range tests {
		t.Run(expression, func(t *testing.T) {
			c := facts()
			c.InTransaction = true
			decide := func(action v1alpha1.RuleAction) Decision {
				return rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "e", action, when(expression))).Decide(c)
			}
			applies := want != "false"
			if d := decide(v1alpha1.ActionDeny); (d.Rule.Name == "e") != applies || d.Action != Deny {
				t.Errorf("Deny: %+v", d)
			}
			if d := decide(v1alpha1.ActionAllow); (d.Action == Allow) != (want == "true") {
				t.Errorf("Allow: %+v", d)
			}
			// It admits, with approval, only what it surely speaks of.
			if d := decide(v1alpha1.ActionRequireApproval); (d.Action == RequireApproval) != (want == "true") || d.Action == Allow {
				t.Errorf("RequireApproval: %+v", d)
			}
			if d := decide(v1alpha1.ActionAudit); (len(d.Audit) == 1) != applies {
				t.Errorf("Audit: %+v", d)
			}
			hold := rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "e", v1alpha1.ActionRequireApproval, when(expression)),
				makeCommandRule("shop-gate", "a", v1alpha1.ActionAllow, v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"Write"}})).Decide(c)
			if (hold.Action == RequireApproval) != applies {
				t.Errorf("RequireApproval of what is allowed: %+v", hold)
			}
		})
	}
}

func TestExpressionsAreAskedLast(t *testing.T) {
	failing := when("session.target.labels['none'] == ''")
	failing.Statements = []v1alpha1.SQLStatement{"Drop"}
	r := rulesOf(t, v1alpha1.AccessFull, nil, makeCommandRule("shop-gate", "e", v1alpha1.ActionDeny, failing))
	if d := r.Decide(command(selectNode)); d.Action != Allow {
		t.Errorf("a command that the other fields do not match: %+v", d)
	}
	d := r.Decide(command(dropTableNode))
	if d.Action != Deny || !strings.Contains(d.Refusal.Message, "its expression cannot be evaluated") || strings.Contains(d.Refusal.Message, "none") {
		t.Errorf("a command that they match: %+v", d.Refusal)
	}
}

// TestExpressionAdmitsNode holds that an Allow rule's expression does not widen its other
// fields: each statement of a command still needs a rule that speaks of it.
func TestExpressionAdmitsNode(t *testing.T) {
	m := when("session.database == 'orders'")
	m.Statements = []v1alpha1.SQLStatement{"Insert"}
	r := rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "e", v1alpha1.ActionAllow, m))
	if d := r.Decide(command(insertNode)); d.Action != Allow || d.Rule.Name != "e" {
		t.Errorf("an INSERT: %+v", d)
	}
	if d := r.Decide(command(insertNode, createTable)); d.Action != Deny {
		t.Errorf("with a definition beside it: %+v", d)
	}
	r = rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "e", v1alpha1.ActionAllow, when("statement.nodes.all(n, n.kind in ['Select', 'Insert'])")))
	if d := r.Decide(command(selectNode, insertNode)); d.Action != Allow {
		t.Errorf("by expression alone: %+v", d)
	}
	if d := r.Decide(command(insertNode, createTable)); d.Action != Deny {
		t.Errorf("by expression alone, with a definition beside it: %+v", d)
	}
}

// crowd is a command that uses many relations and functions.
func crowd(n int) *Command {
	return command(insertNode).with(func(f *sql.Facts) {
		for i := range n {
			f.Relations = append(f.Relations, sql.Relation{Schema: "s", Name: fmt.Sprint(strings.Repeat("x", 50), i)})
			f.Functions = append(f.Functions, sql.Function{Name: fmt.Sprint("f", i)})
		}
	})
}

// TestExpressionsAreBounded holds that a command too large to be looked at is refused, and
// that many rules together cost no more than a few.
func TestExpressionsAreBounded(t *testing.T) {
	var deny, allow []*v1alpha1.CommandRule
	for i := range 64 {
		m := when(fmt.Sprintf("statement.relations.exists(r, r.name.matches('(x+x+)+y%d'))", i))
		deny = append(deny, makeCommandRule("shop-gate", fmt.Sprint("d", i), v1alpha1.ActionDeny, m))
		allow = append(allow, makeCommandRule("shop-gate", fmt.Sprint("a", i), v1alpha1.ActionAllow, m))
	}
	c := crowd(10_000)
	if d := rulesOf(t, v1alpha1.AccessFull, nil, deny...).Decide(c); d.Action != Deny || d.Rule.Name != "d0" {
		t.Errorf("Deny: %+v", d)
	}
	if d := rulesOf(t, v1alpha1.AccessReadOnly, nil, allow...).Decide(c); d.Action != Deny || d.Refusal.Code != CodeDeniedByAccess {
		t.Errorf("Allow: %+v", d)
	}
	q := &question{facts: c.SQL, session: newSessionFacts(makeGrant(), makeTarget(), "orders")}
	for _, r := range allow {
		e, err := compileExpression(r.Spec.Match[0].SQL.Expression)
		if err != nil {
			t.Fatal(err)
		}
		if a := q.ask(e); a.err == nil || a.holds {
			t.Fatalf("%+v", a)
		}
	}
	// Each is cut one operation past its limit at the latest.
	if most := uint64(maxDecisionCost + 2*maxCost); q.asked.cost > most {
		t.Errorf("all expressions together cost %d, more than %d", q.asked.cost, most)
	}
	if d := rulesOf(t, v1alpha1.AccessFull, nil, deny...).Decide(crowd(100)); d.Action != Allow {
		t.Errorf("an ordinary command: %+v", d)
	}
}

// TestLookalikes holds that names are what the server takes them for: letters that look
// alike, or differ in case inside quotes, are other names, and no rule that admits takes
// one for the other.
func TestLookalikes(t *testing.T) {
	for name, n := range map[string]string{"Cyrillic": "оrders", "full width": "ｏrders", "Kelvin sign": "\u212aeys", "case": "Orders", "combining": "orders\u0301", "blank": "orders ", "zero width": "or\u200bders"} {
		c := command(insertNode).with(func(f *sql.Facts) { f.Relations = []sql.Relation{{Schema: "public", Name: n}} })
		for what, m := range map[string]v1alpha1.SQLMatch{
			"names":      {Relations: []string{"public.orders", "public.keys"}},
			"expression": when("statement.relations.all(r, r.schema == 'public' && r.name in ['orders', 'keys'])"),
		} {
			if d := rulesOf(t, v1alpha1.AccessReadOnly, nil, makeCommandRule("shop-gate", "a", v1alpha1.ActionAllow, m)).Decide(c); d.Action != Deny {
				t.Errorf("%s by %s: %+v", name, what, d)
			}
		}
	}
}

// TestExpressionZeroValues holds that nothing is admitted by what was never filled in.
func TestExpressionZeroValues(t *testing.T) {
	e, err := compileExpression("true")
	if err != nil {
		t.Fatal(err)
	}
	rules := &ruleSet{allow: []*commandRule{{matches: []match{{expression: e}}}}}
	for name, s := range map[string]*sessionRules{"no session": {engine: "postgres", rules: rules, masks: newMasks(nil, nil)}} {
		if d := s.Decide(command(sql.Node{})); d.Action != Deny {
			t.Errorf("%s: %+v", name, d)
		}
	}
	var zero answer
	if zero.holds {
		t.Error("the zero answer holds")
	}
	// An expression that looks at a session which is not there fails, and does not panic.
	e, err = compileExpression("session.database != ''")
	if err != nil {
		t.Fatal(err)
	}
	if a := (&question{facts: &sql.Facts{}}).ask(e); a.err == nil || a.holds {
		t.Errorf("without a session: %+v", a)
	}
}

// TestExpressionsInTheVersion holds that what an expression looks at is part of the
// policy's version.
func TestExpressionsInTheVersion(t *testing.T) {
	version := func(change func(*Input)) string {
		in := makeInput()
		in.CommandRules = append(in.CommandRules, makeCommandRule("shop-gate", "e", v1alpha1.ActionDeny, when("session.target.labels['color'] == 'red'")))
		change(&in)
		a, err := Compile(in).Admit(makeRequest(), noon)
		if err != nil {
			t.Fatal(err)
		}
		return a.Version
	}
	base := version(func(*Input) {})
	if version(func(in *Input) { in.Targets[0].Labels["color"] = "red" }) == base {
		t.Error("a label of the Target does not change the version")
	}
	if version(func(in *Input) { in.CommandRules[1].Spec.Match[0].SQL.Expression = "false" }) == base {
		t.Error("an expression does not change the version")
	}
}

// FuzzExpression compiles and asks whatever it is given: nothing panics, and what fails
// does not hold.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"statement.unfiltered", "statement.relations.exists(r, r.schema == 'a')", "session.target.labels.map(k, k)[0] == 'a'",
		"statement.nodes.all(n, n.kind in ['Insert'])", "type(session) == cardea.Session", "[1,2].map(x, x * 2)[0] == 2", "statement.kinds + ['x'] == []"} {
		f.Add(s)
	}
	c := crowd(3)
	session := newSessionFacts(makeGrant(), &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b", "c": "d"}}}, "orders")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := newExpression(text)
		if err != nil {
			t.Skip()
		}
		first := (&question{facts: c.SQL, session: session}).ask(e)
		second := (&question{facts: c.SQL, session: session}).ask(e)
		if first.holds && first.err != nil || first.holds != second.holds || (first.err == nil) != (second.err == nil) {
			t.Errorf("%+v, then %+v", first, second)
		}
	})
}

func BenchmarkExpression(b *testing.B) {
	tests := map[string]struct {
		expression string
		c          *Command
	}{
		"flag":      {"session.inTransaction", command(selectNode)},
		"relations": {"statement.relations.exists(r, has(r.schema) && r.schema == 'billing') && session.target.labels['tier'] == 'prod'", crowd(2)},
		"costly":    {"statement.relations.exists(r, r.name.matches('(x+x+)+y'))", crowd(10_000)},
	}
	for name, tc := range tests {
		b.Run(name, func(b *testing.B) {
			r := rulesOf(b, v1alpha1.AccessFull, nil, makeCommandRule("shop-gate", "e", v1alpha1.ActionAudit, when(tc.expression)))
			b.ReportAllocs()
			for b.Loop() {
				r.Decide(tc.c)
			}
		})
	}
}

func BenchmarkNewExpression(b *testing.B) {
	for b.Loop() {
		if _, err := newExpression("statement.relations.exists(r, has(r.schema) && r.schema == 'billing') && session.target.labels['tier'] == 'prod'"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFieldsAreRead holds that each declared field is there for the values it is read from.
func TestFieldsAreRead(t *testing.T) {
	facts := command(selectNode).with(func(f *sql.Facts) { f.Attributes, f.Features = []string{"a"}, []string{sql.FeatureAdvisoryLock} }).SQL
	session := newSessionFacts(makeGrant(), makeTarget(), "orders")
	from := map[string]any{
		typeStatement.TypeName(): &statementFacts{facts: facts},
		typeNode.TypeName():      dropTableNode,
		typeRelation.TypeName():  sql.Relation{Schema: "s", Name: "n"},
		typeFunction.TypeName():  sql.Function{Schema: "s", Name: "n"},
		typeSession.TypeName():   &evaluation{session: session},
		typeTarget.TypeName():    session,
		typeSubject.TypeName():   makeGrant().Spec.Subject,
	}
	for of, all := range fields {
		for name, f := range all {
			if f.get(from[of]) == nil {
				t.Errorf("%s.%s is not read", of, name)
			}
			if f.get(nil) != nil || f.get(42) != nil {
				t.Errorf("%s.%s is read from what it is not in", of, name)
			}
		}
	}
}
