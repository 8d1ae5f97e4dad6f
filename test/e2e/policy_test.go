//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// askedFor has a policy demand an approval of whoever asks by kubectl access: the grant opens when
// a person approves it and not before, and is cut when the policy does not admit it any more.
func askedFor(t *testing.T) {
	policy := func(subjects string) string {
		return fmt.Sprintf(`
apiVersion: access.cardea.dev/v1alpha1
kind: AccessPolicy
metadata: {name: everybody, namespace: %[1]s}
spec:
  targetSelector: {}
  subjects: [%[2]s]
---
apiVersion: access.cardea.dev/v1alpha1
kind: AccessPolicy
metadata: {name: asked-for, namespace: %[1]s}
spec:
  targetSelector: {matchLabels: {tier: prod}}
  subjects: [{kind: ServiceAccount, namespaces: [%[3]s], names: ["asked-*"]}]
  limits: {maxDuration: 2h, postgres: {databases: [orders]}}
  requires: {reasonPattern: "OPS-[0-9]+"}
  approvals: {allOf: [{required: 1, approvers: [{kind: Group, name: dba}]}]}
`, gate, subjects, tenant)
	}
	apply(t, policy(fmt.Sprintf(`{kind: ServiceAccount, namespaces: [%s], names: ["report-*"]}`, tenant)))
	request := func(args ...string) (string, error) {
		return command("bin/kubectl-access", append([]string{"request", "orders-db", "-n", gate, "--for", "ServiceAccount/" + tenant + "/asked-agent", "--database=orders"}, args...)...)
	}
	eventually(t, "the policy is obeyed at creation", func() error {
		out, err := request("--name=asked", "--duration=4h", "--reason=just so")
		if err == nil {
			kubectl(t, "-n", gate, "delete", "accessgrant", "asked")
			return fmt.Errorf("it is not: %s", out)
		}
		for _, sentence := range []string{"asked-for", "2h", "reason"} {
			if !strings.Contains(out, sentence) {
				return fmt.Errorf("it does not say %q: %s", sentence, out)
			}
		}
		return nil
	})

	type answer struct {
		out string
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		out, err := request("--name=asked", "--duration=1h", "--reason=OPS-7", "--wait", "--timeout=5m")
		answered <- answer{out, err}
	}()
	name := pending(t, "asked")
	if err := empty("-n", tenant, "get", "secret", "cardea-asked", "--ignore-not-found", "-o", "name"); err != nil {
		t.Errorf("there is a credential before it was approved: %v", err)
	}
	out, err := command("bin/kubectl-access", "approve", name, "-n", gate)
	if err == nil {
		t.Errorf("whoever asked approved it: %s", out)
	}
	decide(t, name, "Approved")
	if a := <-answered; a.err != nil || !strings.Contains(a.out, "active until") {
		t.Fatalf("%v: %s", a.err, a.out)
	}
	s := watching(t, opens(t, uriOf(t, "asked")))

	apply(t, strings.ReplaceAll(policy(`{kind: ServiceAccount, namespaces: [`+tenant+`], names: ["report-*"]}`), `"asked-*"`, `"others-*"`))
	s.ends(t)
	s.wasCut(t, "CDA-10") // CDA-1002, where the operator was first
	kubectl(t, "-n", gate, "delete", "accesspolicies", "--all")
	kubectl(t, "-n", gate, "delete", "accessgrant", "asked")
}

// everyRecording is read back and verified, by the chain of each and that of the sessions.
func everyRecording(t *testing.T) {
	kubectl(t, "-n", gate, "delete", "accessgrants", "--all")
	eventually(t, "all recordings are stored", func() error {
		for _, s := range get[v1alpha1.SessionList](t, "-n", gate, "sessions").Items {
			if s.Status.Recording.State == v1alpha1.RecordingOpen {
				return fmt.Errorf("that of %s is open", s.Name)
			}
		}
		return nil
	})
	out, err := command("bin/kubectl-access", "verify", "--all", "-n", gate)
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Log(tail(out, 300))
}
