package postgres

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3Nulls asks whether masked values are NULL: that is answered where their columns show it,
// and nowhere else.
func TestG3Nulls(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", `create table people (id int primary key, ssn text, code varchar(9), pin int, born date, note json, gone text, mail text);
		insert into people values (1, '123-45-6789', 'x', 1, '1990-05-05', '{}', 'x', 'a@example.com'); insert into people (id) values (2), (3);
		create view missing as select id from people where ssn is null; create view lost as select id from people where gone is null`)
	null := v1alpha1.MaskFunction{Null: &v1alpha1.NullFunction{}}
	g := start(t, server, masking(keepLast4(), "*.people.ssn"), masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "*.people.code", "*.people.note"),
		masking(v1alpha1.MaskFunction{Date: &v1alpha1.DateFunction{Precision: v1alpha1.PrecisionYear}}, "*.people.born"), masking(null, "*.people.gone"),
		masking(v1alpha1.MaskFunction{Hash: &v1alpha1.HashFunction{}}, "*.people.pin"), masking(v1alpha1.MaskFunction{Email: &v1alpha1.EmailFunction{}}, "*.people.mail"))
	c := g.grant("agent", v1alpha1.AccessFull)
	for text, want := range map[string]string{
		"select id from people where ssn is not null":                                                              "DataRow(1)",
		"select count(ssn), count(*) from people":                                                                  "DataRow(1|3)",
		"select count(code) filter (where mail is null) from people":                                               "DataRow(0)",
		"select ssn is null from people where id = 2":                                                              "DataRow(t)",
		"select p.id from people p left join people q on q.id = p.id + 2 where q.ssn is null order by p.id":        "DataRow(1)",
		"select case when mail is null then 'none' else 'some' end from people where id = 1":                       "DataRow(some)",
		"select count(s) from (select ssn as s from people) x":                                                     "DataRow(1)",
		"select count(*) from missing":                                                                             "DataRow(2)",
		"update people set id = id where ssn is null":                                                              "UPDATE 2",
		"select id from people where gone is null":                                                                 "CDA-2004",
		"select count(gone) from people":                                                                           "CDA-2004",
		"select count(*) from lost":                                                                                "CDA-2004",
		"select id from people where note is null":                                                                 "CDA-2004",
		"select id from people where pin is null":                                                                  "CDA-2004",
		"select count(born) from people":                                                                           "CDA-2004",
		"select count(distinct ssn) from people":                                                                   "CDA-2004",
		"select id from people where (ssn, code) is null":                                                          "CDA-2004",
		"select id from people where upper(ssn) is null":                                                           "CDA-2004",
		"select id from people p where p is not null":                                                              "CDA-2004",
		"select count(p) from people p":                                                                            "CDA-2004",
		"select max(ssn) from people":                                                                              "CDA-2004",
		"select id from people where ssn is distinct from null":                                                    "CDA-2004",
		"select id from (select ssn as s, id from people union all select gone, id from people) x where s is null": "CDA-2004",
		"select count(s) from (select nullif(ssn, '123') as s from people) x":                                      "CDA-2004",
	} {
		for name, send := range mayProve {
			fe := frontend(t, g, c, "postgres")
			if got := send(fe, text); !strings.Contains(got, want) {
				t.Errorf("%s: %s: want %s, got %s", name, text, want, got)
			}
		}
	}
}

// TestG3Explain has plans printed with what was measured, where no step of theirs keeps
// masked values.
func TestG3Explain(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", `create table people (id int primary key, name text, ssn text); insert into people values (1, 'ada', '123-45-6789');
		create view seen as select id, ssn from people; create view ids as select id from people`)
	g := start(t, server, masking(keepLast4(), "*.people.ssn"), func(g *gate, _ *engpg.Config) { g.input.MaskingRules[0].Spec.Predicates = v1alpha1.PredicatesEquality })
	c := g.grant("agent", v1alpha1.AccessFull)
	const measured, refused = "actual", "CDA-2004"
	for text, want := range map[string]string{
		"explain analyze select * from people where id = 1":                                           measured,
		"explain (analyze, verbose, settings) select id, name from people p order by name":            measured,
		"explain analyze select count(*), name from people group by name":                             measured,
		"explain analyze select * from ids":                                                           refused,
		"explain select * from people order by id":                                                    "cost=",
		"explain analyze select * from people order by id":                                            refused,
		"explain analyze select * from people p, generate_series(1, 9) g":                             refused,
		"explain analyze select id from (select * from people order by name offset 0) x":              refused,
		"explain analyze select id, count(*) over () from people":                                     refused,
		"explain analyze select id, count(*) over w from people window w as (order by id)":            refused,
		"explain analyze select id from people for update":                                            refused,
		"explain analyze select * from people where exists (select from people q where q.name = '1')": refused,
		"explain analyze select upper(ssn) from people":                                               refused,
		"explain analyze select count(ssn) from people":                                               refused,
		"explain analyze select * from seen":                                                          refused,
		"explain analyze with q as materialized (select * from people) select id from q":              refused,
		"explain analyze update people set name = 'x'":                                                refused,
		"explain analyze with d as (delete from people returning id) select id from d":                refused,
		"explain analyze table people":                                                                measured,
		"explain select id from people where ssn = '123-45-6789'":                                     refused,
		"explain analyze select id from people where ssn in ('123-45-6789')":                          refused,
		"explain verbose insert into people values (2, 'x', '123-45-6789')":                           refused,
		"explain insert into people values (2, 'x', '123-45-6789')":                                   "Insert",
	} {
		for name, send := range mayProve {
			fe := frontend(t, g, c, "postgres")
			if got := send(fe, text); !strings.Contains(got, want) {
				t.Errorf("%s: %s: want %s, got %s", name, text, want, got)
			}
		}
	}
	fe := frontend(t, g, c, "postgres")
	for _, step := range [][2]string{{"prepare p (text) as select id from people where ssn = $1", "PREPARE"}, {"execute p('123-45-6789')", "DataRow(1)"}, {"explain execute p('123-45-6789')", refused}} {
		if got := mayProve["simple"](fe, step[0]); !strings.Contains(got, step[1]) {
			t.Errorf("%s: want %s, got %s", step[0], step[1], got)
		}
	}
	if strings.Contains(g.events(t), "123-45-6789") {
		t.Error("a constant that a masked column is compared with is in the recording")
	}
}
