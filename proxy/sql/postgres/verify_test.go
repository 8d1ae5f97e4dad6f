package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestVerify changes a definition between analysis and execution.
func TestVerify(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	cases := map[string]struct {
		text, change string
		want         error
	}{
		"nothing":             {"select * from orders", "select 1", nil},
		"no definition":       {"begin", "create table unrelated (a int)", nil},
		"column renamed":      {"select note from system_like", "alter table system_like rename note to remark", postgres.ErrDefinitionChanged},
		"column added":        {"select * from system_like", "alter table system_like add more text", postgres.ErrDefinitionChanged},
		"table replaced":      {"select * from ruled", "alter table ruled rename to r2; create table ruled (id int, note text)", postgres.ErrDefinitionChanged},
		"became a child":      {"select * from tickets", "create table tickets_parent (id int, contact text); alter table tickets inherit tickets_parent", postgres.ErrDefinitionChanged},
		"function shadowed":   {"select upper('x')", "create function upper(varchar) returns text language sql as 'select $1'", postgres.ErrDefinitionChanged},
		"operator shadowed":   {"select 1 + 1", "create operator + (leftarg = int2, rightarg = int2, function = int2pl)", postgres.ErrDefinitionChanged},
		"reference to a mask": {"insert into orders values (77, 1, 1)", "alter table logins add unique (name); alter table orders add who text references logins(name)", postgres.ErrDefinitionChanged},
		"cast added":          {"select id from orders", "create domain positive as int; create function f(int) returns text language sql as 'select $1::text'; create cast (int as text) with function f(int)", postgres.ErrDefinitionChanged},
	}
	for _, name := range []string{"nothing", "no definition", "column renamed", "column added", "table replaced", "became a child", "function shadowed",
		"operator shadowed", "reference to a mask", "cast added"} {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			f := b.analyze(t, c.text)
			if !admitted(f) {
				t.Fatal(why(f))
			}
			s.Exec(t, "original", c.change)
			if err := b.analyzer.Verify(t.Context(), f, b.catalog); !errors.Is(err, c.want) {
				t.Errorf("err = %v, want %v", err, c.want)
			}
		})
	}
}

// TestG3VerifyByWitness changes a definition that the session sees as it was.
func TestG3VerifyByWitness(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	for _, text := range []string{"create temp table scratch (id int)", "begin isolation level repeatable read"} {
		if err := b.c.Exec(t.Context(), text).Close(); err != nil {
			t.Fatal(err)
		}
	}
	f := b.analyze(t, "select note from system_like, scratch")
	if !admitted(f) {
		t.Fatal(why(f))
	}
	if err := b.analyzer.Verify(t.Context(), f, b.catalog); err != nil {
		t.Fatal(err)
	}
	s.Exec(t, "original", "alter table system_like add later int")
	if err := b.analyzer.Verify(t.Context(), f, b.catalog); !errors.Is(err, postgres.ErrOldSnapshot) {
		t.Errorf("err = %v", err)
	}
	if f := b.analyze(t, "lock table system_like"); !errors.Is(b.analyzer.Verify(t.Context(), f, b.catalog), postgres.ErrLockAfterSnapshot) {
		t.Errorf("LOCK is admitted behind the snapshot")
	}
}

