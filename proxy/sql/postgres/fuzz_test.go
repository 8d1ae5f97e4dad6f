package postgres

import (
	"slices"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// writing are beginnings of texts that write whatever follows them, if they are SQL at all.
// Without parentheses a call with a string behind it is no call, but a constant of a type of that name.
var writing = []string{
	"insert into t ", "update t set a = 1 ", "delete from t ", "merge into t using u on true ", "truncate t ", "drop table t ", "create table t ", "alter table t ",
	"copy t from stdin ", "grant select on t to ", "lock table t ", "notify n ", "vacuum ", "call f(", "do ", "refresh materialized view v ", "reindex table t ",
	"comment on table t is 'x' ", "prepare p as delete from t ", "explain analyze delete from t ", "with w as (insert into t values (1) returning a) select * from w ",
	"declare c cursor for select a from t for update ", "select (nextval('s')) ", "select a into x from t ", "select (pg_read_file('x')) ", "select unknown_function() ",
	"select * from t for update ", "select 1; delete from t; select ", "drop table t; select ",
}

// FuzzWritesAreNoReads looks for an end of a text that makes its beginning, a write, pass
// for a read.
func FuzzWritesAreNoReads(f *testing.F) {
	for i := range writing {
		for _, rest := range []string{"", "; select 1", "where a in (select 1)", "/* x */", "select 1", "returning a", "''"} {
			f.Add(uint8(i), rest)
		}
	}
	a := newAnalyzer(f)
	f.Fuzz(func(t *testing.T, which uint8, rest string) {
		text := writing[int(which)%len(writing)] + rest
		facts, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		reads := func(n sql.Node) bool {
			return n.Group == sql.GroupRead || n.Group == sql.GroupSession || n.Group == sql.GroupTransaction
		}
		if facts.Known && !slices.ContainsFunc(facts.Nodes, func(n sql.Node) bool { return !reads(n) }) {
			t.Fatalf("%q is taken for a read: %+v", text, facts.Nodes)
		}
	})
}
