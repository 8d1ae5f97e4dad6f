package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// The server cuts the names of statements and portals after 63 bytes, so that two long ones
// are one to it. None stands in for another, past the decision on what it was parsed for.
func TestG4NamesAreNoOthers(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	wait := rule("destructive", v1alpha1.ActionRequireApproval, v1alpha1.PendingReject, v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}})
	kept := strings.Repeat("n", 63)
	first, second := kept+"x", kept+"y"
	const read, write = "select id from customers where id = 1", "delete from customers"
	closes := func(kind byte, name string) *pgproto3.Close { return &pgproto3.Close{ObjectType: kind, Name: name} }
	for kind, options := range map[string][]option{"unmasked": {wait}, "masked": {wait, masking(keepLast4(), "*.*.ssn")}} {
		g := start(t, server, options...)
		c := g.grant("agent", v1alpha1.AccessFull)
		for name, test := range map[string]struct {
			send  []pgproto3.FrontendMessage
			reads bool
		}{
			"statements":                    {send: []pgproto3.FrontendMessage{parse(first, read), sync(), closes('S', second), sync(), parse(second, write), sync(), bind("", first, 0), execute("", 0), sync()}},
			"statements in one pipeline":    {send: []pgproto3.FrontendMessage{parse(first, read), closes('S', second), parse(second, write), bind("", first, 0), execute("", 0), sync()}},
			"portals":                       {send: []pgproto3.FrontendMessage{query("begin"), parse("a", read), parse("b", write), bind(first, "a", 0), closes('P', second), bind(second, "b", 0), execute(first, 0), sync(), query("rollback")}},
			"a close of another":            {send: []pgproto3.FrontendMessage{parse(kept, read), sync(), closes('S', first), sync(), bind("", kept, 0), execute("", 0), sync()}, reads: true},
			"the longest that is kept":      {send: []pgproto3.FrontendMessage{parse(kept, read), bind(kept, kept, 0), execute(kept, 0), sync()}, reads: true},
			"characters of several bytes":   {send: []pgproto3.FrontendMessage{parse("ä", read), bind("ö", "ä", 0), execute("ö", 0), sync()}, reads: true},
			"cut in a character, statement": {send: []pgproto3.FrontendMessage{parse(kept[1:]+"ä", read), sync(), closes('S', kept[1:]+"ö"), sync(), parse(kept[1:]+"ö", write), sync(), bind("", kept[1:]+"ä", 0), execute("", 0), sync()}},
		} {
			fe := frontend(t, g, c, "postgres")
			fe.send(append(test.send, query("select 'the end'"))...)
			var got strings.Builder
			for !strings.Contains(got.String(), "DataRow(the end)") && !strings.HasSuffix(got.String(), "closed") {
				got.WriteString(fe.untilReady() + " ")
			}
			if strings.Contains(got.String(), "DataRow(1)") != test.reads || strings.Contains(got.String(), "ERROR(42622") == (test.reads && name != "a close of another") {
				t.Errorf("%s, %s: %s", kind, name, got.String())
			}
			if rows := server.Query(t, "postgres", "select count(*) from customers"); rows[0][0] != "3" {
				t.Fatalf("%s, %s: nobody approved, and rows are deleted: %s", kind, name, got.String())
			}
		}
	}
}
