package access

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/explain"
	"github.com/cardea-dev/cardea/test/pgtest"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

func TestMain(m *testing.M) {
	explain.WorkerMain()
	os.Exit(m.Run())
}

// run runs the plugin and returns its exit code and what it printed.
func run(t *testing.T, stdin string, args ...string) (code int, out, errOut string) {
	t.Helper()
	streams, in, o, e := genericiooptions.NewTestIOStreams()
	in.WriteString(stdin)
	code = Main(streams, args)
	return code, o.String(), e.String()
}

const rules = "testdata/explain/rules"

func TestExplain(t *testing.T) {
	t.Setenv("PGHOST", "")
	t.Setenv("COLUMNS", "")
	tests := map[string]struct {
		args []string
		want int
	}{
		"allowed":          {[]string{"--target", "ledger", "SELECT total FROM accounts WHERE id = 7"}, 0},
		"grant":            {[]string{"--grant", "clerk", "UPDATE public.accounts SET total = 0 WHERE id = 7"}, 0},
		"beyond":           {[]string{"--target", "ledger", "UPDATE accounts SET total = 0 WHERE id = 7"}, 3},
		"archive":          {[]string{"--grant", "clerk", "DELETE FROM archive.y2019 WHERE id = 1"}, 3},
		"spelling":         {[]string{"--grant", "clerk", `WITH x AS (DELETE FROM "archive" . y2019 WHERE id = 1 RETURNING id) SELECT 1`}, 3},
		"any-schema":       {[]string{"--grant", "clerk", "DELETE FROM y2019 WHERE id = 1"}, 3},
		"approval":         {[]string{"--target", "ledger", "--access", "Full", "TRUNCATE scratch.a"}, 4},
		"audit":            {[]string{"--target", "ledger", "--access", "Full", "COPY scratch.a TO STDOUT"}, 0},
		"baseline":         {[]string{"--target", "ledger", "--access", "Full", "COPY scratch.a TO PROGRAM 'sh'"}, 3},
		"disabled":         {[]string{"--target", "ledger", "--access", "Full", "SELECT lo_unlink(1)"}, 0},
		"expression":       {[]string{"--target", "ledger", "DROP TABLE scratch.a"}, 0},
		"expression-fails": {[]string{"--target", "ledger", "DROP TABLE a"}, 3},
		"unknown":          {[]string{"--target", "ledger", "SELEC 1"}, 3},
		"masks":            {[]string{"--target", "people", "SELECT email FROM people"}, 5},
		"masks-denied":     {[]string{"--target", "people", "DROP DATABASE people"}, 3},
		"masks-held":       {[]string{"--target", "people", "--access", "ReadWrite", "DELETE FROM public.people"}, 4},
		"database":         {[]string{"--grant", "clerk", "--database", "other", "SELECT 1"}, 3},
		"json":             {[]string{"--target", "ledger", "-o", "json", "DELETE FROM scratch.a"}, 4},
		"yaml":             {[]string{"--target", "ledger", "-o", "yaml", "DELETE FROM scratch.a"}, 4},
		"hostile":          {[]string{"--target", "ledger", "SELECT 1 FROM \"\x1b[2Jgone\u202e\""}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := run(t, "", append([]string{"explain", "-f", rules}, tc.args...)...)
			if code != tc.want || errOut != "" {
				t.Errorf("exit code %d, want %d; %s", code, tc.want, errOut)
			}
			golden(t, name, out)
		})
	}
}

// Commands for containers are explained by the rules of the sample.
func TestExplainCommands(t *testing.T) {
	t.Setenv("PGHOST", "")
	t.Setenv("COLUMNS", "")
	for name, tc := range map[string]struct {
		args []string
		want int
	}{
		"command":          {[]string{"--grant", "cluster-agent", "ls -l /tmp; cd /etc && cat /etc/os-release"}, 0},
		"command-denied":   {[]string{"--grant", "cluster-agent", "sh -c 'id; rm -rf /' > /tmp/x"}, 3},
		"command-unknown":  {[]string{"--target", "cluster", "$EDITOR x"}, 3},
		"command-approval": {[]string{"--grant", "cluster-agent", "kill -HUP 1"}, 4},
		"command-json":     {[]string{"--grant", "cluster-agent", "-o", "json", "kill -HUP 1"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := run(t, "", append([]string{"explain", "-f", "../../../../config/samples/kubernetes"}, tc.args...)...)
			if code != tc.want || errOut != "" {
				t.Errorf("exit code %d, want %d; %s", code, tc.want, errOut)
			}
			golden(t, name, out)
		})
	}
	code, _, errOut := run(t, "", "explain", "-f", "../../../../config/samples/kubernetes", "--access", "Full", "ls")
	if code != 1 || !strings.Contains(errOut, "--access is for databases") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "explain", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("go test ./cmd/kubectl-access/... -run TestExplain -update writes it anew (-want +got):\n%s", diff)
	}
}

