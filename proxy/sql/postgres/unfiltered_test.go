package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// ineffectiveConditions hold, or may hold, for all rows.
var ineffectiveConditions = []string{
	"true", "1 = 1", "1 <> 2", "'t'::bool", "$1", "$1 = $1", "$1 = 5", "$1::bool", "not false", "not not true", "null is null", "1 in (1, 2)", "true in (true)",
	"5 between 1 and 10", "2 > 1", "now() > '2000-01-01'", "current_date > date '2001-01-01'", "current_user = 'app'", "current_user is not null", "random() < 2",
	"random() >= 0", "(select true)", "exists (select 1)", "exists (select 1 from customers)", "exists (select 1 from orders)", "not exists (select 1 where false)",
	"not exists (select 1 from customers where false)", "(1, 2) = (1, 2)", "array[1] = array[1]", "'a' ~ 'a'", "(true) is true", "(1 = 1) is true", "true is not false",
	"null is not true", "(id = null) is null", "(id = null) is not true", "(id = 5) is not unknown", "(id = 5) is not null", "id = id", "orders.id = id", "id >= id", "id <= id",
	"id + 0 = id", "id = +id", "id * 0 = 0", "id - id = 0", "0 = id * 0", "id = id::int", "id::text = id::text", "id::int8 = id", "coalesce(id, 1) = coalesce(id, 1)",
	"coalesce(id, 0) = id", "coalesce(id = 5, true)", "coalesce(false, true)", "coalesce(id, 1) is not null", "nullif(id, id) is null", "abs(id) >= 0", "length(name) >= 0",
	"char_length(name) > -1", "octet_length(name) < 1000000", "sign(id) in (-1, 0, 1)", "id % 1 = 0", "id & 0 = 0", "id | 0 = id", "id # id = 0", "id ^ 0 = 1", "greatest(id, id) = id",
	"least(id, 5) <= 5", "id is not distinct from id", "id is distinct from null", "not (id is distinct from id)", "id <> id + 1", "id < id + 1", "id > id - 1", "-id <= abs(id)",
	"id > -2147483648", "id >= -2147483648", "id <= 2147483647", "id < 2147483648", "id <= 32767", "id >= -32768", "id <= 9223372036854775807", "id > -9223372036854775808",
	"id < 1e100", "id > -1", "id >= 0", "id > 0", "id >= 1", "id <> -1", "id <> 0", "id != -99", "id < 99999999", "id < 'NaN'", "id <= 'Infinity'", "id > '-2147483648'",
	"2147483647 >= id", "-1 < id", "id between -2147483648 and 2147483647", "id between id and id", "id between 0 and 99999999", "id not between 5 and 4",
	"created > '-infinity'", "created < 'infinity'", "created <= 'infinity'::timestamptz", "created > '1900-01-01'", "created < '9999-12-31'", "created > 'epoch'",
	"created < 'tomorrow'", "created < now() + interval '1000 years'", "created > now() - interval '1000 years'", "created > now() - '99999 days'::interval * 99999",
	"created between '-infinity' and 'infinity'", "extract(year from created) > 0", "extract(century from created) = 21", "isfinite(created)", "age(created) > interval '-1000 years'",
	"name >= ''", "name > ''", "name <> ''", "name < '~'", "name <= 'zzzz'", "name like '%'", "name like '%%'", "name like '_%'", "name like '%_%' or name = ''", "name ilike '%'",
	"name like name", "name like $1", "name like '%' || name || '%'", "name like all (array['%'])", "name like any (array['%'])", "name not like ''", "name similar to '%'",
	"name similar to '(a|%)'", "name ~ ''", "name ~ '.*'", "name ~ '.'", "name ~ '^'", "name ~ '$'", "name ~ 'a*'", "name ~ 'a?'", "name ~ 'a|'", "name ~ '^(.|)'", "name ~ '[^~]*'",
	"name ~ $1", "name !~ '^$'", "name ~* '.'", "regexp_like(name, '')", "starts_with(name, '')", "position('' in name) = 1", "name ^@ ''", "substr(name, 1, 0) = ''", "left(name, 0) = ''",
	"md5(name) <> ''", "name || '' = name", "name collate \"C\" = name", "upper(name) = upper(name)", "concat(name) is not null", "id is not null", "not (id is null)",
	"id is null or id is not null", "id <> 1 or id <> 2", "id = 1 or id <> 1", "id = 1 or not id = 1", "not (id = 1 and id = 2)", "not (id = 1 and name = 'x')", "id < 5 or id >= 5",
	"id >= 5 or id < 5", "id < 5 or 5 <= id", "id < $1 or id >= $1", "id > 3 or id < 7", "id = 5 or id > 5 or id < 5", "id between 2 and 5 or id > 5 or id < 2",
	"shipped < billed or shipped >= billed", "shipped < billed or billed <= shipped", "shipped = billed or shipped <> billed", "done or not done", "done = true or done = false",
	"done = 't' or done = 'f'", "done is true or done is not true", "done in (true, false)", "done in ('t', 'f')", "done = any ('{t,f}')", "done = any (array[true, false])",
	"id = 1 or true", "id = 1 or 1 = 1", "id = 1 or $1", "id = 1 or name is not null", "id = 1 or (id > 5 or true)", "id = 1 or name like '%'", "id = 1 or id in (select id from orders)",
	"(id = 1 and true) or (id <> 1 and true)", "true and (true or id = 1)", "not (id <> id)", "not (id is null and false)", "id not in (null, -1)", "id <> all ('{}')", "id <> all ($1)",
	"id <> all (array[]::int[])", "id = all ('{}')", "id = all (array[]::int[])", "id >= all (array[0])", "id = any (array[id])", "id = any (array[1, id])", "id in (1, id)",
	"id = any (array(select id from orders))", "id = any (select id from orders)", "id = any (select id from orders where true)", "id = some (select id from orders)",
	"id <> any (array[1, 2])", "id > any (array[0])", "id in (select id from orders)", "id in (select o.id from orders o)", "id in (select id from orders where true)",
	"id in (select id from orders where id = id)", "id in (select id from orders order by id)", "id in (select distinct id from orders)", "id in (select id from orders group by id)",
	"id in (select max(id) from orders group by id)", "id in (select id from orders where id > 5 union select id from orders)", "id in (select id from orders limit all)",
	"id in (select id from orders limit null)", "id in (select id from orders limit 2000000000)", "id in (select id from orders offset 0)", "id in (table orders)",
	"id in (select orders.id)", "id in (select orders.id from customers)", "id in (select id from customers)", "id in (select id from customers where vip = 5)",
	"id in (select i.id from orders i where i.id = orders.id)", "id in (select q.id from (select id from orders) q)", "id in (select q.x from (select orders.id as x from customers limit 1) q)",
	"id in (select q.x from (select id as x from customers limit 1) q)", "id in (select q.x from customers, lateral (select orders.id as x) q)", "id in (select generate_series(1, 1000000))",
	"id in (select g.g from generate_series(1, 1000000) as g(g))", "id in (with x as (select id from orders) select id from x)", "id in (values (orders.id))", "id in (values (1), (id))",
	"id in (select o.id from orders o, customers c where c.id = 5)", "id in (select a.id from orders a, orders b where b.id = 5)", "id in (select a.id from orders a join orders b on a.id = b.id)",
	"id in (select o.id from orders o left join customers c on c.id = o.customer)", "id = (select id)", "id = (select orders.id)", "id = (select orders.id from customers limit 1)",
	"id = (select i.id from orders i where i.id = orders.id)", "id = (select max(i.id) from orders i where i.id = orders.id)", "id = (select i.id from orders i where i.id = orders.id limit 1)",
	"id <= (select max(id) from orders)", "id >= (select min(id) from orders)", "exists (select count(*) from customers c where c.id = orders.id)", "exists (select 1 from orders o where o.id = orders.id)",
	"exists (select 1 from customers c where c.id = 5)", "exists (select 1 from customers c where c.id = orders.customer or true)", "exists (select 1 from customers c where id = orders.id)",
	"exists (select 1 from orders where orders.id = 5)", "exists (select 1 from customers c where c.id = orders.customer union select 1)", "not exists (select 1 from customers c where c.id = orders.customer and false)",
	"not exists (select 1 from customers c where c.id = orders.customer and $1)", "not exists (select 1 from customers c where c.id = orders.customer limit 0)", "id not in (select id from customers limit 0)",
	"id not in (select customer from customers where false)", "case when true then true end", "case when id = 1 then true else true end", "case id when 1 then false else true end",
	"(id, 1) = (id, 1)", "(id, name) = (id, name)", "(id, name) >= (0, '')", "row(id) is not null", "(id, name) in ((id, name))", "orders is not null", "orders = orders", "orders.* = orders.*",
	"tableoid = 'orders'::regclass", "tableoid > 5", "ctid >= '(0,0)'", "ctid <> '(0,0)'", "xmax = 0", "xmin <> 0", "cmin = 0", "id::bool", "id::text::bool", "name::varchar(1) = 'x'", "data @> '{}'", "data ? 'x'",
	"data->'x' is null", "tags && tags", "id operator(public.=) 5", "id = f(5)", "f(id)", "is_old(orders)", "customers.id = 5", "xmlexists('/' passing data)", "data is json",
	"email like '%@%'", "email like '%.%'", "email ~ '@'", "name like '%x'::varchar(1)", "name like '%x'::\"char\"", "id in (select id from orders order by 1 = 1 fetch first 1 row with ties)",
	"exists (select 1 from customers c where c.id >= orders.id)", "exists (select 1 from customers c where c.id > orders.id)", "exists (select 1 from orders o where o.id < orders.id)",
	"done = lower('T')::bool or done = lower('F')::bool", "done::int in (0, 1)", "done::int4 = 0 or done::int4 = 1", "done::text like 't%' or done::text like 'f%'", "done = $1::bool or done = $2::bool",
	"id in (select v.x from (values (id)) v(x))", "id in (select v.x from (values (orders.id)) v(x))", "id in (select v.x from customers, (values (id)) v(x))", "status <> ''::status", "created <> now()", "id = any (values (1), (id))",
}

