package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestOutputNamesAreTheServers holds that an output without a name has the one that the
// server gives it: the query around finds it by that name and by no other.
func TestOutputNamesAreTheServers(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	for _, e := range []string{
		"1", "'a'", "true", "null", "1.5", "-1", "id", "o.id", "o", "id + 1", "not true", "id is null", "id in (1)", "id between 1 and 2", "nullif(id, 1)", "id::text", "1::text",
		"1::text::varchar", "(1 + 1)::int::text", "cast(1 as double precision)", "'a'::char(3)", "interval '1 day'", "date '2020-01-01'", "'{1}'::int[]", "(id + 1)::numeric(5,2)",
		"lower('A')::text::varchar", "case when true then 1 end", "case when true then 1 else id end", "case when true then 1 else 2::int8 end", "(case when true then 1 end)::text",
		"(case when true then 'a' else 'b'::text end)::varchar", "coalesce(id, 1)", "coalesce(id, 1)::text", "greatest(1, 2)", "least(1, 2)", "array[1]", "row(1)", "(1, 2)", "array[1]::text[]",
		"(array[1, 2])[1]", "(array['a'] || '{b}')[1]", "lower('A')", "pg_catalog.lower('A')", "count(*)", "max(id) filter (where true)", "row_number() over ()", "extract(year from now())",
		"now() at time zone 'UTC'", "substring('abc' from 2)", "overlay('abc' placing 'x' from 1)", "position('a' in 'b')", "trim(both from 'a')", "trim(leading 'x' from 'a')",
		"current_date", "current_time", "current_timestamp(3)", "localtime", "localtimestamp(2)", "current_user", "session_user", "user", "current_catalog", "current_schema", "current_role",
		"exists (select 1)", "array(select id from orders)", "(select id from orders limit 1)", "(select orders.id as k from orders limit 1)", "(select x.* from (select id as k from orders) x limit 1)",
		"(select * from (select 1 as k) x)", "(select id as k from orders where id = 10 union all select 1 where false)", "(values (1))", "(table q)", "(with p as (select 1 as k) table p)",
		"(with p as (select 1 as k) select * from p)::text", "(select 1)", "(select 1)::text", "(select lower('A'))::text", "((select 1::text))::varchar", "coalesce((select 1), 2)",
		"1 = any(array[1])", "1 in (select 1)", "'a' collate \"C\"", "lower('a') collate \"C\"", "'a' similar to 'b'", "'a' like 'b'", "1 is distinct from 2", "grouping(id)", "'a' is normalized",
		"(select (select id as k from orders limit 1))", "case when true then 1 else (select 2 as k) end", "treat(1 as text)", "collation for ('a')", "normalize('a')", "(information_schema._pg_expandarray(array[5])).n",
	} {
		from := "(with q as (select 7 as k) select " + e + " from orders o where id = 10 group by o.id) y"
		results, err := b.c.Exec(t.Context(), "select * from "+from).ReadAll()
		if err != nil {
			t.Logf("%s: not run: %v", e, err)
			continue
		}
		name := results[0].FieldDescriptions[0].Name
		if f := b.analyze(t, "select y."+pgx.Identifier{name}.Sanitize()+" from "+from); !admitted(f) {
			t.Errorf("%s is %q to the server, and refused by that name: %s", e, name, why(f))
		}
	}
}
