//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const (
	gate        = "shop-gate"
	tenant      = "shop"
	system      = "cardea-system"
	patience    = 5 * time.Minute
	timeout     = "--timeout=300s" // of kubectl, as patience
	lookEvery   = 100 * time.Millisecond
	rawEmail    = "ada@example.com"
	rawSSN      = "078-05-1120"
	sampleGrant = "report-agent"
)

func root() string { return filepath.Join("..", "..") }

// command runs a program in the root of the checkout and returns its output, standard error
// included.
func command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root()
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return mustRun(t, "kubectl", args...)
}

// get decodes what `kubectl get` answers.
func get[T any](t *testing.T, args ...string) T {
	t.Helper()
	var out T
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"get", "-o", "json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl get %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func apply(t *testing.T, manifest string) {
	t.Helper()
	applyWith(t, manifest, "-")
}

// applyWith applies what a file, or the text for "-", says. A moment after the operator
// has come up there are nodes that do not send connections to it yet: what its webhook
// fills in is missing then, and admission refuses what lacks it.
func applyWith(t *testing.T, text, file string) {
	t.Helper()
	eventually(t, "the operator's webhook fills in who makes a grant", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "kubectl", "apply", "-f", file)
		cmd.Dir, cmd.Stdin = root(), strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil && !strings.Contains(string(out), v1alpha1.AnnotationCreatedBy) {
			t.Fatalf("kubectl apply: %v\n%s", err, out)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
		<-tick.C
	}
}

// install installs the operator, the shop and the samples, and waits for the grant.
func install(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "-k", "config/default")
	kubectl(t, "-n", system, "set", "env", "deployment/cardea-operator", "CARDEA_PROXY_IDLE_TIMEOUT=10s")
	kubectl(t, "-n", system, "rollout", "status", "deployment/cardea-operator", timeout)
	mustRun(t, "bash", "-ec", ". hack/demo/lib.sh; . hack/demo/shop.sh; shop_database")
	applyWith(t, "", "config/samples/postgres/")
	kubectl(t, "-n", gate, "wait", "--for=condition=Ready", "accessgrant/"+sampleGrant, timeout)
	kubectl(t, "apply", "-f", "bin/demo/report-agent.yaml")
	kubectl(t, "-n", tenant, "rollout", "status", "deployment/report-agent", timeout)
	opens(t, uriOf(t, sampleGrant))
}

// dump writes what helps to understand a failure.
func dump(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "cardea", "-A"},
		{"get", "pods", "-A", "-o", "wide"},
		{"-n", gate, "get", "accessgrants,targets,approvalrequests", "-o", "yaml"},
		{"-n", gate, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", system, "logs", "deployment/cardea-operator", "--tail=60"},
		{"-n", gate, "logs", "deployment/cardea-proxy", "--tail=60"},
	} {
		out, err := command("kubectl", args...)
		t.Logf("kubectl %s (%v)\n%s", strings.Join(args, " "), err, out)
	}
}
