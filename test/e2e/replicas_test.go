//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// replicas asks for two proxies and returns the addresses of both.
func replicas(t *testing.T) []string {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: access.cardea.dev/v1alpha1
kind: AccessProxy
metadata: {name: default, namespace: %s}
spec: {replicas: 2}
`, gate))
	kubectl(t, "-n", gate, "wait", "--for=jsonpath={.status.readyReplicas}=2", "aproxy/default", timeout)
	var addresses []string
	eventually(t, "two proxies are there", func() error {
		addresses = nil
		for _, p := range get[corev1.PodList](t, "-n", gate, "pods", "-l", "app.kubernetes.io/name=cardea-proxy").Items {
			if p.DeletionTimestamp == nil && p.Status.PodIP != "" && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready {
				addresses = append(addresses, p.Status.PodIP)
			}
		}
		if len(addresses) != 2 {
			return fmt.Errorf("ready are %v", addresses)
		}
		return nil
	})
	return addresses
}

// at changes a URI so that one replica is reached, under the name that its certificate has.
func at(uri, address string) string { return uri + "&hostaddr=" + address }

func twoReplicas(t *testing.T) {
	addresses := replicas(t)
	uri := newGrant(t, "two", "ReadOnly")
	var sessions []*session
	for _, address := range addresses {
		sessions = append(sessions, watching(t, at(uri, address)))
	}
	written := revoke(t, "two")
	for i, s := range sessions {
		s.ends(t)
		s.wasCut(t, "revoked")
		t.Logf("replica %d cut its session %v after the write returned", i, s.at.Sub(written))
	}
	proxies := map[string]bool{}
	for _, s := range get[v1alpha1.SessionList](t, "-n", gate, "sessions.access.cardea.dev").Items {
		if s.Spec.GrantRef.Name == "two" {
			proxies[s.Spec.Proxy] = true
		}
	}
	if len(proxies) != 2 {
		t.Errorf("the Sessions are of %v, want both proxies", proxies)
	}
}

// approvedOnce races two replicas for one approval: both clients send the very same command
// at the same second, several times.
func approvedOnce(t *testing.T) {
	addresses := replicas(t)
	apply(t, fmt.Sprintf(`
apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: ask-first, namespace: %s}
spec:
  targetSelector: {matchLabels: {tier: prod}}
  match: [{sql: {statements: [Insert]}}]
  action: RequireApproval
  approval: {required: 1, approvers: [{kind: Group, name: dba}], timeout: 10m, whilePending: Reject, inTransaction: Reject}
`, gate))
	defer kubectl(t, "-n", gate, "delete", "commandrule", "ask-first")
	uri := newGrant(t, "race", "ReadWrite")
	for _, address := range addresses {
		asks(t, at(uri, address), "INSERT INTO orders SELECT * FROM orders WHERE false")
	}
	denyPending(t, "race")
	const rounds = 3
	for round := range rounds {
		// psql sends what it reads with the semicolon: only that is the very same command.
		command := fmt.Sprintf("INSERT INTO orders SELECT 100 + %d, customer_id, item, amount FROM orders WHERE false /* race-%d */;", round, round)
		for _, address := range addresses {
			if out, err := query(at(uri, address), command); err == nil || !strings.Contains(out, "ApprovalRequest") {
				t.Fatalf("the command is not refused until it is approved: %v %s", err, out)
			}
		}
		request := pending(t, "race")
		decide(t, request, "Approved")
		// Both are connected before the moment comes.
		moment := time.Now().Add(4 * time.Second).Unix()
		var sessions []*session
		for _, address := range addresses {
			sessions = append(sessions, open(t, at(uri, address), fmt.Sprintf(`while [ "$(date +%%s)" -lt %d ]; do :; done; echo '%s'`, moment, command)))
		}
		passed := 0
		for _, s := range sessions {
			s.ends(t)
			passed += strings.Count(s.output(), "INSERT 0 0")
		}
		if n := reached(t, fmt.Sprintf("/* race-%d */", round)); passed != 1 || n != 1 {
			t.Errorf("round %d: %d clients passed and the database received the command %d times, want once\n%s\n%s", round, passed, n, sessions[0].output(), sessions[1].output())
		}
		denyPending(t, "race")
	}
}

// asks waits until the proxy refuses statements until they are approved: until it knows a
// rule that was just made.
func asks(t *testing.T, uri string, statements ...string) {
	t.Helper()
	eventually(t, "the proxy knows the rule", func() error {
		if out, err := query(uri, statements...); !strings.Contains(out, "ApprovalRequest") {
			return errors.Join(fmt.Errorf("it says %s", out), err)
		}
		return nil
	})
}

// denyPending denies what a grant still asks for.
func denyPending(t *testing.T, grant string) {
	t.Helper()
	for _, name := range undecided(t, grant) {
		decide(t, name, "Denied")
	}
}

// serverDown freezes the API server while a command is held, until after its time.
func serverDown(t *testing.T) {
	apply(t, fmt.Sprintf(`
apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: ask-soon, namespace: %s}
spec:
  targetSelector: {matchLabels: {tier: prod}}
  match: [{sql: {statements: [Insert]}}]
  action: RequireApproval
  approval: {required: 1, approvers: [{kind: Group, name: dba}], timeout: 10s, whilePending: Wait, inTransaction: Reject}
`, gate))
	defer kubectl(t, "-n", gate, "delete", "commandrule", "ask-soon")
	uri := newGrant(t, "frozen", "ReadWrite")
	asks(t, uri, "BEGIN", "INSERT INTO orders SELECT * FROM orders WHERE false") // there it does not wait
	before := undecided(t, "frozen")
	s := open(t, uri, "echo 'INSERT INTO orders SELECT * FROM orders WHERE false /* frozen */;'")
	request := pending(t, "frozen", before...)
	asked := get[v1alpha1.ApprovalRequest](t, "-n", gate, "approvalrequest", request)
	pid := strings.TrimSpace(mustRun(t, "hack/cluster/cluster.sh", "enter", "pidof", "kube-apiserver"))
	mustRun(t, "hack/cluster/cluster.sh", "enter", "kill", "-STOP", pid)
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			mustRun(t, "hack/cluster/cluster.sh", "enter", "kill", "-CONT", pid)
		}
	}
	defer thaw()
	over := time.NewTimer(time.Until(asked.Spec.ExpiresAt.Add(time.Second)))
	defer over.Stop()
	<-over.C
	thaw()
	s.ends(t)
	wantContains(t, s.output(), "CDA-3")
	if n := reached(t, "/* frozen */"); n != 0 {
		t.Errorf("the database received the command %d times", n)
	}
	eventually(t, "nobody can approve it any more", func() error {
		dana := strings.TrimSpace(mustRun(t, "hack/cluster/cluster.sh", "user", "dana", "dba"))
		_, _ = command("kubectl", "--kubeconfig", dana, "-n", gate, "patch", "apreq", request, "--subresource=status", "--type=merge",
			"-p", `{"status":{"decisions":[{"decision":"Approved"}]}}`)
		r := get[v1alpha1.ApprovalRequest](t, "-n", gate, "approvalrequest", request)
		if r.Status.Consumed != nil {
			return fmt.Errorf("it was used by %s", r.Status.Consumed.Session)
		}
		return nil
	})
	if n := reached(t, "/* frozen */"); n != 0 {
		t.Errorf("the database received the command %d times after a late approval", n)
	}
}

// killedWhileHeld kills the proxy under a held command: an approval of it comes too late.
func killedWhileHeld(t *testing.T) {
	uri := newGrant(t, "held", "ReadWrite")
	s := open(t, uri, "echo 'DELETE FROM orders /* killed */;'")
	request := pending(t, "held")
	kubectl(t, "-n", gate, "delete", "pod", proxyPod(t).Name, "--grace-period=0", "--force")
	s.ends(t)
	dana := strings.TrimSpace(mustRun(t, "hack/cluster/cluster.sh", "user", "dana", "dba"))
	_, _ = command("kubectl", "--kubeconfig", dana, "-n", gate, "patch", "apreq", request, "--subresource=status", "--type=merge",
		"-p", `{"status":{"decisions":[{"decision":"Approved"}]}}`) // refused, or in vain
	again := open(t, opens(t, uri), "echo 'DELETE FROM orders /* killed */;'")
	decide(t, pending(t, "held", request), "Denied")
	again.ends(t)
	if n := reached(t, "/* killed */"); n != 0 {
		t.Errorf("the database received the command %d times", n)
	}
}
