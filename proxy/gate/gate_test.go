package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

func TestServe(t *testing.T) {
	f := newFixture(t, nil)
	c := f.connect("one")
	name := strings.TrimPrefix(c.expect("in one-"), "in ")
	fmt.Fprintln(c, "hello")
	c.expect("hello")
	f.advance(func() bool { return f.world.session(name) != nil })
	f.world.change(func(in *policy.Input) { in.Grants = in.Grants[1:] })
	c.expect("CDA-1004")
	f.advance(func() bool { s := f.world.session(name); return s.Status.EndReason == "GrantRevoked" })
	f.connect("one").expect("CDA-1004")
	f.connect("two").expect("in two-")
}

// A policy that is not proven fresh admits nobody, and after long ends what lives.
func TestStaleness(t *testing.T) {
	f := newFixture(t, nil)
	c := f.connect("one")
	c.expect("in one-")
	f.clock.Step(31 * time.Second)
	f.connect("two").expect("CDA-1009")
	fmt.Fprintln(c, "still")
	c.expect("still")
	f.clock.Step(15 * time.Minute)
	c.expect("CDA-1009")
	f.world.prove()
	f.connect("two").expect("in two-")
}

// G2: the wall clock ends a session, whatever became of timers.
func TestExpiry(t *testing.T) {
	f := newFixture(t, nil)
	c := f.connect("one")
	c.expect("in one-")
	for range 5 { // in steps in which the policy does not become stale
		f.clock.Step(12 * time.Minute)
		f.world.prove()
	}
	c.expect("CDA-1003")
}

func TestTerminated(t *testing.T) {
	f := newFixture(t, nil)
	c := f.connect("one")
	name := strings.TrimPrefix(c.expect("in one-"), "in ")
	f.world.change(func(in *policy.Input) { in.Terminated = []string{name} })
	c.expect("CDA-1010")
	if again := f.connect("one").expect("in one-"); strings.HasSuffix(again, name) {
		t.Error("a terminated session goes on")
	}
}

// G9: bounds on sessions, in all and for each grant.
func TestBounds(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Limits = Limits{Sessions: 3, SessionsPerGrant: 2} })
	f.connect("one").expect("in")
	second := f.connect("one")
	second.expect("in")
	f.connect("one").expect("CDA-1012: the grant has 2")
	f.connect("two").expect("in")
	f.connect("two").expect("CDA-1012: the gate has 3")
	second.Close()
	f.advance(func() bool { c := f.connect("two"); defer c.Close(); return strings.HasPrefix(c.line(), "in") })
}

// A policy bounds the sessions of each grant, and ends the newest beyond where it is tightened;
// it ends them all where it no longer admits the grant.
func TestPolicyBounds(t *testing.T) {
	f := newFixture(t, nil)
	permit := func(n int32, users ...string) {
		f.world.change(func(in *policy.Input) {
			p := &v1alpha1.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop-gate"}}
			p.Spec.Subjects = []v1alpha1.SubjectPattern{{Kind: v1alpha1.SubjectUser, Names: users}}
			p.Spec.Limits = &v1alpha1.GrantLimits{MaxSessions: &n}
			in.AccessPolicies = []*v1alpha1.AccessPolicy{p}
		})
	}
	permit(2, "*")
	first := f.connect("one")
	first.expect("in")
	second := f.connect("one")
	second.expect("in")
	f.connect("one").expect("CDA-1016: an AccessPolicy permits the grant 2 sessions at once")
	other := f.connect("two")
	other.expect("in")
	permit(1, "*")
	second.expect("CDA-1016: an AccessPolicy permits the grant 1 sessions at once")
	fmt.Fprintln(first, "still")
	first.expect("still")
	permit(1, "nobody")
	first.expect("CDA-1016: AccessPolicy shop-gate/p selects the Target, and no AccessPolicy names")
	other.expect("CDA-1016")
}

// A client that says nothing is cut off, and delays nobody meanwhile.
func TestSilentClient(t *testing.T) {
	patient := newFixture(t, func(c *Config) { c.Limits.Handshake = time.Hour })
	patient.dial()
	patient.connect("one").expect("in")
	hasty := newFixture(t, func(c *Config) { c.Limits.Handshake = 50 * time.Millisecond })
	if got := hasty.dial().line(); !strings.HasPrefix(got, "(") || strings.Contains(got, "timeout") {
		t.Errorf("the silent client is told %q", got)
	}
}

type broken struct{ Spool }

func (broken) Open(context.Context, recording.Started) (recording.Recorder, error) {
	return nil, errors.New("disk full at /secret/path")
}

