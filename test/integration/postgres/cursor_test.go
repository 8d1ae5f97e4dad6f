package postgres

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// Rows of a cursor are masked as those of its query would be, whatever its names mean by
// the time they are fetched.
func TestCursorsStayMasked(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn"))
	c := g.grant("agent", v1alpha1.AccessFull)
	const declare = "declare c scroll cursor with hold for select id, ssn from customers order by id"
	say := func(t *testing.T, fe *raw, text, want string) {
		t.Helper()
		fe.send(query(text))
		got := fe.untilReady()
		noSecret(t, text, got)
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	t.Run("simple", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		say(t, fe, "begin", "Complete(BEGIN)")
		say(t, fe, declare, "Complete(DECLARE CURSOR) Ready(T)")
		say(t, fe, "fetch 2 from c", "DataRow(1|*******6789) DataRow(2|*******4321) Complete(FETCH 2) Ready(T)")
		say(t, fe, "create temp table customers (id int, ssn text)", "Complete(CREATE TABLE)")
		say(t, fe, "fetch first from c", "DataRow(1|*******6789)")
		say(t, fe, "savepoint s", "SAVEPOINT")
		say(t, fe, "declare c cursor for select id, name from public.customers", "42P03")
		say(t, fe, "rollback to s", "ROLLBACK")
		say(t, fe, "fetch first from c", "DataRow(1|*******6789)")
		say(t, fe, "commit", "Ready(I)")
		server.Exec(t, "postgres", "alter table customers rename ssn to was; alter table customers rename name to ssn; alter table customers rename was to name")
		say(t, fe, "fetch first from c", "DataRow(1|*******6789) Complete(FETCH 1) Ready(I)")
		server.Exec(t, "postgres", "alter table customers rename name to was; alter table customers rename ssn to name; alter table customers rename was to ssn")
		say(t, fe, "close c", "Complete(CLOSE CURSOR)")
		say(t, fe, "fetch first from c", "CDA-")
	})
	t.Run("extended", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "begin"), bind("", "", 0), execute("", 0), parse("", declare), bind("", "", 0), execute("", 0),
			parse("", "fetch 1 from c"), bind("", "", 0), execute("", 0), sync())
		got := fe.untilReady()
		noSecret(t, "a pipeline", got)
		if !strings.Contains(got, "DataRow(1|*******6789)") {
			t.Errorf("got %s", got)
		}
		// A FETCH that was prepared reads what the cursor is when it is executed.
		fe.send(parse("f", "fetch first from c"), bind("", "f", 0), execute("", 0), sync())
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(1|*******6789)") {
			t.Errorf("got %s", got)
		}
		say(t, fe, "close c", "Complete(CLOSE CURSOR)")
		say(t, fe, "declare c scroll cursor for select name, ssn from customers order by id", "Complete(DECLARE CURSOR)")
		for range 2 {
			fe.send(bind("", "f", 0), execute("", 0), sync())
			got := fe.untilReady()
			noSecret(t, "another cursor", got)
			if strings.Contains(got, "Ready(E)") {
				break
			}
		}
	})
	t.Run("another policy", func(t *testing.T) {
		own := start(t, server)
		c := own.grant("agent", v1alpha1.AccessReadWrite)
		fe := frontend(t, own, c, "postgres")
		fe.send(query("begin"), query(declare))
		fe.untilReady()
		fe.untilReady()
		apply(own, masking(keepLast4(), "*.*.ssn"))
		say(t, fe, "savepoint s", "SAVEPOINT")
		say(t, fe, "fetch 1 from c", "CDA-")
		say(t, fe, "rollback to s", "ROLLBACK")
		say(t, fe, "close c", "CLOSE")
		say(t, fe, declare, "DECLARE")
		say(t, fe, "fetch 1 from c", "DataRow(1|*******6789)")
		say(t, fe, "commit", "COMMIT")
	})
	t.Run("prepared by SQL", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		say(t, fe, "prepare p(int) as select id, ssn from customers where id = $1", "Complete(PREPARE)")
		say(t, fe, "execute p(2)", "DataRow(2|*******4321) Complete(SELECT 1) Ready(I)")
		fe.send(parse("", "execute p(3)"), bind("", "", 0), execute("", 0), sync())
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(3|*******3333)") {
			t.Errorf("got %s", got)
		}
		say(t, fe, "create temp table customers (id int, ssn text)", "Complete(CREATE TABLE)")
		say(t, fe, "execute p(2)", "ERROR(")
		say(t, fe, "drop table customers", "Complete(DROP TABLE)")
		say(t, fe, "execute p(1)", "DataRow(1|*******6789)")
		server.Exec(t, "postgres", "alter table customers rename ssn to was; alter table customers rename name to ssn; alter table customers rename was to name")
		for range 2 {
			say(t, fe, "execute p(1)", "ERROR(")
		}
		server.Exec(t, "postgres", "alter table customers rename name to was; alter table customers rename ssn to name; alter table customers rename was to ssn")
		say(t, fe, "deallocate p", "DEALLOCATE")
		say(t, fe, "execute p(1)", "CDA-")
	})
	noSecret(t, "recording", g.events(t))
}
