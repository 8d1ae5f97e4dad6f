package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// corpus is where the statements live that attackers, and honest users, send.
const corpus = "../../../test/corpora/postgres"

// masks are the columns masked in the corpus's schema.
type masks struct{}

var maskedNames = []string{"ssn", "email", "card", "balance"}

func (masks) Empty() bool { return false }

func (masks) Names() []sql.ColumnName {
	out := make([]sql.ColumnName, 0, len(maskedNames))
	for _, n := range maskedNames {
		out = append(out, sql.ColumnName{Schema: "*", Table: "*", Column: n})
	}
	return out
}

func (masks) Uses(sql.MaskRef) sql.Uses { return sql.Uses{} }

func (masks) Functions() []sql.PinnedFunction { return nil }

func (masks) Mask(schema, _, column string) sql.MaskRef {
	if schema == "pg_catalog" || schema == "information_schema" {
		return 0
	}
	return sql.MaskRef(slices.Index(maskedNames, column) + 1)
}

// backend is a session as the engine would hold it: analysis on its own backend, masking
// by the outputs of the analysis.
type backend struct {
	c        *pgconn.PgConn
	uri      string
	catalog  *postgres.Catalog
	analyzer *postgres.Analyzer
	failed   error // of the last statement that was sent
	wrote    bool  // something other than reading was sent
	asked    int   // questions
	columns  sql.Columns
	// prepared are the questions that were prepared, with their names; nil prepares none.
	prepared map[string]string
	named    int // how many were
}

// Query implements postgres.Querier.
func (b *backend) Query(ctx context.Context, text string) ([][]*string, error) {
	results, err := b.c.Exec(ctx, text).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%w in %s", err, text)
	}
	var rows [][]*string
	for _, r := range results {
		for _, row := range r.Rows {
			out := make([]*string, len(row))
			for i, v := range row {
				if v != nil {
					s := string(v)
					out[i] = &s
				}
			}
			rows = append(rows, out)
		}
	}
	return rows, nil
}

// Ask implements postgres.Querier.
func (b *backend) Ask(ctx context.Context, questions ...postgres.Question) ([][][]*string, error) {
	var all [][][]*string
	b.asked += len(questions)
	for _, q := range questions {
		arguments := make([][]byte, 0, len(q.Arguments))
		for _, a := range q.Arguments {
			arguments = append(arguments, []byte(a))
		}
		var r *pgconn.Result
		if name, err := b.prepare(ctx, q.SQL); err != nil {
			return nil, err
		} else if name != "" {
			r = b.c.ExecPrepared(ctx, name, arguments, nil, nil).Read()
		} else {
			r = b.c.ExecParams(ctx, q.SQL, arguments, nil, nil, nil).Read()
		}
		if r.Err != nil {
			return nil, fmt.Errorf("%w in %s", r.Err, q.SQL)
		}
		rows := [][]*string{}
		for _, row := range r.Rows {
			out := make([]*string, len(row))
			for i, v := range row {
				if v != nil {
					s := string(v)
					out[i] = &s
				}
			}
			rows = append(rows, out)
		}
		all = append(all, rows)
	}
	return all, nil
}

// Witness implements postgres.Witness.
func (b *backend) Witness(ctx context.Context, questions ...postgres.Question) ([][][]*string, error) {
	c, err := pgconn.Connect(ctx, b.uri)
	if err != nil {
		return nil, fmt.Errorf("call a witness: %w", err)
	}
	defer func() { _ = c.Close(ctx) }()
	return (&backend{c: c}).Ask(ctx, questions...)
}

// prepare returns the name of a prepared question; empty if none is prepared.
func (b *backend) prepare(ctx context.Context, text string) (string, error) {
	if b.prepared == nil || b.prepared[text] != "" {
		return b.prepared[text], nil
	}
	b.named++
	name := fmt.Sprintf("question %d", b.named)
	if _, err := b.c.Prepare(ctx, name, text, nil); err != nil {
		return "", fmt.Errorf("%w in %s", err, text)
	}
	b.prepared[text] = name
	return name, nil
}

func connect(t testing.TB, s *pgtest.Server, a *postgres.Analyzer, user, password, database string) *backend {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.URI(user, database, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	b := &backend{c: c.PgConn(), uri: s.URI(user, database, password), analyzer: a, columns: masks{}}
	b.catalog = postgres.NewCatalog(b)
	return b
}

// analyze is what the engine does before it forwards.
func (b *backend) analyze(t testing.TB, text string) *sql.Facts {
	t.Helper()
	in := postgres.Input{Text: []byte(text), Columns: b.columns, Catalog: b.catalog}
	if b.c.TxStatus() == 'E' {
		in.Catalog = nil
	}
	f, err := b.analyzer.Analyze(t.Context(), in)
	if errors.Is(err, postgres.ErrOldSnapshot) {
		// There is no witness here, without which the engine refuses too.
		return &sql.Facts{Unknown: err.Error()}
	}
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

func admitted(f *sql.Facts) bool { return f.Known && f.MaskViolation == "" }

func why(f *sql.Facts) string {
	if !f.Known {
		return f.Unknown
	}
	return f.MaskViolation
}

// send analyses a statement, runs it if it is admitted and returns what the client would
// see: masked rows and command tags.
func (b *backend) send(t testing.TB, text string) (seen string, refused string) {
	t.Helper()
	f := b.analyze(t, text)
	if !admitted(f) {
		return "", why(f)
	}
	if err := b.analyzer.Verify(t.Context(), f, b.catalog); b.c.TxStatus() != 'E' && err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for _, n := range f.Nodes {
		b.wrote = b.wrote || n.Group != sql.GroupRead && n.Group != sql.GroupSession && n.Group != sql.GroupTransaction
	}
	var out strings.Builder
	started := time.Now()
	results := b.c.Exec(t.Context(), text)
	for results.NextResult() {
		r := results.ResultReader()
		fields := r.FieldDescriptions()
		for r.NextRow() {
			for i, v := range r.Values() {
				switch {
				case len(f.Outputs) != len(fields) || !f.Outputs[i].Known:
					v = []byte("withheld")
				case f.Outputs[i].Mask != 0:
					v = []byte("masked")
				case fields[i].TableOID != 0:
					if mask, known := postgres.MaskedOrigin(f, fields[i].TableOID, fields[i].TableAttributeNumber); !known || mask != 0 {
						t.Errorf("%s: column %d is shown and the server says that it is masked or unknown", text, i)
						v = []byte("withheld")
					}
				}
				out.Write(v)
				out.WriteByte('|')
			}
			out.WriteByte('\n')
		}
		if len(f.Outputs) > 0 && len(fields) != len(f.Outputs) {
			t.Errorf("%s: %d outputs established, %d returned", text, len(f.Outputs), len(fields))
		}
		tag, _ := r.Close()
		out.WriteString(tag.String() + "\n")
	}
	b.failed = results.Close()
	if slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return n.Group == sql.GroupDefinition }) {
		b.catalog.Forget()
	}
	fmt.Fprintf(&out, "ELAPSED %d00ms\n", time.Since(started).Milliseconds()/100)
	return out.String(), ""
}