// effectiveConditions are what ordinary statements have.
var effectiveConditions = []string{
	"id = 5", "5 = id", "orders.id = $1", "shop.orders.id = 5", "id = $1::int", "id = -5", "id = null", "id in (1, 2, 3)", "id in ($1, $2)", "id = any ($1)", "id = any ($1::int[])", "id = any ('{1,2}')",
	"id = any (array[1, 2])", "id between 5 and 9", "id between $1 and $2", "created between '2024-01-01' and '2024-12-31'", "created < '2024-01-01'", "created < now() - interval '30 days'",
	"created < current_date - 30", "created < $1", "created >= $1", "created <= now()", "created < current_timestamp - $1::interval", "created::date = '2024-05-05'", "date(created) = $1",
	"created < date_trunc('month', now())", "created < now() - $1 * interval '1 day'", "expires < statement_timestamp()", "id > 17", "id < 1000", "total > 99.5", "attempts >= 5", "id = $1 and name = $2",
	"id = 5 and true", "true and id = 5", "id = 5 and name like '%'", "(id = 5 or id = 6) and name is not null", "id = 5 or id = 6", "id = 5 or name = 'x'", "locked is null or locked < $1", "locked is null or locked < now() - interval '5 minutes'",
	"deleted is null", "customer is null", "done", "not done", "orders.done", "done is true", "done is not true", "done = true", "done = false and id = 5", "status <> 'done'", "status <> 'done'::status", "id in (select v.x from (values (1), (2)) v(x))", "done = $1", "status = 'a'::status or status = 'b'::status", "status in ($1::status, $2::status)", "status not in ('a', 'b')", "status <> all (array['a', 'b'])",
	"id <> 5", "id <> $1", "not (id = 5)", "not (id in (5, 6))", "not (id = 5 or id = 6)", "not (id < 5)", "not (id <> 5 or name <> 'x')", "not not id = 5", "name like 'A%'", "name ilike '%smith%'", "name not like 'tmp%'", "name ~ '^tmp_'", "name !~ '^tmp'",
	"name similar to 'tmp%'", "lower(name) = lower($1)", "lower(email) = 'x@example.com'", "upper(trim(name)) = 'X'", "name collate \"C\" = 'x'", "id::text = $1", "data->>'kind' = 'x'", "data->'a'->>'b' = $1", "data #>> '{a,b}' = 'x'",
	"shipped = billed", "shipped > billed", "shipped <> billed", "total <> round(total, 2)", "name <> btrim(name)", "ctid = '(0,1)'", "ctid = any (array['(0,1)'::tid])", "current of c", "id = $1 + 1", "id is not distinct from $1",
	"id is distinct from 5", "id is not distinct from null", "(id = 5) is true", "(id = 5) is false", "(id, line) = ($1, $2)", "(id, line) in ((1, 2), (3, 4))", "id in (values (1), (2))", "id in (select unnest($1::int[]))",
	"id in (select order_id from lines)", "id in (select l.order_id from lines l where l.bad)", "id in (select lines.id from lines)", "id in (select id from orders where status = 'old')",
	"id in (select o.id from orders o where o.status = 'old' order by o.id limit 100 for update skip locked)", "id in (select id from orders order by created limit 100)", "id in (select id from orders limit $1)",
	"id = any (array(select id from orders where status = 'old' limit 100))", "ctid in (select ctid from orders where status = 'old' limit 100)", "ctid = any (array(select ctid from orders limit 500))", "id = (select max(id) from orders)",
	"id = (select id from orders where old order by id limit 1)", "id = (select c.last_order from customers c where c.id = $1)", "id in (select o.id from orders o join customers c on c.id = o.customer where c.vip = 5)",
	"id in (select o.id from orders o join customers c on c.id = o.customer where o.total > 5)", "exists (select 1 from customers c where c.id = orders.customer)", "exists (select * from customers c where c.id = orders.customer and c.gone)",
	"exists (select 1 from customers c where orders.customer = c.id limit 1)", "not exists (select 1 from customers c where c.id = orders.customer)", "not exists (select 1 from customers c where c.id = orders.customer and c.vip)",
	"exists (select 1 from orders o where o.email = orders.email and o.id < orders.id)", "id not in (select order_id from lines)", "id not in (select min(id) from orders group by email)", "id not in (select l.order_id from lines l where l.ok)",
	"id in (with x as (select id from orders limit 5) select id from x)", "id in (select id from orders where id = 5 union select id from orders where id = 6)", "id in (select q.id from (select o.id from orders o where o.old) q)",
	"id in (select parent from orders where id = $1)",
}

