package postgres_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// viewSchema is beside the corpus's schema.
const viewSchema = `
create schema hidden;
grant usage on schema hidden to analyst;
create table hidden.staff (id int primary key, ssn text, name text);
insert into hidden.staff values (1, '123-45-6789', 'Ada');
create view v_plain as select id, name, ssn from customers;
create view v_alias as select id, ssn as code from customers;
create view v_swap as select ssn as name, name as ssn, id from customers;
create view v_nested as select code as deeper, id from v_alias;
create view v_twice as select a.deeper, b.code from v_nested a join v_alias b using (id);
create view v_union as select name from customers union all select ssn from customers;
create view v_union_distinct as select ssn as code from customers union select 'x';
create view v_distinct as select distinct ssn as code from customers;
create view v_group as select ssn as code, count(*) from customers group by ssn;
create view v_order as select id from customers order by ssn;
create view v_aggregate as select max(ssn) as code from customers;
create view v_where as select id from customers where ssn = '123-45-6789';
create view v_expression as select upper(email) as mail from customers;
create view v_row as select c as whole from customers c;
create view v_lateral as select c.id, l.x from customers c, lateral (select c.ssn as x) l;
create view v_lateral_join as select c.id, l.x from customers c left join lateral (select o.total as x from orders o where o.customer_id = c.id) l on true;
create view v_subselect as select o.id, (select c.ssn from customers c where c.id = o.customer_id) as code from orders o;
create view v_exists as select id from orders o where exists (select 1 from customers c where c.ssn > '5');
create view v_parted as select id, ssn as code from parted;
create view v_parent as select id, ssn as code, name from customers;
create view v_child as select id, ssn as code, extra from heirs;
create view v_hidden as select id, ssn as code, name from hidden.staff;
create view hidden.v_staff as select id, ssn as code, name from hidden.staff;
create view v_cte as with orders as (select id, ssn as total from customers) select id, total from orders;
create view v_cte_qualified as with customers as (select id, total from orders) select c.id, c.total, k.ssn as code from customers c join public.customers k using (id);
create recursive view v_recursive (n) as values (1) union all select n + 1 from v_recursive where n < 3;
create recursive view v_recursive_masked (code, n) as select ssn, 1 from customers union all select code, n + 1 from v_recursive_masked where n < 2;
create view v_series as select generate_series as n from generate_series(1, 3);
create view v_function as select * from all_customers();
create view v_user_function as select one_ssn(1) as code;
create view v_matview as select code from mv_customers;
create view v_values (id, code) as values (1, 'a'), (2, 'b');
create view v_constant as select 1 as ssn, 2 as two;
create view v_next as select nextval('numbers') as n;
create view v_lock as select id from orders for update;
create view v_catalog as select relname from pg_class where relname = 'customers';
create view v_statistics as select most_common_vals::text as x from pg_stats;
create view v_statements as select query from pg_stat_activity where pid = pg_backend_pid();
create view v_window as select id, row_number() over (order by ssn) as n from customers;
create view v_join_using as select id, total, name from orders join customers using (id);
create view v_join_masked as select a.id from customers a join logins b on a.email = b.email;
create view v_renamed as select id, ssn as code from derived;
alter view v_renamed rename column code to name;
create view v_case as select case when ssn like '1%' then 1 else 0 end as x from customers;
create view v_order_rule as select id, total from orders;
create rule insert_too as on insert to v_order_rule do instead insert into orders values (new.id, 1, new.total);
create view v_barrier with (security_barrier) as select id, ssn as code from customers;
create view v_system as select ctid, xmin, id from orders;
create function tell(v_alias) returns text language sql as 'select $1.code';
create function xmin(v_alias) returns text language sql as 'select $1.code';
create type mood as enum ('sad', 'glad');
create table moods (id int, m mood, ssn text);
create view v_mood as select id, m from moods where m = 'sad';
create operator public.=== (leftarg = text, rightarg = text, function = texteq);
create view v_operator as select id from customers where name === 'Ada';
create view v_similar as select id from orders where total in (100.5, 2, 3) and id between 1 and 50 and total::text like '1%' and coalesce(total, 0) > 0;
create view v_intersect as select ssn as code from customers intersect select ssn from derived;
create view v_two as select id, ssn as email from customers;
grant select, insert, update, delete on all tables in schema public, hidden to analyst;
`

