package policy

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/baseline.md anew")

const baselineHeader = `# Baseline rules

These rules ship with the product and are on for every Target. Each stops an attack that no ordinary client needs. A
Target switches one off by name, for itself alone:

    spec:
      baseline:
        disable: [postgres-drop-database]

A name that is not in this list shuts the Target, so that a misspelling is found at once.

No Allow rule overrules a baseline rule, from whatever namespace. There is one exception: an Allow rule (or a
RequireApproval rule) whose ` + "`functions`" + ` name every function of a command lifts ` + "`postgres-function-call`" + ` for it.

The rules work on what the parser found, not on the text: spelling, letter case, comments, nesting in CTEs, PREPARE or
EXPLAIN make no difference. They are the first barrier; the privileges of the upstream login are the second, and should
not include what these rules deny.

| rule | denies | the attack it stops |
|---|---|---|
`

func baselineDoc() string {
	var b strings.Builder
	b.WriteString(baselineHeader)
	for _, r := range BaselineRules() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Name, r.Denies, r.Attack)
	}
	return b.String()
}

// TestBaselineDoc holds docs/baseline.md to the rules; -update writes it.
func TestBaselineDoc(t *testing.T) {
	const path = "../../docs/baseline.md"
	if *update {
		if err := os.WriteFile(path, []byte(baselineDoc()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(baselineDoc(), string(got)); diff != "" {
		t.Errorf("run go test ./proxy/policy -run BaselineDoc -update (-want +got):\n%s", diff)
	}
	names := map[string]bool{}
	for _, r := range BaselineRules() {
		if names[r.Name] || len(r.Name) > 63 || r.Denies == "" || r.Attack == "" {
			t.Errorf("baseline rule %q is not complete, or is there twice", r.Name)
		}
		names[r.Name] = true
	}
}

// TestRefusalsDoc holds docs/refusals.md and docs/agents.md to the codes.
func TestRefusalsDoc(t *testing.T) {
	doc, err := os.ReadFile("../../docs/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	agents, err := os.ReadFile("../../docs/agents.md")
	if err != nil {
		t.Fatal(err)
	}
	_, advice, _ := strings.Cut(string(agents), "## When something is refused")
	file, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.BasicLit)
		if !ok || !strings.HasPrefix(v.Value, `"CDA-`) {
			return true
		}
		found++
		if row := "| `" + strings.Trim(v.Value, `"`) + "` | "; strings.Count(string(doc), row) != 1 {
			t.Errorf("docs/refusals.md has no row, or more than one, for %s", v.Value)
		}
		if code := "`" + strings.Trim(v.Value, `"`) + "`"; strings.Count(advice, code) != 1 {
			t.Errorf("docs/agents.md says nothing, or twice, what to do about %s", code)
		}
		return true
	})
	if n := strings.Count(advice, "`CDA-"); n != found {
		t.Errorf("docs/agents.md advises on %d codes, and there are %d", n, found)
	}
	if found == 0 {
		t.Error("no codes were found")
	}
}

// TestRulesDoc holds docs/rules.md to what expressions can look at.
func TestRulesDoc(t *testing.T) {
	doc, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for of, all := range fields {
		for name, f := range all {
			_, short, _ := strings.Cut(of, ".")
			of := f.of.String()
			of = strings.NewReplacer("list(cardea.", "list of ", "list(", "list of ", "map(string, string)", "map of string", "cardea.", "", ")", "").Replace(of)
			row := fmt.Sprintf("| `%s.%s` | %s | ", strings.ToLower(short), name, of)
			if strings.Count(string(doc), row) != 1 {
				t.Errorf("docs/rules.md has no row, or more than one: %s", row)
			}
			rows++
		}
	}
	if got := strings.Count(string(doc), "\n| `statement.") + strings.Count(string(doc), "\n| `session.") + strings.Count(string(doc), "\n| `node.") + strings.Count(string(doc), "\n| `relation.") +
		strings.Count(string(doc), "\n| `function.") + strings.Count(string(doc), "\n| `subject.") + strings.Count(string(doc), "\n| `target."); got != rows {
		t.Errorf("docs/rules.md has %d rows for %d fields", got, rows)
	}
	_, examples, _ := strings.Cut(string(doc), "## Expressions")
	examples, _, _ = strings.Cut(examples, "## Programs")
	for line := range strings.Lines(examples) {
		expression, _, _ := strings.Cut(strings.TrimSpace(line), "  #")
		if !strings.HasPrefix(line, "    ") || strings.HasPrefix(expression, "#") {
			continue
		}
		if _, err := compileExpression(expression); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
}