func unfilteredIn(t *testing.T, a *Analyzer, text string) bool {
	t.Helper()
	f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
	if err != nil || !f.Known {
		t.Fatalf("%s: %v %s", text, err, f.Unknown)
	}
	return slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return n.Unfiltered })
}

func TestConditions(t *testing.T) {
	a := newAnalyzer(t)
	for want, list := range map[bool][]string{true: ineffectiveConditions, false: effectiveConditions} {
		for _, c := range list {
			for _, form := range []string{"delete from orders where ", "update orders set x = 1 where ", "with d as (delete from only shop.orders where %s returning 1) select * from d", "explain analyze delete from orders where %s"} {
				text := form + c
				if strings.Contains(form, "%s") {
					text = strings.Replace(form, "%s", c, 1)
				}
				if got := unfilteredIn(t, a, text); got != want {
					t.Errorf("%s: unfiltered %v, want %v", text, got, want)
				}
			}
		}
	}
}

// A condition beside an effective one takes nothing away; one that is an alternative to it does.
func TestConditionsTogether(t *testing.T) {
	a := newAnalyzer(t)
	for _, c := range ineffectiveConditions {
		if unfilteredIn(t, a, "delete from orders where ("+c+") and id = 5") {
			t.Errorf("%s and id = 5 is unfiltered", c)
		}
		if !unfilteredIn(t, a, "delete from orders where id = 5 or ("+c+")") {
			t.Errorf("id = 5 or %s is filtered", c)
		}
	}
	for _, c := range effectiveConditions {
		if strings.Contains(c, "current of") {
			continue // stands alone
		}
		if !unfilteredIn(t, a, "delete from orders where ("+c+") or true") {
			t.Errorf("%s or true is filtered", c)
		}
		if !unfilteredIn(t, a, "delete from orders where ("+c+") or not ("+c+")") {
			t.Errorf("%s or its negation is filtered", c)
		}
	}
}

