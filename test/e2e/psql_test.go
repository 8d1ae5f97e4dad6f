//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// newGrant makes a grant on the sample's Target, waits until it opens the gate and returns
// the URI with which the agent's pod connects.
func newGrant(t *testing.T, name, access string) string {
	t.Helper()
	return opens(t, readyGrant(t, name, access))
}

// opens waits until the agent's pod reaches a proxy: that a proxy which has come up gets
// the connections of every node takes a moment more than the proxy. It returns the URI.
func opens(t *testing.T, uri string) string {
	t.Helper()
	eventually(t, "the gate opens", func() error {
		_, err := query(uri, "SELECT 1")
		return err
	})
	return uri
}

// readyGrant makes a grant on the sample's Target, waits until it is Ready and returns its
// URI.
func readyGrant(t *testing.T, name, access string) string {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: %s, namespace: %s}
spec:
  subject: {kind: ServiceAccount, namespace: %s, name: report-agent}
  targetRef: {name: orders-db}
  duration: 1h
  reason: end-to-end test
  postgres: {databases: [orders], access: %s}
`, name, gate, tenant, access))
	kubectl(t, "-n", gate, "wait", "--for=condition=Ready", "accessgrant/"+name, timeout)
	return uriOf(t, name)
}

// uriOf returns the URI of a delivered credential. The certificate authority that it points
// to is mounted in the agent's pod, with the sample grant's Secret.
func uriOf(t *testing.T, grant string) string {
	t.Helper()
	return mustRun(t, "kubectl", "-n", tenant, "get", "secret", "cardea-"+grant, "-o", "go-template={{.data.uri | base64decode}}")
}

// query runs statements in one psql session of the agent's pod and returns everything that
// psql printed.
func query(uri string, statements ...string) (string, error) {
	script := `psql "$0" --no-psqlrc --pset pager=off "$@"`
	args := []string{"-n", tenant, "exec", "deploy/report-agent", "--", "sh", "-c", script, uri}
	for _, s := range statements {
		args = append(args, "-c", s)
	}
	return command("kubectl", args...)
}

// session is a psql that runs while the test goes on.
type session struct {
	mu    sync.Mutex
	out   bytes.Buffer
	ended chan struct{}
	at    time.Time // when it ended
}

func (s *session) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *session) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// open starts a psql that reads the output of a shell command as its input.
func open(t *testing.T, uri, input string) *session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	script := "{ " + input + `; } | psql "$0" --no-psqlrc --pset pager=off`
	cmd := exec.CommandContext(ctx, "kubectl", "-n", tenant, "exec", "deploy/report-agent", "--", "sh", "-c", script, uri)
	s := &session{ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s, s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // psql's exit code says nothing that its output does not
		s.at = time.Now()
		close(s.ended)
	}()
	t.Cleanup(func() { cancel(); <-s.ended })
	return s
}

// watching starts a psql that repeats a query and waits until it shows rows.
func watching(t *testing.T, uri string) *session {
	t.Helper()
	s := open(t, uri, `echo 'SELECT id, name FROM customers \watch 0.05'`)
	s.shows(t, "Grace")
	return s
}

func (s *session) shows(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("psql shows %q", text), func() error {
		if out := s.output(); !strings.Contains(out, text) {
			return fmt.Errorf("it shows:\n%s", out)
		}
		return nil
	})
}

func (s *session) ends(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatalf("psql did not end; it shows:\n%s", tail(s.output(), 2000))
	}
}

// wasCut checks that the client was told why: by the end of its session, or by the refusal of a
// command that it sent at that very moment, at which psql leaves.
func (s *session) wasCut(t *testing.T, why string) {
	t.Helper()
	last := tail(s.output(), 600)
	if !strings.Contains(last, "FATAL:  CDA-") && !strings.Contains(last, "ERROR:  CDA-") {
		t.Errorf("the client was not told of the end:\n%s", last)
	}
	wantContains(t, last, why)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func wantContains(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, tail(out, 4000))
		}
	}
}

func wantLacks(t *testing.T, where, out string, bans ...string) {
	t.Helper()
	for _, ban := range bans {
		if strings.Contains(out, ban) {
			t.Errorf("%q is in %s", ban, where)
		}
	}
}
