package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

const refused = "refused"

// TestCursors reads cursors over masked columns. A step is a statement of the client, or
// one of somebody else behind "!", or of the client past the gate behind "?"; and what is
// to be seen.
func TestCursors(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	a := newAnalyzer(t)
	const declare = "declare c cursor for select id, ssn from customers order by id"
	cases := map[string][][2]string{
		"fetched in parts": {{"begin", "BEGIN"}, {strings.Replace(declare, "cursor", "scroll cursor", 1), "DECLARE"}, {"fetch 1 from c", "1|masked|"}, {"move 1 in c", "MOVE 1"}, {"fetch backward 1 from c", "1|masked|"},
			{"close c", "CLOSE"}, {"fetch c", refused}, {"commit", "COMMIT"}},
		"two at once": {{"begin", "BEGIN"}, {declare, "DECLARE"}, {"declare d cursor for select name, id from customers order by id", "DECLARE"}, {"fetch c", "1|masked|"},
			{"fetch d", "|1|"}, {"commit", "COMMIT"}},
		"held": {{"begin", "BEGIN"}, {"declare c scroll cursor with hold for select email, id from customers order by id", "DECLARE"}, {"commit", "COMMIT"}, {"fetch c", "masked|1|"},
			{"!alter table customers rename email to was; alter table customers rename name to email; alter table customers rename was to name", ""},
			{"fetch absolute 1 from c", "masked|1|"}, {"close c", "CLOSE"}},
		"a name is hidden": {{"begin", "BEGIN"}, {declare, "DECLARE"}, {"create temp table customers (id int, ssn text)", "CREATE"}, {"fetch c", "1|masked|"}, {"commit", "COMMIT"}},
		"declared again over a hidden name": {{"begin", "BEGIN"}, {"declare c cursor with hold for select id, ssn from customers order by id", "DECLARE"}, {"commit", "COMMIT"},
			{"create temp table customers (id int, name text, ssn text)", "CREATE"}, {"declare c cursor with hold for select id, ssn from customers order by id", ""},
			{"fetch c", refused}, {"close c", "CLOSE"}, {"declare c cursor with hold for select id, ssn from customers order by id", "DECLARE"}, {"fetch c", "FETCH 0"}},
		"declared in vain": {{"begin", "BEGIN"}, {declare, "DECLARE"}, {"savepoint s", "SAVEPOINT"}, {"declare c cursor for select id, name from customers", ""}, {"rollback to s", "ROLLBACK"},
			{"fetch c", "1|masked|"}, {"commit", "COMMIT"}},
		"gone with a savepoint": {{"begin", "BEGIN"}, {"savepoint s", "SAVEPOINT"}, {declare, "DECLARE"}, {"rollback to s", "ROLLBACK"}, {"fetch c", refused},
			{"declare c cursor for select ssn, id from customers order by id", "DECLARE"}, {"fetch c", "masked|1|"}, {"commit", "COMMIT"}},
		"not declared by the gate's leave": {{"begin", "BEGIN"}, {"?" + declare, ""}, {"fetch c", refused}, {"rollback", "ROLLBACK"}},
		"the text of one not declared by it": {{"?create temp table customers as select 1 as id, ssn as other, '' as ssn from public.customers", ""}, {"begin", "BEGIN"},
			{"?" + declare, ""}, {declare, ""}, {"rollback", "ROLLBACK"}},
		"uses what may not be used": {{"begin", "BEGIN"}, {"declare c cursor for select id from customers where ssn = '1'", refused}, {"declare c cursor for select ssn || '' from customers", refused},
			{"declare c cursor for select customers from customers", refused}, {"rollback", "ROLLBACK"}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			database := "cursor_" + strings.NewReplacer(" ", "_", "'", "").Replace(name)
			copyDatabase(t, s, database)
			b := connect(t, s, a, "analyst", "pw", database)
			for _, step := range steps {
				run(t, s, b, database, step[0], step[1])
			}
		})
	}
}