func TestJoinedConditions(t *testing.T) {
	cases := map[string]bool{
		"delete from orders using customers c":                                                                                                                                      true,
		"delete from orders using customers c where c.id = 5":                                                                                                                       true,
		"delete from orders using customers c where vip = 5":                                                                                                                        true,
		"delete from orders using customers c where c.id = c.other":                                                                                                                 true,
		"delete from orders o using customers c where o.id <> c.id":                                                                                                                 true,
		"delete from orders o using orders p where o.id >= p.id":                                                                                                                    true,
		"delete from orders o using orders p where o.id = p.id and p.old":                                                                                                           true,
		"delete from orders o using (select id as y from orders) q where o.id = q.y":                                                                                                true,
		"delete from orders o using (select id as y from orders) q where o.id = y":                                                                                                  true,
		"delete from orders o using (select id as y from orders where true) q where o.id = q.y":                                                                                     true,
		"delete from orders o using orders p(y) where o.id = p.y":                                                                                                                   true,
		"delete from orders o using generate_series(1, 1000000) g(n) where o.id = g.n":                                                                                              true,
		"delete from orders o using unnest(array(select id from orders)) u(id) where o.id = u.id":                                                                                   true,
		"delete from orders o using customers c where o.id > c.id":                                                                                                                  true,
		"with x as (select id from orders) delete from orders where id in (with x as (select id from x) select id from x)":                                                          true,
		"with x as (select id from orders) delete from orders where id in (with x as (select id from x limit 5) select id from x)":                                                  true,
		"delete from orders a using orders b where a.email = b.email and a.id > b.id":                                                                                               false,
		"update orders o set x = 1 from customers c join orders p on p.customer = c.id where p.id = o.id":                                                                           true,
		"with x as (select id as y from orders) delete from orders using x where orders.id = x.y":                                                                                   true,
		"with x as (select id as y from orders) delete from orders using x where orders.id = y":                                                                                     true,
		"with x as (select id from orders), y as (select id from x) delete from orders where id in (select id from y)":                                                              true,
		"with x as (select id from orders), d as (delete from orders where id in (select id from x) returning 1) select 1":                                                          true,
		"with d as (delete from orders where id in (select id from orders)), orders as (select 1 as id) select 1":                                                                   true,
		"with x as (select total from orders limit 9) delete from orders where id in (select id from x)":                                                                            true,
		"with x as (update orders set x = 1 returning id) delete from orders where id in (select id from x)":                                                                        true,
		"with recursive x as (select id from orders union all select o.id from orders o join x on o.id = x.id) delete from orders where id in (select id from x)":                   true,
		"merge into orders o using customers c on true when matched then delete":                                                                                                    true,
		"merge into orders o using customers c on c.id = 5 when matched then delete":                                                                                                true,
		"merge into orders o using customers c on o.id = o.id when matched then update set x = 1":                                                                                   true,
		"merge into orders o using customers c on true when matched and true then delete":                                                                                           true,
		"merge into orders o using customers c on o.customer = c.id when not matched by source then delete":                                                                         true,
		"merge into orders o using (select id as y from orders) q on q.y = o.id when matched then delete":                                                                           true,
		"merge into orders o using customers c on o.customer = c.id when matched then delete":                                                                                       false,
		"merge into orders o using customers c on o.customer = c.id when not matched by source and o.id = 5 then delete":                                                            false,
		"merge into orders o using customers c on true when matched and o.id = 5 then delete":                                                                                       false,
		"merge into orders o using customers c on true when not matched then insert values (1)":                                                                                     false,
		"merge into orders o using (values (1, 'a')) v(id, x) on o.id = v.id when matched then update set x = v.x":                                                                  false,
		"update orders o set x = v.x from (values (1, 'a'), (2, 'b')) as v(id, x) where v.id = o.id":                                                                                false,
		"update orders o set x = u.x from unnest($1::int[], $2::text[]) as u(id, x) where u.id = o.id":                                                                              false,
		"update orders set x = 1 from json_to_recordset($1) as j(id int) where orders.id = j.id":                                                                                    false,
		"delete from orders o using customers c join cities t on t.id = c.city where o.customer = c.id and t.name = 'x'":                                                            false,
		"delete from orders using customers c where orders.id = 5":                                                                                                                  false,
		"delete from orders using customers c where customer = c.id":                                                                                                                true,
		"delete from orders o using (select email, min(id) as low from orders group by email) q where o.id > 17":                                                                    false,
		"with x as (select id from customers limit 9) delete from orders where id in (select id from x)":                                                                            false,
		"with old as (delete from lines where bad returning order_id) delete from orders using old where orders.id = old.order_id":                                                  false,
		"with recursive x as (select id from orders where id = $1 union all select o.id from orders o join x on o.parent = x.id) delete from orders where id in (select id from x)": false,
	}
	a := newAnalyzer(t)
	for text, want := range cases {
		if got := unfilteredIn(t, a, text); got != want {
			t.Errorf("%s: unfiltered %v, want %v", text, got, want)
		}
	}
}