func TestExplainHasNoAnswer(t *testing.T) {
	t.Setenv("PGHOST", "")
	broken := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(broken, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(rules, "targets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write("targets.yaml", string(content))
	write("rule.yml", `{apiVersion: access.cardea.dev/v1alpha1, kind: CommandRule, metadata: {name: typo, namespace: books}, spec: {targetSelector: {matchLabels: {tier: prod}},
  match: [{sql: {expression: "statement.kindz == []"}}], action: Deny}}`)
	twice := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(twice, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		args []string
		want string
	}{
		"no SQL":              {[]string{"-f", rules}, "accepts 1 arg"},
		"no such file":        {[]string{"-f", "nowhere", "SELECT 1"}, "no such file"},
		"several Targets":     {[]string{"-f", rules, "SELECT 1"}, "choose one with --target: ledger, people"},
		"no such Target":      {[]string{"-f", rules, "--target", "x", "SELECT 1"}, "there is no Target \"x\""},
		"no such grant":       {[]string{"-f", rules, "--grant", "x", "SELECT 1"}, "there is no AccessGrant \"x\""},
		"grant and access":    {[]string{"-f", rules, "--grant", "clerk", "--access", "Full", "SELECT 1"}, "alternatives"},
		"grant of another":    {[]string{"-f", rules, "--grant", "clerk", "--target", "people", "SELECT 1"}, "is for Target ledger"},
		"access":              {[]string{"-f", rules, "--target", "ledger", "--access", "Root", "SELECT 1"}, "choose ReadOnly"},
		"format":              {[]string{"-f", rules, "--target", "ledger", "-o", "xml", "SELECT 1"}, "choose json or yaml"},
		"rule of no sense":    {[]string{"-f", broken, "--target", "ledger", "SELECT 1"}, "undefined field 'kindz'"},
		"objects twice":       {[]string{"-f", twice, "--target", "ledger", "SELECT 1"}, "already"},
		"database is missing": {[]string{"-f", rules, "--target", "people", "--dsn", "postgres://nobody@127.0.0.1:1/x?sslmode=disable", "SELECT 1"}, "connect to the database"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := run(t, "", append([]string{"explain"}, tc.args...)...)
			if code != 1 || out != "" || !strings.Contains(errOut, tc.want) {
				t.Errorf("exit code %d, printed %q, error %q, want %q", code, out, errOut, tc.want)
			}
		})
	}
}

// TestExplainWithDatabase has masks established by a real catalog, and holds that nothing
// is executed there.
func TestExplainWithDatabase(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(t, "postgres", "CREATE TABLE people (id int PRIMARY KEY, email text, note text); INSERT INTO people VALUES (1, 'a@b', 'x')")
	dsn := s.URI("postgres", "postgres", s.Password)
	tests := map[string]struct {
		sql  string
		want int
	}{
		"db-plain":     {"SELECT id, email, note FROM people", 0},
		"db-renamed":   {"SELECT p.email AS id FROM people p", 0},
		"db-violated":  {"SELECT id FROM people WHERE email LIKE 'a%'", 3},
		"db-held":      {"DELETE FROM people", 4},
		"db-executes?": {"INSERT INTO people VALUES (2)", 3},
		"db-missing":   {"SELECT * FROM nowhere", 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			access := "ReadOnly"
			if name == "db-held" {
				access = "ReadWrite"
			}
			code, out, errOut := run(t, tc.sql, "explain", "-f", rules, "--target", "people", "--access", access, "--dsn", dsn, "-")
			if code != tc.want || errOut != "" {
				t.Errorf("exit code %d, want %d; %s", code, tc.want, errOut)
			}
			golden(t, strings.TrimSuffix(name, "?"), out)
		})
	}
	log, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte("statement: DELETE FROM people")) || bytes.Contains(log, []byte("execute <unnamed>: DELETE FROM people")) {
		t.Error("the statement was executed")
	}
}
