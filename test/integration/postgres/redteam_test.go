package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// flight sends messages and returns the answers up to as many ends as they have.
func (r *raw) flight(messages ...pgproto3.FrontendMessage) string {
	r.t.Helper()
	r.send(messages...)
	var got []string
	for _, m := range messages {
		switch m.(type) {
		case *pgproto3.Sync, *pgproto3.Query:
			got = append(got, r.untilReady())
		}
	}
	return strings.Join(got, " ")
}

// A name that the target keeps for what it had, because it failed what should replace it,
// stands for that at the gate too: nothing is executed by the approval of something else.
func TestG5NamesStandForWhatTheTargetHas(t *testing.T) {
	server := pgtest.Start(t)
	const remove = "delete from orders where id = $1"
	deletes := rule("deletes", v1alpha1.ActionRequireApproval, v1alpha1.PendingReject, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}})
	fails := parse("", "no statement")
	begin, savepoint, back := query("begin"), query("savepoint a"), query("rollback to a")
	const control = "as approved, behind a savepoint"
	for name, attack := range map[string][]pgproto3.FrontendMessage{
		control:                                {begin, parse("s", remove), sync(), savepoint, bind("p", "s", 0, "1"), execute("p", 0), sync()},
		"a portal bound twice":                 {begin, parse("s", remove), bind("p", "s", 0, "2"), sync(), savepoint, bind("p", "s", 0, "1"), sync(), back, execute("p", 0), sync()},
		"a portal bound twice, in two flights": {begin, parse("s", remove), bind("p", "s", 0, "2"), sync(), savepoint, bind("p", "s", 0, "1"), execute("p", 0), sync(), back, execute("p", 0), sync()},
		"a Close that is skipped": {begin, parse("s", remove), bind("p", "s", 0, "2"), sync(), savepoint, fails, &pgproto3.Close{ObjectType: 'P', Name: "p"}, bind("p", "s", 0, "1"), sync(),
			back, bind("p", "s", 0, "1"), sync(), back, execute("p", 0), sync()},
		"a Bind that is skipped": {begin, parse("s", remove), bind("p", "s", 0, "2"), sync(), savepoint, fails, bind("p", "s", 0, "1"), sync(), back, execute("p", 0), sync()},
		"a Bind that fails":      {begin, parse("s", remove), bind("p", "s", 0, "2"), sync(), savepoint, bind("p", "s", 0, "1", "1"), sync(), back, execute("p", 0), sync()},
		"a portal of a savepoint": {begin, parse("s", remove), sync(), savepoint, bind("p", "s", 0, "2"), sync(), back, bind("p", "s", 0, "1"), sync(), savepoint, bind("p", "s", 0, "2"), sync(), back,
			query("select 1"), execute("p", 1), sync()},
		"the unnamed portal":             {begin, parse("s", remove), bind("", "s", 0, "1"), bind("", "s", 0, "2"), execute("", 0), sync()},
		"the unnamed portal that failed": {begin, parse("s", remove), sync(), savepoint, bind("", "s", 0, "2"), sync(), savepoint, bind("", "s", 0, "1", "1"), sync(), back, execute("", 0), sync()},
		"a statement parsed twice":       {parse("s", remove), sync(), parse("s", "select $1::int"), sync(), bind("", "s", 0, "2"), execute("", 0), sync()},
		"a statement whose Parse is skipped": {parse("s", remove), sync(), fails, &pgproto3.Close{ObjectType: 'S', Name: "s"}, parse("s", "select $1::int"), sync(),
			bind("", "s", 0, "2"), execute("", 0), sync()},
		"a statement closed and skipped": {parse("s", remove), sync(), fails, &pgproto3.Close{ObjectType: 'S', Name: "s"}, sync(), parse("s", "select $1::int"), sync(),
			bind("", "s", 0, "2"), execute("", 0), sync()},
		"a portal of a statement that was closed": {begin, parse("s", remove), bind("p", "s", 0, "2"), &pgproto3.Close{ObjectType: 'S', Name: "s"}, parse("s", "select $1::int"), execute("p", 0), sync()},
		"other parameters, one portal":            {begin, parse("s", remove), bind("p", "s", 0, "1"), &pgproto3.Close{ObjectType: 'P', Name: "p"}, bind("p", "s", 0, "2"), execute("p", 0), sync()},
		"another format":                          {parse("s", remove), &pgproto3.Bind{PreparedStatement: "s", ParameterFormatCodes: []int16{1}, Parameters: [][]byte{{0, 0, 0, 2}}}, execute("", 0), sync()},
		"another type": {&pgproto3.Parse{Name: "s", Query: "delete from orders where id = $1", ParameterOIDs: []uint32{20}},
			&pgproto3.Bind{PreparedStatement: "s", ParameterFormatCodes: []int16{1}, Parameters: [][]byte{{0, 0, 0, 0, 0, 0, 0, 2}}}, execute("", 0), sync()},
		"a comment more": {parse("s", remove+" or $1 = 1 --"), bind("", "s", 0, "1"), execute("", 0), sync()},
		"executed twice": {parse("s", "delete from orders where id = $1 + 1"), bind("", "s", 0, "1"), execute("", 0), execute("", 0), sync(), bind("", "s", 0, "1"), execute("", 0), sync()},
	} {
		for kind, options := range map[string][]option{"plain": {deletes}, "masked": {deletes, masking(keepLast4(), "*.*.ssn")}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				server.Exec(t, "postgres", "drop table if exists orders; create table orders (id int); insert into orders values (1), (2)")
				g := start(t, server, options...)
				fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
				// What deletes order 1 is approved, inside a transaction and outside.
				for _, m := range [][]pgproto3.FrontendMessage{{parse("", remove), bind("", "", 0, "1"), execute("", 0), sync()}, {begin, parse("", remove), bind("", "", 0, "1"), execute("", 0), sync(), query("rollback")}} {
					fe.flight(m...)
				}
				if len(g.requests.All()) == 0 {
					t.Fatal("nobody was asked")
				}
				for _, r := range g.requests.All() {
					g.requests.Decide(r.Name, "dora", []string{"dba"}, v1alpha1.DecisionApproved, time.Now())
				}
				got := fe.flight(attack...)
				fe.flight(query("commit"))
				if strings.Contains(got, "CDA-1013") {
					t.Errorf("it breaks the protocol: %s", got)
				}
				if rows := server.Query(t, "postgres", "select 1 from orders where id = 1"); name == control && len(rows) != 0 {
					t.Errorf("what was approved was not executed: %s", got)
				}
				if rows := server.Query(t, "postgres", "select 1 from orders where id = 2"); len(rows) != 1 {
					t.Errorf("what was not approved was executed: %s", got)
				}
			})
		}
	}
}