// A template answers for all constants that a column equals; none of them may matter.
func TestConditionsOfTemplates(t *testing.T) {
	a := newAnalyzer(t)
	for _, first := range []string{"5", "'x'"} {
		unfilteredIn(t, a, "delete from orders where id = "+first)
		for _, constant := range []string{"1", "0", "'t'", "''", "'%'", "'nan'", "'infinity'", "-1"} {
			if unfilteredIn(t, a, "delete from orders where id = "+constant) {
				t.Errorf("id = %s is unfiltered", constant)
			}
			if !unfilteredIn(t, a, "delete from orders where tableoid = "+constant) {
				t.Errorf("tableoid = %s is filtered", constant)
			}
		}
	}
}

// What nests too deeply is not effective, and takes no time.
func TestDeepConditions(t *testing.T) {
	a := newAnalyzer(t)
	condition := "id = 5"
	for range 12 {
		condition = "not exists (select 1 from customers c where c.id = orders.customer and " + condition + ")"
	}
	if !unfilteredIn(t, a, "delete from orders where "+condition) {
		t.Error("nested sub-selects are effective")
	}
	if unfilteredIn(t, a, "delete from orders where "+strings.Repeat("(id = 5 and ", 40)+"true"+strings.Repeat(")", 40)) {
		t.Error("a conjunction is not effective")
	}
	var with []string
	for i := range 40 {
		from := "orders"
		if i > 0 {
			from = "x" + string(rune('a'+(i-1)/26)) + string(rune('a'+(i-1)%26))
		}
		with = append(with, "x"+string(rune('a'+i/26))+string(rune('a'+i%26))+" as (select a.id from "+from+" a, "+from+" b)")
	}
	if !unfilteredIn(t, a, "with "+strings.Join(with, ", ")+" delete from orders where id in (select id from xbn)") {
		t.Error("a chain of WITH queries is effective")
	}
}
