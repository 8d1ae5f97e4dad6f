package postgres_test

import (
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// relaxed are the corpus's masks under a rule with predicates: Equality and expressions:
// MaskOutput.
type relaxed struct{ masks }

func (relaxed) Uses(ref sql.MaskRef) sql.Uses {
	if ref == 0 || int(ref) > len(maskedNames) {
		return sql.Uses{}
	}
	return sql.Uses{Equality: true, MaskedExpressions: true}
}

const whole = sql.WholeValue

// TestRelaxedRules holds rules that admit comparisons and expressions to exactly these.
func TestRelaxedRules(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	b.columns = relaxed{}
	ssn, email := b.columns.Mask("public", "customers", "ssn"), b.columns.Mask("public", "customers", "email")
	for text, want := range map[string][]sql.MaskRef{
		"select id, email from customers where email = 'ada@example.com'":                                 {0, email},
		"select id from customers where 'ada@example.com' = email":                                        {0},
		"select id from customers where email = 'a'::text and id > 0 or not ssn = '1'":                    {0},
		"select id from customers where email in ('a', 'b', null)":                                        {0},
		"select id from customers where email = any('{a,b}')":                                             {0},
		"select id from customers where email = any(array['a','b'])":                                      {0},
		"select id from customers where balance = 12.5":                                                   {0},
		"select id from customers where balance = 12::bigint or balance in (1, 2.5, '3')":                 {0},
		"select id from customers where balance = any('{1,2}'::int[])":                                    {0},
		"select id from customers where email operator(pg_catalog.=) 'x'":                                 {0},
		"select o.id from orders o join customers c on c.id = o.customer_id and c.email = 'x'":            {0},
		"select id from (select id, email as mail from customers) q where mail = 'x'":                     {0},
		"insert into logins values (5, 'new@example.com', 'z') on conflict (email) do nothing":            nil,
		"insert into logins values (6, 'x', 'z') on conflict (email) do update set name = excluded.name":  nil,
		"select upper(email), lower(ssn) from customers":                                                  {email, ssn},
		"select left(email, 3) from customers":                                                            {email | whole},
		"select right(left(email, 12), 4) as tail from customers":                                         {email | whole},
		"select 'mail: ' || email from customers":                                                         {email | whole},
		"select concat(name, ' ', email) from customers":                                                  {email | whole},
		"select concat(email, ssn) from customers":                                                        {email | whole},
		"select length(ssn), md5(ssn), reverse(ssn), rtrim(ssn, '0123456789') from customers":             {ssn | whole, ssn | whole, ssn | whole, ssn | whole},
		"select coalesce(email, 'none') from customers":                                                   {email},
		"select coalesce(email, ssn) from customers":                                                      {email | whole},
		"select email::text, cast(ssn as varchar) from customers":                                         {email, ssn},
		"select u from (select upper(email) as u from customers) q":                                       {email},
		"select (select email from customers where id = 1)":                                               {email},
		"with q as (select left(email, 1) as l from customers) select l from q union all select l from q": {email | whole},
	} {
		f := b.analyze(t, text)
		if !admitted(f) {
			t.Errorf("%s is refused: %s", text, why(f))
			continue
		}
		if len(f.Outputs) != len(want) {
			t.Errorf("%s: %d outputs", text, len(f.Outputs))
			continue
		}
		for i, o := range f.Outputs {
			if !o.Known || o.Mask != want[i] {
				t.Errorf("%s: output %d is masked by %x, want %x", text, i, o.Mask, want[i])
			}
		}
		if b.send(t, text); b.failed != nil {
			t.Errorf("%s: %v", text, b.failed)
		}
	}
	for text, want := range map[string]map[uint32]bool{
		"select id from customers where balance = $1":                 {0: true, 705: true, 20: true, 1700: true, 700: false, 701: false, 25: false, 99999: false},
		"select id from customers where 0 < id and email = any($1)":   {0: true, 1009: true, 25: true, 600: false},
		"select id from customers where balance = $1::numeric":        {700: true},
		"select id from customers where balance = $1 or balance = $1": {23: true, 701: false},
	} {
		f := b.analyze(t, text)
		if !admitted(f) {
			t.Errorf("%s is refused: %s", text, why(f))
		}
		for declared, fits := range want {
			if postgres.Fits(f, []uint32{declared}) != fits || !postgres.Fits(f, nil) {
				t.Errorf("%s: a parameter of type %d: want %v", text, declared, fits)
			}
		}
	}
	for _, text := range []string{
		"select id from customers where email = 'x'",
		"select id from customers where email in ('x')",
		"select id from customers where email = any('{x}')",
	} {
		if f := b.analyze(t, text); !f.Sensitive || !f.SensitiveParameters {
			t.Errorf("%s: what is compared would be recorded as it is", text)
		}
	}
	for _, text := range []string{
		"select id from customers where balance = 1834.75::real", "select id from customers where balance = any('{1834.75}'::float8[])",
		"select id from customers where balance in (1, 1834.75::float4)", "select id from customers where email = 5", "select id from customers where balance = true",
		"select id from customers where balance = $1 and 0.5::real < $1", "select id from customers where balance = $1 and id = $1", "select $1 from customers where email = $1",
		"select id from (select id, balance as b from customers union all select 1, 1::real) q where b = 1", "prepare p(real) as select id from customers where balance = $1",
		"prepare p as select id from customers where balance = $1 and $1 = id::real",
		"select id from customers where email <> 'x'", "select id from customers where email > 'x'", "select id from customers where not email < 'x'",
		"select id from customers where email like 'a%'", "select id from customers where email not in ('x')", "select id from customers where email ~ 'x'",
		"select id from customers where email = name", "select id from customers where email = ssn", "select id from customers where email = lower('X')",
		"select id from customers where lower(email) = 'x'", "select id from customers where email::text = 'x'", "select id from customers where email = all('{x}')",
		"select id from customers where email = (select 'x')", "select id from customers where email in (select name from customers)",
		"select id from customers where email is null", "select id from customers where email is distinct from 'x'", "select id from customers where email between 'a' and 'b'",
		"select id from customers where email collate \"C\" = 'x'", "select id from customers where (email, id) = ('x', 1)",
		"select id from customers where email = 'x'::citext", "select id from customers where email = any(array[name])",
		"select email = 'x' from customers", "select id from customers order by email = 'x'", "select count(*) from customers group by email = 'x'",
		"select sum((email = 'x')::int) from customers", "select id from customers where left(name, (email = 'x')::int) = 'A'",
		"select id from customers where email = array_to_string(array['a'], '')", "select id from customers where email = any(string_to_array('a,b', ','))",
		"select c.id from customers c join customers d on c.email = d.email",
		"select repeat(email, 2) from customers", "select replace(email, 'a', 'b') from customers", "select email || email::int from customers",
		"select email::int from customers", "select email::varchar(3) from customers", "select email::name from customers", "select balance::text from customers",
		"select upper(email) from customers order by 1", "select distinct upper(email) from customers", "select upper(email) from customers group by 1",
		"select max(email) from customers", "select count(email) from customers", "select string_agg(email, ',') from customers",
		"select x || x from (select email || email as x from customers) q", "select upper(x) from (select left(email, 1) as x from customers) q",
		"select upper(email) from customers union select name from customers", "select upper(email) from customers union all select left(email, 1) from customers",
		"select left(email, id) from customers", "select case when email = 'x' then 1 else 0 end from customers", "select nullif(email, 'x') from customers",
		"select greatest(email, 'm') from customers", "select format('%s', email) from customers", "select (select email from customers where id = 1) || 'x'",
		"select 1 where (select email from customers where id = 1) = 'x'", "select id from customers limit (select length(email) from customers where id = 1)",
		"select generate_series(1, length(email)) from customers", "select concat(variadic array[email]) from customers",
		"insert into system_like(id, note) select 1, upper(email) from customers", "update system_like set note = (select upper(email) from customers where id = 1)",
		"update customers set name = upper(email) where id = 1", "update customers set email = upper(email) where id = 1 returning name, email = 'x'",
	} {
		if f := b.analyze(t, text); admitted(f) {
			t.Errorf("%s is admitted", text)
		}
	}
}
