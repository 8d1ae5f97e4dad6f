package standalone

import (
	"strings"
	"testing"
)

// The main job: the samples as they are, from the first query to the revocation.
func TestMainJob(t *testing.T) {
	g := newGate(t, database(t)).start()

	psql := g.open(g.uri())
	psql.send("select * from customers order by id;")
	psql.expect("6789")
	psql.expect("4321")
	for _, secret := range []string{"ada@example.com", "123-45-6789", "bob@example.org", "987-65-4321"} {
		if strings.Contains(psql.output.String(), secret) {
			t.Errorf("psql shows %s", secret)
		}
	}

	psql.send("drop database orders;")
	psql.expect("CDA-2001")
	psql.send("select 'still ' || 'here';")
	psql.expect("still here")

	psql.send("delete from orders;")
	psql.expect("ApprovalRequest")
	request := g.only(".approvals")
	if n := g.db.Query(t, "orders", "select count(*) from orders")[0][0]; n != "5" {
		t.Fatalf("%s orders are left while the command is held", n)
	}
	g.approve(request, "dana", "dba")
	psql.expect("DELETE 5")
	// The question for a plan, which executes nothing, holds the text too.
	log := g.db.Log(t)
	if got := strings.Count(log, "delete from orders") - strings.Count(log, "EXPLAIN (FORMAT JSON) delete from orders"); got != 1 {
		t.Errorf("the command reached the database %d times", got)
	}

	g.edit("70-grant.yaml", "spec:\n", "spec:\n  desiredState: Revoked\n")
	g.eventually("the session ended", func() bool { return strings.Contains(g.read(g.only(".sessions")), "endReason: GrantRevoked") })
	psql.send("select 1;") // psql looks at its connection only when it has something to send
	psql.expect("FATAL")
	psql.expect("revoked")
	g.eventually("the credential is gone", func() bool { return len(g.files()) > 0 && !g.exists(".credentials/report-agent") })
}
