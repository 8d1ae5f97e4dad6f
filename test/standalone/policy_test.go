package standalone

import (
	"os"
	"strings"
	"testing"
)

const approvedByDBA = `apiVersion: access.cardea.dev/v1alpha1
kind: AccessPolicy
metadata: {name: prod, namespace: shop-gate}
spec:
  targetSelector: {}
  subjects: [{kind: ServiceAccount, namespaces: [shop], names: ["report-*"]}]
  limits: {maxDuration: 2h}
  approvals: {allOf: [{required: 1, approvers: [{kind: Group, name: dba}]}]}
`

// A grant that a policy wants approved has no credential until somebody edits the status of
// its request, loses it when a policy is tightened, and asks anew when it is changed.
func TestPolicies(t *testing.T) {
	g := newGate(t, database(t))
	g.write("25-policy.yaml", approvedByDBA)
	g.start()
	request := g.only(".approvals")
	if _, err := os.Stat(g.path(".credentials/report-agent/uri")); !os.IsNotExist(err) {
		t.Fatalf("there is a credential before the approval: %v", err)
	}
	if asked := g.read(request); !strings.Contains(asked, "kind: Grant") || !strings.Contains(asked, "monthly report") {
		t.Errorf("the request does not say what is asked:\n%s", asked)
	}
	g.approve(request, "dana", "dba")
	g.eventually("the grant is approved", func() bool { _, err := os.Stat(g.path(".credentials/report-agent/uri")); return err == nil })
	psql := g.open(g.uri())
	psql.send("select 'it ' || 'works';")
	psql.expect("it works")

	g.edit("25-policy.yaml", "maxDuration: 2h", "maxDuration: 30m")
	g.eventually("the credential is gone", func() bool { _, err := os.Stat(g.path(".credentials/report-agent/uri")); return os.IsNotExist(err) })
	psql.send("select 'still ' || 'here';")
	psql.expect("CDA-1016: AccessPolicy shop-gate/prod permits at most 30m")
	g.edit("25-policy.yaml", "maxDuration: 30m", "maxDuration: 2h")
	g.eventually("the approval holds again", func() bool { _, err := os.Stat(g.path(".credentials/report-agent/uri")); return err == nil })
	again := g.open(g.uri())

	g.edit("70-grant.yaml", "reason: monthly report", "reason: another report")
	g.eventually("it is asked anew", func() bool { return strings.Count(g.output.String(), "A grant awaits approval") == 2 })
	again.send("select 'still ' || 'here';")
	again.expect("CDA-1002")
}
