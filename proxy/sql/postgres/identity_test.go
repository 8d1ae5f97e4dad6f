package postgres_test

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestMasksFollowColumns renames, past the gate, what is masked and was never queried.
func TestMasksFollowColumns(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	family := "create table family (id int, ssn text) partition by range (id); create table family_1 partition of family for values from (0) to (10);" +
		"insert into family values (1, 'KEPTSECRET'); grant select on family, family_1 to analyst;"
	cases := map[string]struct{ change, query string }{
		"column":            {"alter table family rename ssn to plain", "select plain from family"},
		"column, star":      {"alter table family rename ssn to plain", "select * from family"},
		"twice":             {"alter table family rename ssn to x; alter table family rename x to plain", "select plain from family"},
		"partition":         {"alter table family rename ssn to plain", "select plain from family_1"},
		"detached":          {"alter table family rename ssn to plain; alter table family detach partition family_1", "select plain from family_1"},
		"swapped":           {"alter table family add plain text; alter table family rename ssn to x; alter table family rename plain to ssn; alter table family rename x to plain", "select plain from family"},
		"table and column":  {"alter table family rename to clan; alter table clan rename ssn to plain", "select plain from clan"},
		"schema and column": {"create schema hidden; grant usage on schema hidden to analyst; alter table family set schema hidden; alter table hidden.family rename ssn to plain", "select plain from hidden.family"},
		"new partition":     {"alter table family rename ssn to plain; create table family_2 partition of family for values from (10) to (20); insert into family values (11, 'KEPTSECRET'); grant select on family_2 to analyst", "select plain from family_2"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			database := "follow_" + strings.NewReplacer(" ", "_", ",", "").Replace(name)
			copyDatabase(t, s, database)
			s.Exec(t, database, family)
			b := connect(t, s, newAnalyzer(t), "analyst", "pw", database)
			if _, refused := b.send(t, "select id from orders"); refused != "" {
				t.Fatal(refused)
			}
			s.Exec(t, database, c.change)
			for _, who := range []*backend{b, connect(t, s, b.analyzer, "analyst", "pw", database)} {
				seen, refused := who.send(t, c.query)
				if strings.Contains(seen, "KEPTSECRET") || refused == "" && !strings.Contains(seen, "masked") || who.failed != nil {
					t.Errorf("%s: saw %q, refused %q, error %v", c.query, seen, refused, who.failed)
				}
			}
		})
	}
}

// exactly masks one column by its full name.
type exactly struct{ masks }

func (exactly) Mask(schema, table, column string) sql.MaskRef {
	if schema == "public" && table == "customers" && column == "email" {
		return 1
	}
	return 0
}

func (exactly) Names() []sql.ColumnName {
	return []sql.ColumnName{{Schema: "Public", Table: "customers", Column: "EMAIL"}}
}

// TestNamesThatAreGone renames a column of which a rule says the full name: whoever saw it
// before follows it, and whoever did not shuts the table.
func TestNamesThatAreGone(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	copyDatabase(t, s, "gone")
	watching := connect(t, s, newAnalyzer(t), "analyst", "pw", "gone")
	watching.columns = exactly{}
	if _, refused := watching.send(t, "select id from orders"); refused != "" {
		t.Fatal(refused)
	}
	s.Exec(t, "gone", "alter table customers rename email to mail")
	if seen, refused := watching.send(t, "select mail from customers"); refused != "" || !strings.Contains(seen, "masked") {
		t.Errorf("saw %q, refused: %s", seen, refused)
	}
	late := connect(t, s, newAnalyzer(t), "analyst", "pw", "gone")
	late.columns = exactly{}
	for _, text := range []string{"select mail from customers", "select id from customers", "update customers set name = 'x' where id = 1", "select * from public.customers c"} {
		if seen, refused := late.send(t, text); !strings.Contains(refused, "Public.customers.EMAIL, which does not exist") {
			t.Errorf("%s: saw %q, refused: %s", text, seen, refused)
		}
	}
	if _, refused := late.send(t, "select id from orders"); refused != "" {
		t.Errorf("another table is shut: %s", refused)
	}
}

// TestReferencesToColumnsThatWereRenamed writes to a column that references a masked one:
// whether that works tells which values are there.
func TestReferencesToColumnsThatWereRenamed(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	copyDatabase(t, s, "referenced")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "referenced")
	if _, refused := b.send(t, "select id from orders"); refused != "" {
		t.Fatal(refused)
	}
	s.Exec(t, "referenced", "alter table logins rename email to address")
	if _, refused := b.send(t, "insert into tickets(id, contact) values (1, 'ada@example.com')"); refused == "" {
		t.Error("a foreign key to a masked column can be tried")
	}
}