// TestG3PolicyChangesBetweenMessages: a rule that comes between the messages of a command holds
// for all that is executed behind it, also for the rest of a portal that was suspended.
func TestG3PolicyChangesBetweenMessages(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table people (id int, email text); insert into people select i, 'ada' || i || '@example.com' from generate_series(1, 9) i")
	const text = "select email from people order by id"
	type messages = []pgproto3.FrontendMessage
	described := &pgproto3.Describe{ObjectType: 'P', Name: "p"}
	executed := messages{execute("p", 0), sync()}
	bound := messages{bind("p", "s", 0), execute("p", 0), sync()}
	for when, test := range map[string]struct {
		before messages
		last   string // answer of before, none if it ends in one anyway
		after  messages
	}{
		"Parse":                    {messages{parse("s", text)}, "ParseComplete", bound},
		"Parse and Describe":       {messages{parse("s", text), &pgproto3.Describe{ObjectType: 'S', Name: "s"}}, "RowDescription", bound},
		"Bind":                     {messages{parse("s", text), bind("p", "s", 0)}, "BindComplete", executed},
		"Bind and Describe":        {messages{parse("s", text), bind("p", "s", 0), described}, "RowDescription", executed},
		"a part of the rows":       {messages{parse("s", text), bind("p", "s", 0), described, execute("p", 2)}, "PortalSuspended", executed},
		"DECLARE":                  {messages{query("declare c cursor for " + text)}, "", messages{query("fetch all from c")}},
		"FETCH":                    {messages{query("declare c cursor for " + text), query("fetch 2 from c")}, "", messages{query("fetch all from c")}},
		"PREPARE":                  {messages{query("prepare x as " + text)}, "", messages{query("execute x")}},
		"the Parse of an EXECUTE":  {messages{query("prepare x as " + text), parse("", "execute x")}, "ParseComplete", messages{bind("", "", 0), execute("", 0), sync()}},
		"the Parse of a FETCH":     {messages{query("declare c cursor for " + text), parse("", "fetch all from c")}, "ParseComplete", messages{bind("", "", 0), execute("", 0), sync()}},
		"the Bind of a COPY":       {messages{parse("", "copy ("+text+") to stdout"), bind("", "", 0)}, "BindComplete", messages{execute("", 0), sync()}},
		"the Bind of an aggregate": {messages{parse("s", "select string_agg(email, ',') from people"), bind("p", "s", 0)}, "BindComplete", executed},
	} {
		for how, change := range map[string]option{
			"masked": masking(keepLast4(), "public.people.email"),
			"denied": rule("no", v1alpha1.ActionDeny, "", v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Select", "Fetch", "Execute", "Copy"}}),
		} {
			for _, flushed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s behind %s, flushed %t", how, when, flushed), func(t *testing.T) {
					g := start(t, server)
					fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
					fe.flight(query("begin"))
					fe.flight(test.before...)
					switch {
					case !flushed:
						fe.flight(sync())
					case test.last != "":
						fe.send(&pgproto3.Flush{})
						if got := fe.until(test.last); strings.HasSuffix(got, "closed") {
							t.Fatal(got)
						}
					}
					apply(g, change)
					got := fe.flight(test.after...)
					if strings.Contains(got, "ada") || how == "denied" && !strings.Contains(got, "CDA-") {
						t.Errorf("got %s", got)
					}
				})
			}
		}
	}
}