// G6: what cannot be recorded is not opened.
func TestUnrecorded(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Spool = broken{c.Spool} })
	if got := f.connect("one").expect("CDA-1011"); strings.Contains(got, "/secret/path") {
		t.Errorf("the client is told %q", got)
	}
}

// Short connections share a session, connections at the same time do not.
func TestSharing(t *testing.T) {
	f := newFixture(t, nil)
	first := f.connect("one")
	name := first.expect("in one-")
	if other := f.connect("one").expect("in one-"); other == name {
		t.Error("two connections at a time share a session")
	}
	first.Close()
	f.await(func() bool {
		f.gate.shared.mu.Lock()
		defer f.gate.shared.mu.Unlock()
		return f.gate.shared.idling == 1
	})
	next := f.connect("one")
	if got := next.expect("in one-"); got != name {
		t.Errorf("the next connection is of %s, want %s", got, name)
	}
	if got := f.connect("two").expect("in two-"); got == name {
		t.Error("another grant shares the session")
	}
	next.Close()
	f.clock.Step(31 * time.Second)
	f.advance(func() bool {
		s := f.world.session(strings.TrimPrefix(name, "in "))
		return s != nil && s.Status.EndReason == "ClientClosed" && s.Status.Connections == 2
	})
}

// A session that waits for another connection ends with the grant, although its time is not over.
func TestSharingEndsWithTheGrant(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Limits.Linger = 24 * time.Hour })
	c := f.connect("one")
	name := strings.TrimPrefix(c.expect("in one-"), "in ")
	c.Close()
	f.await(func() bool {
		f.gate.shared.mu.Lock()
		defer f.gate.shared.mu.Unlock()
		return f.gate.shared.idling == 1
	})
	f.world.change(func(in *policy.Input) { in.Grants = in.Grants[1:] })
	f.advance(func() bool { s := f.world.session(name); return s != nil && s.Status.EndReason == "ClientClosed" })
}

// Objects are written once the API server is back.
func TestSessionWritesAreRetried(t *testing.T) {
	f := newFixture(t, nil)
	f.world.mu.Lock()
	f.world.failing = true
	f.world.mu.Unlock()
	c := f.connect("one")
	name := strings.TrimPrefix(c.expect("in one-"), "in ")
	fmt.Fprintln(c, "hello")
	c.expect("hello")
	f.world.mu.Lock()
	f.world.failing = false
	f.world.mu.Unlock()
	f.advance(func() bool { return f.world.session(name) != nil })
}

// G11: a drain waits, and tells who is left.
func TestDrain(t *testing.T) {
	f := newFixture(t, nil)
	c := f.connect("one")
	c.expect("in one-")
	f.stop()
	f.advance(func() bool { return !f.gate.Ready() })
	f.clock.Step(time.Millisecond)
	said := ""
	f.advance(func() bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		s, _ := c.r.ReadString('\n')
		said += s
		return strings.Contains(said, "CDA-1014")
	})
	// A port that nobody listens on may be given to the very connection that asks for it.
	if c, err := net.Dial("tcp", f.addr); err == nil && c.LocalAddr().String() != f.addr {
		t.Error("it still accepts")
	}
}

func TestReasons(t *testing.T) {
	for name, tc := range map[string]struct {
		cause, err error
		want       string
	}{
		"client closed": {nil, nil, "ClientClosed"},
		"revoked":       {&policy.Refusal{Code: policy.CodeGrantRevoked}, nil, "GrantRevoked"},
		"cause first":   {&policy.Refusal{Code: policy.CodeLocked}, io.EOF, "Locked"},
		"upstream":      {nil, fmt.Errorf("x: %w", &policy.Refusal{Code: policy.CodeUpstream}), "UpstreamFailed"},
		"recorder":      {nil, session.ErrRecorder, "RecorderFailed"},
		"other":         {nil, io.ErrUnexpectedEOF, "Failed"},
		"other code":    {&policy.Refusal{Code: "CDA-9999"}, nil, "Refused"},
	} {
		if got := reasonOf(tc.cause, tc.err); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestSessionName(t *testing.T) {
	for _, grant := range []string{"a", strings.Repeat("a", 63), strings.Repeat("a", 49) + ".bbbbbbbbbbbbb", strings.Repeat("a", 48) + "-.b"} {
		name := sessionName(grant)
		if !recording.ValidSession(name) || len(name) > 63 || strings.Contains(name, ".-") {
			t.Errorf("%q of %q", name, grant)
		}
	}
}