// TestViews reads views on a target with masks.
func TestViews(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	s.Exec(t, "original", viewSchema)
	for name, test := range map[string]func(*testing.T, *pgtest.Server, *backend, string){
		"read": readViews, "shadowed": readShadowedViews, "changed": changeViews, "facts": viewFacts, "bounds": boundViews,
	} {
		t.Run(name, func(t *testing.T) {
			copyDatabase(t, s, name)
			test(t, s, connect(t, s, newAnalyzer(t), "analyst", "pw", name), name)
		})
	}
}

// readViews reads views: each is as masked as what it stands for.
func readViews(t *testing.T, _ *pgtest.Server, b *backend, _ string) {
	t.Helper()
	const denied = "denied"
	for text, want := range map[string]string{
		"select * from v_plain where id = 1":                                            "1|Ada Lovelace|masked|",
		"select id, code from v_alias where id = 1":                                     "1|masked|",
		"select x.code from v_alias as x where x.id = 1":                                "masked|",
		"select public.v_alias.code from public.v_alias where id = 1":                   "masked|",
		"select code || '' from v_alias":                                                denied,
		"select id from v_alias where code = '123-45-6789'":                             denied,
		"select id from v_alias order by code":                                          denied,
		"select count(distinct code) from v_alias":                                      denied,
		"select v_alias from v_alias":                                                   denied,
		"select v_alias::text from v_alias":                                             denied,
		"select row_to_json(v_alias) from v_alias":                                      denied,
		"select v_alias.tell from v_alias":                                              denied,
		"select v_alias.xmin from v_alias":                                              denied,
		"select x.xmin from v_alias x":                                                  denied,
		"select tell(v_alias) from v_alias":                                             denied,
		"select code.text from v_alias code":                                            denied,
		"select id from v_alias x(code, id) where id > '5'":                             denied,
		"select name, ssn from v_swap where id = 1":                                     "masked|masked|",
		"select deeper from v_nested where id = 1":                                      "masked|",
		"select id from v_nested where deeper > '5'":                                    denied,
		"select deeper, code from v_twice limit 1":                                      "masked|masked|",
		"select name from v_union limit 1":                                              "masked|",
		"select code from v_union_distinct":                                             denied,
		"select code from v_distinct":                                                   denied,
		"select count from v_group":                                                     denied,
		"select id from v_order":                                                        denied,
		"select code from v_aggregate":                                                  denied,
		"select id from v_where":                                                        denied,
		"select mail from v_expression":                                                 denied,
		"select mail from v_customers":                                                  denied,
		"select whole from v_row":                                                       denied,
		"select x from v_lateral where id = 1":                                          "masked|",
		"select x from v_lateral where x > '5'":                                         denied,
		"select x from v_lateral_join where id = 2":                                     "7.25|",
		"select id, code from v_subselect where id = 10":                                "10|masked|",
		"select id from v_exists":                                                       denied,
		"select id, code from v_parted":                                                 "1|masked|",
		"select id, code, name from v_parent where id = 4":                              "4|masked|Di|",
		"select id, code, extra from v_child":                                           "4|masked|x|",
		"select id, code, name from v_hidden":                                           "1|masked|Ada|",
		"select id, code, name from hidden.v_staff":                                     "1|masked|Ada|",
		"select v_staff.code from hidden.v_staff":                                       "masked|",
		"select id, total from v_cte where id = 1":                                      "1|masked|",
		"select id, total, code from v_cte_qualified":                                   "",
		"select n from v_recursive where n = 3":                                         "3|",
		"select code, n from v_recursive_masked limit 1":                                "masked|1|",
		"select n from v_series where n = 2":                                            "2|",
		"select * from v_function":                                                      denied,
		"select * from v_user_function":                                                 denied,
		"select code from v_matview":                                                    denied,
		"select code from mv_customers":                                                 denied,
		"select code from v_values where id = 1":                                        "a|",
		"select ssn, two from v_constant":                                               "masked|2|",
		"select n from v_next":                                                          denied,
		"select id from v_lock":                                                         denied,
		"select relname from v_catalog":                                                 "customers|",
		"select x from v_statistics":                                                    denied,
		"select query from v_statements":                                                "masked|",
		"select n from v_window":                                                        denied,
		"select count(*) from v_join_using":                                             "0|",
		"select id from v_join_masked":                                                  denied,
		"select id, name from v_renamed":                                                "1|masked|",
		"select x from v_case":                                                          denied,
		"select total from v_order_rule where id = 12":                                  "7.25|",
		"insert into v_order_rule values (99, 1)":                                       denied,
		"insert into v_alias values (99, 'x')":                                          denied,
		"update v_alias set code = 'x' where id = 1":                                    denied,
		"update v_alias set id = 1 where id = 1 returning code":                         denied,
		"delete from v_alias where id = 1":                                              denied,
		"delete from v_alias where id = 1 returning *":                                  denied,
		"update orders set total = 1 from v_alias v where v.code > '5'":                 denied,
		"update orders set total = v.code from v_alias v":                               denied,
		"insert into system_like select id, code from v_alias":                          denied,
		"insert into system_like select id, total::text from v_order_rule":              "",
		"lock table v_alias":                                                            denied,
		"truncate v_alias":                                                              denied,
		"copy v_alias to stdout":                                                        denied,
		"create temp table t as select code from v_alias":                               denied,
		"explain analyze select id from v_alias where id = 1":                           denied,
		"select code from v_barrier where id = 1":                                       "masked|",
		"select id from v_system where id = 12":                                         "12|",
		"select id from v_mood":                                                         denied,
		"select id from v_operator":                                                     denied,
		"select id from v_similar where id = 10":                                        "10|",
		"select code from v_intersect":                                                  denied,
		"select email from v_two where id = 1":                                          "masked|",
		"select code from v_alias union select 'x'":                                     denied,
		"select code from v_alias union all select name from customers":                 "masked|",
		"select id from v_alias a join v_hidden h using (code)":                         denied,
		"select id from v_alias natural join v_hidden":                                  denied,
		"with v_alias as (select 1 as code) select code from v_alias":                   "1|",
		"select (select code from v_alias where id = 1)":                                "masked|",
		"select 1 where exists (select 1 from v_alias where code > '5')":                denied,
		"select table_name from information_schema.tables where table_name = 'v_alias'": "v_alias|",
		"select viewname from pg_views where viewname = 'v_alias'":                      "v_alias|",
		"select id from v_alias where id = 1 for update":                                "",
	} {
		seen, refused := b.send(t, text)
		switch {
		case want == denied && refused == "":
			t.Errorf("%s is admitted", text)
		case want == denied:
			t.Logf("%s: %s", text, refused)
		case refused != "":
			t.Errorf("%s is refused: %s", text, refused)
		case want != "" && b.failed != nil:
			t.Errorf("%s: %v", text, b.failed)
		case !strings.HasPrefix(seen, want):
			t.Errorf("%s shows %s, want %s", text, seen, want)
		}
		for _, secret := range planted() {
			if strings.Contains(seen, secret) {
				t.Errorf("%s shows %s: %s", text, secret, seen)
			}
		}
	}
}

