package standalone

import (
	"strings"
	"syscall"
	"testing"
)

// hold sends the command that the samples hold and returns its request.
func (g *gate) hold(p *terminal) string {
	g.t.Helper()
	p.send("delete from orders;")
	p.expect("ApprovalRequest")
	return g.only(".approvals")
}

func orders(g *gate) string {
	return g.db.Query(g.t, "orders", "select count(*) from orders")[0][0]
}

// G5: a held command is forwarded only as approved by enough who may approve.
func TestG5OnlyWhoMayApprove(t *testing.T) {
	db := database(t)
	for name, decision := range map[string]string{
		"the requester itself":    "{approver: 'system:serviceaccount:shop:report-agent', groups: [dba], decision: Approved}",
		"not in the group":        "{approver: mallory, groups: [developers], decision: Approved}",
		"no group":                "{approver: dba, decision: Approved}",
		"another service account": "{approver: 'system:serviceaccount:shop:other', groups: [dba], decision: Approved}",
		"the product":             "{approver: 'cardea:proxy', groups: [dba], decision: Approved}",
		"nobody":                  "{groups: [dba], decision: Approved}",
		"a decision from nowhere": "{approver: dana, groups: [dba], decision: Fine}",
		"a field from nowhere":    "{approver: dana, groups: [dba], decision: Approved, really: true}",
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, db).start()
			psql := g.open(g.uri())
			request := g.hold(psql)
			g.edit(request, "status:\n", "status:\n  decisions: ["+decision+"]\n")
			// A denial afterwards proves that the edit was read and counted for nothing.
			g.edit(request, "  decisions: ["+decision+"]\n", "  decisions: [{approver: eve, groups: [dba], decision: Denied, comment: not today}]\n")
			psql.expect("CDA-3002")
			psql.send("select 'still ' || 'here';")
			psql.expect("still here")
			if n := orders(g); n != "5" {
				t.Errorf("%s orders are left", n)
			}
		})
	}
}

// G5: an approval is good for one use, whatever is done to the files.
func TestG5ApprovalIsUsedOnce(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri())
	request := g.hold(psql)
	g.approve(request, "dana", "dba")
	approved := g.read(request)
	psql.expect("DELETE 5")
	g.db.Exec(t, "orders", "insert into orders values (9, 1, 90)")
	// An editor saves what it had open: the approval, not yet used.
	g.write(request, approved)
	psql.send("delete from orders;")
	psql.expect("holds the command until ApprovalRequest")
	g.eventually("another request is made", func() bool { return strings.Count(g.output.String(), "A command awaits approval") == 2 })
	if n := orders(g); n != "1" {
		t.Errorf("%s orders are left, want the one that nobody let go", n)
	}
	// Nor after a restart.
	g.signal(syscall.SIGKILL)
	g.output.reset()
	g.start()
	again := g.open(g.uri())
	again.send("delete from orders;")
	again.expect("holds the command until ApprovalRequest")
	if n := orders(g); n != "1" {
		t.Errorf("%s orders are left after a restart", n)
	}
}

// G5: a client that is gone takes its command with it.
func TestG5ClientGone(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri())
	request := g.hold(psql)
	_ = psql.cmd.Process.Kill()
	<-psql.exited
	g.eventually("the request is withdrawn", func() bool { return strings.Contains(g.read(request), "withdrawnAt") })
	g.approve(request, "dana", "dba")
	other := g.open(g.uri())
	other.send("select 'other ' || 'one';")
	other.expect("other one")
	if n := orders(g); n != "5" {
		t.Errorf("%s orders are left", n)
	}
}

// G5, G2: a revocation ends the wait, and a late approval forwards nothing.
func TestG5RevokedWhileHeld(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri())
	request := g.hold(psql)
	g.edit("70-grant.yaml", "spec:\n", "spec:\n  desiredState: Revoked\n")
	psql.expect("CDA-1004")
	g.eventually("the session ended", func() bool { return strings.Contains(g.read(g.only(".sessions")), "endReason: GrantRevoked") })
	g.approve(request, "dana", "dba")
	if n := orders(g); n != "5" {
		t.Errorf("%s orders are left", n)
	}
}

// G5: a command that was held when the proxy was killed is not forwarded by the next one,
// whatever is decided about it then.
func TestG5ProxyKilledWhileHeld(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri())
	request := g.hold(psql)
	g.signal(syscall.SIGKILL)
	g.approve(request, "dana", "dba")
	g.output.reset()
	g.start()
	again := g.open(g.uri())
	again.send("delete from orders;")
	again.expect("holds the command until ApprovalRequest")
	if n := orders(g); n != "5" {
		t.Errorf("%s orders are left", n)
	}
	if b := g.read(request); strings.Contains(b, "consumed") {
		t.Errorf("the approval of a session that is gone was used:\n%s", b)
	}
}

// G5: nobody decides in time.
func TestG5Timeout(t *testing.T) {
	g := newGate(t, database(t))
	g.edit("50-commands.yaml", "timeout: 10m", "timeout: 10s")
	g.start()
	psql := g.open(g.uri())
	request := g.hold(psql)
	psql.expect("CDA-3003")
	g.approve(request, "dana", "dba")
	psql.send("select 'still ' || 'here';")
	psql.expect("still here")
	if n := orders(g); n != "5" {
		t.Errorf("%s orders are left", n)
	}
}

// G5: an approver says no.
func TestG5Denied(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri())
	request := g.hold(psql)
	g.edit(request, "status:\n", "status:\n  decisions: [{approver: eve, groups: [dba], decision: Denied, comment: not today}]\n")
	psql.expect("not today")
	if n := orders(g); n != "5" {
		t.Errorf("%s orders are left", n)
	}
}