// A refused command fails the transaction in which it stands, also one that a command sent
// just before, and not answered yet, takes out of its failure.
func TestRefusedBehindARollbackFailsTheTransaction(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders (id int)")
	g := start(t, server, rule("no", v1alpha1.ActionDeny, "", v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
	c := g.grant("agent", v1alpha1.AccessFull)
	const remove = "delete from orders"
	for name, messages := range map[string][]pgproto3.FrontendMessage{
		"simple":       {query("rollback to a"), query(remove)},
		"extended":     {query("rollback to a"), parse("", remove), bind("", "", 0), execute("", 0), sync()},
		"one pipeline": {parse("", "rollback to a"), bind("", "", 0), execute("", 0), parse("", remove), bind("", "", 0), execute("", 0), sync()},
	} {
		t.Run(name, func(t *testing.T) {
			fe := frontend(t, g, c, "postgres")
			for range 10 {
				if got := fe.flight(query("begin"), query("savepoint a"), query("select 1/0")); !strings.HasSuffix(got, "Ready(E)") {
					t.Fatal(got)
				}
				got := fe.flight(append(messages[:len(messages):len(messages)], query("insert into orders values (1)"), query("commit"))...)
				if !strings.Contains(got, "CDA-2001") || !strings.HasSuffix(got, "Complete(ROLLBACK) Ready(I)") {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	if rows := server.Query(t, "postgres", "select 1 from orders"); len(rows) != 0 {
		t.Errorf("%d rows are committed behind a refusal", len(rows))
	}
}