// readShadowedViews reads by names that mean another relation than they seem to.
func readShadowedViews(t *testing.T, s *pgtest.Server, b *backend, database string) {
	t.Helper()
	own := func(text string) {
		t.Helper()
		if err := b.c.Exec(t.Context(), text).Close(); err != nil {
			t.Fatal(err)
		}
		b.catalog.Forget()
	}
	see := func(text, want string) {
		t.Helper()
		seen, refused := b.send(t, text)
		if refused != "" || !strings.HasPrefix(seen, want) {
			t.Errorf("%s shows %s, want %s; %s", text, seen, want, refused)
		}
	}
	see("select code from v_alias where id = 1", "masked|")
	own("create temp table customers (id int, ssn int, name text, email text)")
	own("insert into pg_temp.customers values (1, 1, 'own', '')")
	see("select id, name from v_parent where id = 1", "1|Ada Lovelace|")
	see("select code from v_alias where id = 1", "masked|")
	own("create temp view v_alias as select id, name as code from pg_temp.customers")
	see("select code from v_alias", "own|")
	own("create or replace temp view v_alias as select id, ssn as code from public.customers")
	see("select code from v_alias where id = 1", "masked|")
	see("select code from public.v_alias where id = 1", "masked|")
	own("set search_path = hidden, public")
	see("select code from v_hidden", "masked|")
	see("select code from v_staff", "masked|")
	own("set search_path = ''")
	see("select code from public.v_twice limit 1", "masked|")
	own("reset search_path")
	s.Exec(t, database, "alter table orders rename column total to amount; alter table customers rename to people; alter view v_nested rename to v_deeper")
	b.catalog.Forget()
	see("select total from v_order_rule where id = 12", "7.25|")
	see("select code from v_barrier where id = 1", "masked|")
	see("select deeper from v_deeper where id = 1", "masked|")
}

