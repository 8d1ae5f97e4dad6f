//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func revoke(t *testing.T, grant string) (written time.Time) {
	t.Helper()
	kubectl(t, "-n", gate, "patch", "agrant", grant, "--type=merge", "-p", `{"spec":{"desiredState":"Revoked"}}`)
	return time.Now()
}

func revocation(t *testing.T) {
	var took []time.Duration
	for i := range 5 {
		grant := fmt.Sprintf("g2-%d", i)
		s := watching(t, newGrant(t, grant, "ReadOnly"))
		written := revoke(t, grant)
		s.ends(t)
		took = append(took, s.at.Sub(written))
		s.wasCut(t, "revoked")
		eventually(t, "the credential is gone", func() error {
			if _, err := command("kubectl", "-n", tenant, "get", "secret", "cardea-"+grant); err == nil {
				return errors.New("the Secret is there")
			}
			return nil
		})
	}
	slices.Sort(took)
	t.Logf("psql ended %v after the write returned", took)
	if median := took[len(took)/2]; median > 500*time.Millisecond {
		t.Errorf("the median is %v, want 500 ms at most", median)
	}
	out, err := command("kubectl", "-n", gate, "patch", "agrant", "g2-0", "--type=merge", "-p", `{"spec":{"desiredState":"Active"}}`)
	if err == nil {
		t.Errorf("a revoked grant was made active again: %s", out)
	}
}

func lock(t *testing.T) {
	s := watching(t, uriOf(t, sampleGrant))
	apply(t, fmt.Sprintf(`
apiVersion: access.cardea.dev/v1alpha1
kind: AccessLock
metadata: {name: incident, namespace: %s}
spec: {targetSelector: {matchLabels: {tier: prod}}, reason: end-to-end test}
`, gate))
	s.ends(t)
	s.wasCut(t, "lock")
	if out, err := query(uriOf(t, sampleGrant), "SELECT 1"); err == nil {
		t.Errorf("a session opened in spite of the lock: %s", out)
	}
	kubectl(t, "-n", gate, "delete", "accesslock", "incident")
	eventually(t, "sessions open again", func() error {
		_, err := query(uriOf(t, sampleGrant), "SELECT 1")
		return err
	})
}

func operatorDown(t *testing.T) {
	uri := newGrant(t, "g10", "ReadWrite")
	before := get[appsv1.Deployment](t, "-n", system, "deployment", "cardea-operator")
	kubectl(t, "-n", system, "scale", "deployment/cardea-operator", "--replicas=0")
	kubectl(t, "-n", system, "wait", "--for=delete", "pod", "--all", timeout)
	out, err := query(uri, "SELECT ssn FROM customers")
	if err != nil {
		t.Error(err)
	}
	wantLacks(t, "what psql shows", out, rawSSN)

	held := open(t, uri, "echo 'DELETE FROM orders /* g10 */;'")
	decide(t, pending(t, "g10"), "Approved")
	held.ends(t)
	wantContains(t, held.output(), "DELETE 0")

	s := watching(t, uri)
	revoke(t, "g10")
	s.ends(t)
	s.wasCut(t, "revoked")
	kubectl(t, "-n", system, "scale", "deployment/cardea-operator", fmt.Sprintf("--replicas=%d", *before.Spec.Replicas))
	kubectl(t, "-n", system, "rollout", "status", "deployment/cardea-operator", timeout)
	eventually(t, "the credential is gone", func() error {
		if _, err := command("kubectl", "-n", tenant, "get", "secret", "cardea-g10"); err == nil {
			return errors.New("the Secret is there")
		}
		return nil
	})
}

func scaleToZero(t *testing.T) {
	kubectl(t, "-n", gate, "delete", "accessgrants", "--all")
	eventually(t, "the proxy is scaled to zero", func() error {
		if d := get[appsv1.Deployment](t, "-n", gate, "deployment", v1alpha1.ProxyName); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
			return fmt.Errorf("%d replicas are wanted, %d are there", *d.Spec.Replicas, d.Status.Replicas)
		}
		return nil
	})
	out, err := query(newGrant(t, "again", "ReadOnly"), "SELECT count(*) FROM customers")
	if err != nil {
		t.Fatal(err)
	}
	wantContains(t, out, "3")
}

func leavesNothing(t *testing.T) {
	kubectl(t, "-n", gate, "delete", "accessgrants", "--all")
	kubectl(t, "-n", gate, "delete", "targets", "--all")
	eventually(t, "the operator has taken down what it made", func() error {
		return empty("-n", gate, "get", "deployments,services,poddisruptionbudgets,networkpolicies,roles", "-o", "name")
	})
	eventually(t, "no credential is left", func() error {
		return empty("-n", tenant, "get", "secrets", "-l", v1alpha1.LabelGate, "-o", "name")
	})
	eventually(t, "the gate's authority is gone", func() error {
		return empty("-n", system, "get", "secrets,roles,rolebindings", "-l", v1alpha1.LabelGate, "-o", "name")
	})
	kubectl(t, "delete", "--ignore-not-found", "-f", "config/samples/postgres/")
	kubectl(t, "delete", "--ignore-not-found", "-k", "config/default")
	eventually(t, "nothing of the product is in the cluster", func() error {
		out, err := exec.Command("kubectl", "get", "-o", "name", "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,"+
			"validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingwebhookconfigurations,validatingwebhookconfigurations").Output()
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "cardea") || strings.Contains(line, gate) || strings.HasSuffix(strings.TrimSpace(line), "/"+tenant) {
				return fmt.Errorf("left: %s", line)
			}
		}
		return nil
	})
}

// empty runs kubectl and returns an error that names what it lists.
func empty(args ...string) error {
	out, err := exec.Command("kubectl", args...).Output()
	if err != nil {
		return err
	}
	if s := strings.TrimSpace(string(out)); s != "" {
		return errors.New(s)
	}
	return nil
}
