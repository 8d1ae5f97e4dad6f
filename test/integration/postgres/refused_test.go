package postgres

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3RefusedWithAWord sends what is for administrators, or reaches beyond the database:
// each is refused by a sentence that says what it is.
func TestG3RefusedWithAWord(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", `create table people (id int primary key, name text, ssn text); insert into people values (1, 'ada', '123-45-6789'); create table plain (id int); create table other (id int);
		create foreign data wrapper nothing; create server elsewhere foreign data wrapper nothing; create foreign table far (id int, ssn text) server elsewhere;
		create view through as select id from far; create foreign table part () inherits (plain) server elsewhere`)
	g := start(t, server, masking(keepLast4(), "public.people.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	const rights, foreign, follows = "rights are given or taken", `"far" is a foreign table`, "it follows one that changes definitions"
	for text, want := range map[string]string{
		"grant select on people to public":                                              rights,
		"grant select (id) on plain to public":                                          rights,
		"revoke all on plain from public":                                               rights,
		"alter default privileges grant select on tables to public":                     rights,
		"select * from far":                                                             foreign,
		"select count(*) from through":                                                  "is a foreign table",
		"insert into far values (1, 'x')":                                               foreign,
		"copy far to stdout":                                                            foreign,
		"select p.id from people p join far f on f.id = p.id":                           foreign,
		"create foreign table more (id int) server elsewhere":                           "postgres-foreign-servers",
		"import foreign schema public from server elsewhere into public":                "postgres-foreign-servers",
		"create user mapping for public server elsewhere":                               "postgres-credentials",
		"create table n (id int); insert into n values (1)":                             follows,
		"create temp table n as select id from people; select * from n":                 follows,
		"alter table other add column note text; select 1":                              "Alter is sent together with others; send it in a message of its own",
		"select id into n from people":                                                  "SELECT INTO makes a table",
		"create table n as select id from people":                                       "a relation that stays is made of a query",
		"create temp table n as select ssn from people":                                 "public.people.ssn is used in CREATE TABLE AS",
		"create temp table n as with q as (select * from people) select q.id, * from q": "public.people.ssn is used in CREATE TABLE AS",
		"set app.tenant = '5'":                                                          `the setting "app.tenant" cannot be changed`,
		"set local app.tenant to '5'":                                                   `the setting "app.tenant" cannot be changed`,
	} {
		fe := frontend(t, g, c, "postgres")
		if got := mayProve["simple"](fe, text); !strings.Contains(got, want) {
			t.Errorf("%s: want %s, got %s", text, want, got)
		}
	}
}