func lines(t testing.TB, name string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if line := scanner.Text(); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func newAnalyzer(t testing.TB) *postgres.Analyzer {
	t.Helper()
	p := parser.New(parser.Options{Timeout: time.Minute, Wait: time.Minute})
	t.Cleanup(p.Close)
	return postgres.NewAnalyzer(p, 0)
}

// schema makes a database that holds the corpus's tables; copies are made from it.
func schema(t testing.TB, s *pgtest.Server, database string) {
	t.Helper()
	s.Exec(t, "postgres", "create role analyst login password 'pw'")
	s.Exec(t, "postgres", "create database "+database)
	b, err := os.ReadFile(filepath.Join(corpus, "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	s.Exec(t, database, strings.ReplaceAll(string(b), "@DB@", database))
}

// planted are the values that must not be seen, in the encodings that they may come in.
func planted() []string {
	var out []string
	for _, v := range []string{"123-45-6789", "987-65-4321", "555-44-3333", "ada@example.com", "4111111111111111", "1834.75"} {
		r := []rune(v)
		slices.Reverse(r)
		out = append(out, v, string(r), fmt.Sprintf("%x", v), strings.ToUpper(v))
	}
	return append(out, "123-4", "6789", "1834", "ada@")
}

// TestG3AttacksSeeNothing sends every attack of the corpus to a target with masks: what is
// not refused shows no planted value.
func TestG3AttacksSeeNothing(t *testing.T) {
	s := pgtest.Start(t)
	a := newAnalyzer(t)
	schema(t, s, "original")
	clean := ""
	for i, line := range lines(t, "attacks.tsv") {
		part := strings.Split(line, "\t")
		if len(part) != 5 {
			t.Fatalf("%q has %d fields, want id, role, set-up, statements, what tells", line, len(part))
		}
		t.Run(part[0], func(t *testing.T) {
			// A database is used again as long as nothing was done to it.
			database := clean
			if part[2] != "" || clean == "" {
				database = fmt.Sprintf("attack%d", i)
				copyDatabase(t, s, database)
			}
			clean = ""
			if part[2] != "" {
				s.Exec(t, database, strings.ReplaceAll(part[2], "@DB@", database))
			}
			password := "pw"
			if part[1] == "postgres" {
				password = s.Password
			}
			b := connect(t, s, a, part[1], password, database)
			attack(t, b, strings.ReplaceAll(part[3], "@DB@", database), part[4])
			if part[2] == "" && !b.wrote {
				clean = database
			}
		})
	}
}

func copyDatabase(t testing.TB, s *pgtest.Server, database string) {
	t.Helper()
	s.Exec(t, "postgres", fmt.Sprintf("create database %s template original", database))
	s.Exec(t, "postgres", fmt.Sprintf("grant temp, create on database %s to analyst", database))
}

// attack sends an attack's statements and fails if anything planted is seen.
func attack(t *testing.T, b *backend, texts, tells string) {
	t.Helper()
	refused := ""
	for _, text := range strings.Split(texts, " ;; ") {
		var seen string
		seen, refused = b.send(t, text)
		if refused != "" {
			t.Logf("%s: refused: %s", text, refused)
		}
		for _, secret := range append(planted(), strings.Split(strings.TrimPrefix(tells, "!"), "~")...) {
			if secret != "" && strings.Contains(seen, secret) {
				t.Errorf("%s shows %q:\n%s", text, secret, seen)
			}
		}
	}
	if strings.HasPrefix(tells, "!") && refused == "" {
		t.Errorf("%s is admitted", texts)
	}
}

// TestBenign sends what honest clients send: all of it is admitted and works, but for the
// lines that say why they are denied for now.
func TestBenign(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	for _, line := range lines(t, "benign.sql") {
		text, reason, denied := strings.Cut(line, " -- denied: ")
		f := b.analyze(t, text)
		switch {
		case denied && admitted(f):
			t.Errorf("%s is admitted; it was denied for: %s", text, reason)
		case denied:
		case !admitted(f):
			t.Errorf("%s is refused: %s", text, why(f))
		default:
			b.send(t, text)
			if b.failed != nil {
				t.Errorf("%s: %v", text, b.failed)
			}
		}
	}
}