// TestVerifyByState verifies by the server's state where that proves something, and by the
// definitions where it does not.
func TestVerifyByState(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	b.prepared = map[string]string{}
	own := func(text string) func() {
		return func() {
			if err := b.c.Exec(t.Context(), text).Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	others := func(text string) func() { return func() { s.Exec(t, "original", text) } }
	f := b.analyze(t, "select note from system_like")
	steps := []struct {
		what   string
		change func()
		asked  int // questions of one Verify
		proven bool
		want   error
	}{
		{"nothing", func() {}, 1, true, nil},
		{"a row of another table", others("insert into orders values (501, 1, 1)"), 4, true, nil},
		{"nothing again", func() {}, 1, true, nil},
		{"a transaction that reads", own("begin"), 1, true, nil},
		{"and writes", own("update orders set customer_id = customer_id where id = 501"), 6, true, nil},
		{"and goes on", func() {}, 5, false, nil},
		{"and ends", own("rollback"), 3, true, nil},
		{"repeatable read", own("begin isolation level repeatable read"), 4, false, nil},
		{"and ends, too", own("rollback"), 3, true, nil},
		{"renamed away and back", others("alter table system_like rename to elsewhere; alter table elsewhere rename to system_like"), 4, true, postgres.ErrDefinitionChanged},
	}
	for _, step := range steps {
		step.change()
		b.asked = 0
		err := b.analyzer.Verify(t.Context(), f, b.catalog)
		if !errors.Is(err, step.want) || b.asked != step.asked || err == nil && (postgres.Proof(f) != "") != step.proven {
			t.Errorf("%s: %v after %d questions, proof %q; want %v after %d, proven %v", step.what, err, b.asked, postgres.Proof(f), step.want, step.asked, step.proven)
		}
	}
}

// TestFactsOnMaskedTarget checks what the engine masks, redacts and records by.
func TestFactsOnMaskedTarget(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	cases := map[string]struct {
		masks     []sql.MaskRef // nil: no rows
		column    string
		sensitive bool
		relations string
	}{
		"select id, ssn, email from customers":                             {masks: []sql.MaskRef{0, 1, 2}, relations: "public.customers"},
		"select from customers":                                            {masks: []sql.MaskRef{}, relations: "public.customers"},
		"select ssn from customers union all select name from customers":   {masks: []sql.MaskRef{1}, relations: "public.customers"},
		"insert into customers (id, ssn) values (5, 'x')":                  {sensitive: true, relations: "public.customers!"},
		"insert into customers (id, ssn) values ($1, $2) returning ssn":    {masks: []sql.MaskRef{1}, sensitive: true, relations: "public.customers!"},
		"update customers set name = 'x' where id = 1":                     {relations: "public.customers!"},
		"select id from customers where ssn = '1'":                         {column: "public.customers.ssn", sensitive: true, relations: "customers"},
		"select o.id from orders o join customers c on c.id=o.customer_id": {masks: []sql.MaskRef{0}, relations: "public.customers public.orders"},
	}
	for text, c := range cases {
		f := b.analyze(t, text)
		var got []sql.MaskRef
		for _, o := range f.Outputs {
			if !o.Known {
				t.Errorf("%s: an output is not known", text)
			}
			got = append(got, o.Mask)
		}
		var relations []string
		for _, r := range f.Relations {
			name := r.Name
			if r.Schema != "" {
				name = r.Schema + "." + r.Name
			}
			if r.Write {
				name += "!"
			}
			relations = append(relations, name)
		}
		if len(got) != len(c.masks) || (f.Outputs == nil) != (c.masks == nil) || f.MaskedColumn != c.column || f.Sensitive != c.sensitive ||
			f.SensitiveParameters != c.sensitive || strings.Join(relations, " ") != c.relations {
			t.Errorf("%s: outputs %v, column %q, sensitive %v, relations %v, %s", text, f.Outputs, f.MaskedColumn, f.Sensitive, relations, why(f))
			continue
		}
		for i := range got {
			if got[i] != c.masks[i] {
				t.Errorf("%s: outputs %v, want %v", text, got, c.masks)
			}
		}
	}
}

// TestWithoutCatalog covers a failed transaction, in which no definition can be read.
func TestWithoutCatalog(t *testing.T) {
	a := newAnalyzer(t)
	for text, want := range map[string]bool{"rollback": true, "commit": true, "rollback to a": true, "set work_mem = '1MB'": true, "": true,
		"select 1": false, "show timezone": false, "execute p": false, "select 1; rollback": false, "prepare transaction 'x'": false} {
		f, err := a.Analyze(t.Context(), postgres.Input{Text: []byte(text), Columns: masks{}})
		if err != nil || admitted(f) != want {
			t.Errorf("%q: admitted %v, %v: %s", text, admitted(f), err, why(f))
		}
	}
}

// TestReadIsReadOnly runs what is classified Read in a READ ONLY transaction, in which the
// server refuses what writes.
func TestReadIsReadOnly(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	s.Exec(t, "original", "create table t (id int); create view v as select 1 as one")
	a := newAnalyzer(t)
	b := connect(t, s, a, "postgres", s.Password, "original")
	var texts []string
	for _, line := range lines(t, "benign.sql") {
		text, _, _ := strings.Cut(line, " -- denied: ")
		texts = append(texts, text)
	}
	for _, line := range lines(t, "attacks.tsv") {
		texts = append(texts, strings.Split(strings.Split(line, "\t")[3], " ;; ")...)
	}
	texts = append(texts, "with d as (delete from t returning 1) select * from d", "explain analyze insert into t values (1)", "select nextval('numbers')",
		"copy (insert into t values (1) returning *) to stdout", "select * into x from t", "select * from t for update", "table t", "select lo_create(0)")
	read := 0
	for _, text := range texts {
		f, err := a.Analyze(t.Context(), postgres.Input{Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		reads := f.Known && f.Statements == 1
		for _, n := range f.Nodes {
			reads = reads && n.Group == sql.GroupRead
		}
		if !reads || strings.Contains(text, "pg_sleep") {
			continue
		}
		read++
		if err := b.c.Exec(t.Context(), "begin read only").Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.c.Exec(t.Context(), text).Close(); err != nil && strings.Contains(err.Error(), "25006") {
			t.Errorf("%s is classified Read and writes: %v", text, err)
		}
		if err := b.c.Exec(t.Context(), "rollback").Close(); err != nil {
			t.Fatal(err)
		}
	}
	if read < 100 {
		t.Errorf("only %d statements were tried", read)
	}
}

// TestExecute resolves what EXECUTE runs, also on a target without masks and for a
// statement that the protocol prepared.
func TestExecute(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	a := newAnalyzer(t)
	b := connect(t, s, a, "analyst", "pw", "original")
	for _, text := range []string{"prepare d as delete from orders", "prepare r as select 1"} {
		if err := b.c.Exec(t.Context(), text).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.c.Prepare(t.Context(), "m", "select ssn from customers", nil); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"execute d": "Execute Delete!", "execute r": "Execute Select", "explain analyze execute d": "Explain Execute Delete!",
		"execute missing": "unknown", "create temp table t as execute d": "Create Execute Delete!"} {
		f, err := a.Analyze(t.Context(), postgres.Input{Text: []byte(text), Catalog: b.catalog})
		if err != nil {
			t.Fatal(err)
		}
		got := "unknown"
		if f.Known {
			var kinds []string
			for _, n := range f.Nodes {
				k := string(n.Kind)
				if n.Unfiltered {
					k += "!"
				}
				if k != "Prepare" {
					kinds = append(kinds, k)
				}
			}
			got = strings.Join(kinds, " ")
		}
		if got != want {
			t.Errorf("%s: %s (%s), want %s", text, got, f.Unknown, want)
		}
	}
	if f := b.analyze(t, "execute m"); admitted(f) {
		t.Error("EXECUTE of a statement that the protocol prepared is admitted on a target with masks")
	}
	run(t, s, b, "original", "prepare o as select id from orders", "PREPARE")
	run(t, s, b, "original", "execute o", "SELECT")
	if f := b.analyze(t, "execute r"); admitted(f) {
		t.Error("EXECUTE of a statement that was prepared past the masks is admitted")
	}
}

// TestCastsOfRanges makes a range type, with which the server makes a cast, and a cast of
// somebody's own, which may mean anything.
func TestCastsOfRanges(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	copyDatabase(t, s, "casts")
	s.Exec(t, "casts", "create type measure as range (subtype = float8)")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "casts")
	if _, refused := b.send(t, "select id, email from customers"); refused != "" {
		t.Errorf("a range type shuts the target: %s", refused)
	}
	s.Exec(t, "casts", "create type mood as enum ('a'); create function to_mood(int) returns mood language sql as $$ select 'a'::mood $$; create cast (int as mood) with function to_mood(int) as implicit")
	if seen, refused := connect(t, s, b.analyzer, "analyst", "pw", "casts").send(t, "select id from customers"); refused == "" {
		t.Errorf("a cast of somebody's own is not noticed: %s", seen)
	}
}
