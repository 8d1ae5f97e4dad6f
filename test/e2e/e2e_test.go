//go:build e2e

package e2e

import (
	"os"
	"testing"
)

// specs in the order in which they run; each makes the grants that it needs.
var specs = []struct {
	name string
	run  func(*testing.T)
}{
	{"a grant brings up a proxy and delivers a credential", grantDelivers},
	{"a credential is usable as soon as its grant is Ready", usableCredential},
	{"G3 a masked value reaches neither client nor recording", maskedValues},
	{"G4 a denied statement never reaches the database", deniedStatements},
	{"G5 a held command runs once, and only when a person approves", heldCommand},
	{"G5 a denied command does not run", deniedRequest},
	{"G8 credentials and masked values are in no log, event or object", nothingSecret},
	{"G6 killing the proxy loses no recorded command", killedProxy},
	{"G2 revocation cuts a live session", revocation},
	{"G2 a lock cuts every live session", lock},
	{"G10 with the operator down approvals and revocation work", operatorDown},
	{"G5 a proxy that is killed takes its held command with it", killedWhileHeld},
	{"G5 with the API server down nothing is forwarded unapproved", serverDown},
	{"G2 a revocation cuts the sessions of every replica", twoReplicas},
	{"G5 one approval passes one command when two replicas race", approvedOnce},
	{"a grant on this cluster serves kubectl, and ends with all its rights", clusterAccess},
	{"a grant on a host serves ssh and scp", hostAccess},
	{"a grant that a policy wants approved opens when a person approves", askedFor},
	{"G7 every recording verifies, and none is missing", everyRecording},
	{"an idle proxy is scaled to zero and comes back", scaleToZero},
	{"deleting everything leaves nothing behind", leavesNothing},
}

func TestOnACluster(t *testing.T) {
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG is not set: run make e2e")
	}
	install(t)
	for _, s := range specs {
		if !t.Run(s.name, s.run) {
			dump(t)
			t.FailNow()
		}
	}
}