func run(t *testing.T, s *pgtest.Server, b *backend, database, text, want string) {
	t.Helper()
	switch text[0] {
	case '!':
		s.Exec(t, database, text[1:])
		return
	case '?':
		if err := b.c.Exec(t.Context(), text[1:]).Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	if f := b.analyze(t, text); b.c.TxStatus() != 'E' && admitted(f) && errors.Is(b.analyzer.Verify(t.Context(), f, b.catalog), postgres.ErrDefinitionChanged) {
		b.catalog.Forget() // as the engine does: what was remembered did not hold
	}
	seen, why := b.send(t, text)
	for _, secret := range planted() {
		if strings.Contains(seen, secret) {
			t.Errorf("%s shows %q", text, secret)
		}
	}
	if (want == refused) != (why != "") || want != refused && !strings.Contains(seen, want) {
		t.Errorf("%s: seen %q (%v), refused %q; want %q", text, seen, b.failed, why, want)
	}
}

// TestFetchOfAnotherCursor changes the cursor between the analysis of a FETCH and its
// execution.
func TestFetchOfAnotherCursor(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	run(t, s, b, "original", "begin", "BEGIN")
	run(t, s, b, "original", "declare c cursor for select name from customers", "DECLARE")
	f := b.analyze(t, "fetch c")
	if !admitted(f) {
		t.Fatal(why(f))
	}
	if err := b.analyzer.Verify(t.Context(), f, b.catalog); err != nil {
		t.Fatal(err)
	}
	run(t, s, b, "original", "close c", "CLOSE")
	run(t, s, b, "original", "declare c cursor for select ssn from customers", "DECLARE")
	if err := b.analyzer.Verify(t.Context(), f, b.catalog); !errors.Is(err, postgres.ErrDefinitionChanged) {
		t.Errorf("err = %v", err)
	}
}

// TestCursorsUnderAnotherPolicy fetches from a cursor that was declared under another
// policy, or while nothing was masked.
func TestCursorsUnderAnotherPolicy(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	in := func(text, version string) postgres.Input {
		return postgres.Input{Text: []byte(text), Columns: b.columns, Catalog: b.catalog, Version: version}
	}
	declare := func(version string) {
		t.Helper()
		const text = "declare c cursor for select name from customers"
		f, err := b.analyzer.Analyze(t.Context(), in(text, version))
		if err != nil || !admitted(f) {
			t.Fatal(err)
		}
		if err := b.analyzer.Verify(t.Context(), f, b.catalog); err != nil {
			t.Fatal(err)
		}
		if err := b.c.Exec(t.Context(), text).Close(); err != nil {
			t.Fatal(err)
		}
	}
	fetch := func(version string, want bool) {
		t.Helper()
		f, err := b.analyzer.Analyze(t.Context(), in("fetch c", version))
		if err != nil || admitted(f) != want {
			t.Errorf("under %s: admitted %v, %v", version, !want, err)
		}
	}
	run(t, s, b, "original", "begin", "BEGIN")
	declare("a")
	fetch("a", true)
	fetch("b", false)
	if _, err := b.analyzer.Analyze(t.Context(), postgres.Input{Text: []byte("select 1"), Catalog: b.catalog}); err != nil {
		t.Fatal(err)
	}
	fetch("a", false)
	run(t, s, b, "original", "close c", "CLOSE")
	declare("b")
	fetch("b", true)
}

// TestPrepared executes statements of PREPARE over masked columns, after the names in them
// came to mean something else.
func TestPrepared(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	a := newAnalyzer(t)
	const prepare = "prepare p(int) as select id, ssn from customers where id = $1"
	const hide = "create temp table customers (id int, ssn text)"
	cases := map[string][][2]string{
		"executed":                 {{prepare, "PREPARE"}, {"execute p(1)", "1|masked|"}, {"explain execute p(1)", "Scan"}, {"explain analyze execute p(1)", refused}, {"deallocate p", ""}, {"execute p(1)", refused}},
		"a name is hidden":         {{"create temp table x ()", "CREATE"}, {prepare, "PREPARE"}, {hide, "CREATE"}, {"execute p(1)", "1|masked|"}, {"prepare q as select * from public.customers", "PREPARE"}, {"drop table customers", "DROP"}, {"prepare r as select * from customers", "PREPARE"}, {hide, "CREATE"}, {"execute q", "masked"}, {"execute r", refused}},
		"not by the gate's leave":  {{"create temp table x ()", "CREATE"}, {"?" + prepare, ""}, {"execute p(1)", refused}, {prepare, ""}, {"execute p(1)", refused}},
		"hidden, and in vain":      {{prepare, "PREPARE"}, {hide, "CREATE"}, {prepare, ""}, {"execute p(1)", refused}},
		"columns swapped":          {{prepare, "PREPARE"}, {"!alter table customers rename ssn to was; alter table customers rename name to ssn; alter table customers rename was to name", ""}, {"execute p(1)", "1|masked|"}},
		"uses what may not be":     {{"prepare p as select upper(ssn) from customers", refused}, {"prepare p as select id from customers where ssn = $1", refused}},
		"a masked value goes on":   {{prepare, "PREPARE"}, {"create temp table t as execute p(1)", refused}},
		"the parameter is a query": {{prepare, "PREPARE"}, {"execute p((select ssn from customers limit 1)::int)", refused}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			database := "prepared_" + strings.NewReplacer(" ", "_", "'", "", ",", "").Replace(name)
			copyDatabase(t, s, database)
			b := connect(t, s, a, "analyst", "pw", database)
			for _, step := range steps {
				run(t, s, b, database, step[0], step[1])
			}
		})
	}
}