// changeViews changes what a view stands for between analysis and execution.
func changeViews(t *testing.T, s *pgtest.Server, b *backend, database string) {
	t.Helper()
	for _, c := range []struct {
		text, change string
		want         error
	}{
		{"select id from v_alias", "select 1", nil},
		{"select id from v_alias", "insert into orders values (77, 1, 1)", nil},
		{"select name from v_parent", "create or replace view v_parent as select id, ssn as code, ssn as name from customers", postgres.ErrDefinitionChanged},
		{"select two from v_constant", "create or replace view v_constant as select 1 as ssn, 3 as two", postgres.ErrDefinitionChanged},
		{"select deeper from v_nested", "create or replace view v_alias as select id, name as code from customers", postgres.ErrDefinitionChanged},
		{"select name from v_hidden", "alter table hidden.staff rename ssn to s; alter table hidden.staff rename name to ssn", postgres.ErrDefinitionChanged},
		{"select total from v_order_rule", "alter view v_order_rule rename column total to other", postgres.ErrDefinitionChanged},
		{"select n from v_series", "alter view v_series rename to v_away; create view v_series as select 2 as n", postgres.ErrDefinitionChanged},
		{"select x from v_lateral_join", "alter table orders rename to o2; create table orders as table o2", postgres.ErrDefinitionChanged},
	} {
		f := b.analyze(t, c.text)
		if !admitted(f) {
			t.Errorf("%s: %s", c.text, why(f))
			continue
		}
		s.Exec(t, database, c.change)
		if err := b.analyzer.Verify(t.Context(), f, b.catalog); !errors.Is(err, c.want) {
			t.Errorf("%s after %s: %v, want %v", c.text, c.change, err, c.want)
		}
	}
}

// viewFacts lists what a rule may be about: the view, what is beneath it and what it
// calls.
func viewFacts(t *testing.T, s *pgtest.Server, b *backend, database string) {
	t.Helper()
	s.Exec(t, database, "create view v_calls as select md5(total::text) as m from v_order_rule; grant select on v_calls to analyst")
	f := b.analyze(t, "select m from v_calls")
	if !admitted(f) {
		t.Fatal(why(f))
	}
	var names []string
	for _, r := range f.Relations {
		names = append(names, r.Schema+"."+r.Name)
	}
	slices.Sort(names)
	if want := []string{"public.orders", "public.v_calls", "public.v_order_rule"}; !slices.Equal(names, want) {
		t.Errorf("relations %v, want %v", names, want)
	}
	if !slices.ContainsFunc(f.Functions, func(fn sql.Function) bool { return fn.Name == "md5" }) {
		t.Errorf("functions %v", f.Functions)
	}
	f = b.analyze(t, "select id from v_where")
	if f.MaskedColumn != "public.customers.ssn" || !strings.Contains(f.MaskViolation, `"v_where"`) || !strings.Contains(f.MaskViolation, "public.customers.ssn") {
		t.Errorf("%q, %q", f.MaskedColumn, f.MaskViolation)
	}
}

// boundViews reads views that are too many, too deep and too long.
func boundViews(t *testing.T, s *pgtest.Server, b *backend, database string) {
	t.Helper()
	var deep strings.Builder
	deep.WriteString("create view deep1 as select id, ssn as code from customers;")
	for i := 2; i <= 18; i++ {
		n := func(i int) string { return "deep" + string(rune('0'+i/10)) + string(rune('0'+i%10)) }
		from := n(i - 1)
		if i == 2 {
			from = "deep1"
		}
		deep.WriteString("create view " + n(i) + " as select a.id, b.code from " + from + " a join " + from + " b using (id);")
	}
	s.Exec(t, database, deep.String())
	s.Exec(t, database, "create view long as select 1 as one where '"+strings.Repeat("x", 300<<10)+"' <> ''; grant select on all tables in schema public to analyst")
	for text, want := range map[string]bool{"select code from deep10 limit 1": true, "select code from deep16 limit 1": true, "select code from deep17 limit 1": false,
		"select code from deep18 limit 1": false, "select one from long": false} {
		if f := b.analyze(t, text); admitted(f) != want {
			t.Errorf("%s: admitted %v, %s", text, admitted(f), why(f))
		} else if want && f.Outputs[0].Mask == 0 {
			t.Errorf("%s is not masked", text)
		}
	}
}
