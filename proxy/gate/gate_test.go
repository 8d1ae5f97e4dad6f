package gate

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// lines is an engine of one line each way: the client says GRANT, and then anything; it is
// echoed. The end is told as "end: REASON".
type lines struct{}

type lineConn struct {
	net.Conn
	r     *bufio.Reader
	grant string
}

func (lines) Handshake(ctx context.Context, c net.Conn) (engine.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	return &lineConn{c, r, strings.TrimSpace(line)}, nil
}

func (c *lineConn) Request() policy.Request {
	return policy.Request{Engine: "postgres", Grant: c.grant, GrantUID: types.UID(c.grant), CredentialID: "c1", Database: "orders",
		Client: addrPort(c.RemoteAddr())}
}

func (c *lineConn) Deny(_ context.Context, reason error) { fmt.Fprintf(c, "end: %v\n", reason) }

func (c *lineConn) Serve(ctx context.Context, s *session.Session) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	fmt.Fprintf(c, "in %s\n", s.Name())
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case ctx.Err() != nil:
			fmt.Fprintf(c, "end: %v\n", context.Cause(ctx))
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		fmt.Fprint(c, line)
	}
}

// world is a backend in memory.
type world struct {
	clock clock.Clock

	mu       sync.Mutex
	in       policy.Input
	snapshot *policy.Snapshot
	changes  chan struct{}
	proven   time.Time
	written  map[string]*v1alpha1.Session
	failing  bool
}

func (w *world) change(f func(*policy.Input)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.in)
	w.snapshot = policy.Compile(w.in)
	close(w.changes)
	w.changes = make(chan struct{})
}

func (w *world) prove() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proven = w.clock.Now()
}

func (w *world) Current() *policy.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.snapshot
}

func (w *world) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

func (w *world) ProvenAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.proven
}

func (w *world) Session(_ context.Context, s *v1alpha1.Session) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing {
		return errors.New("the API server is away")
	}
	w.written[s.Name] = s
	return nil
}

func (w *world) session(name string) *v1alpha1.Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written[name]
}

var errNone = errors.New("not in this test")

func (*world) Create(context.Context, *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	return nil, errNone
}
func (*world) Get(context.Context, string) (*v1alpha1.ApprovalRequest, error) { return nil, errNone }
func (*world) List(context.Context, string) ([]*v1alpha1.ApprovalRequest, error) {
	return nil, errNone
}
func (*world) UpdateStatus(context.Context, *v1alpha1.ApprovalRequest) error { return errNone }
func (*world) Login(context.Context, *v1alpha1.Target) (session.Login, error) {
	return session.Login{}, errNone
}
func (*world) CA(context.Context, *v1alpha1.Target) ([]byte, error) { return nil, errNone }
func (*world) Run(context.Context) error                            { return nil }
func (*world) Reachable(*v1alpha1.Target, error)                    {}
func (*world) Store(string) (recording.Store, error)                { return keep{}, nil }
func (*world) TLS() *tls.Config                                     { return nil }
func (*world) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

type keep struct{}

func (keep) Put(context.Context, recording.Segment) error { return nil }

// fixture is a running gate.
type fixture struct {
	t     *testing.T
	world *world
	clock *clocktesting.FakeClock
	gate  *Gate
	addr  string
	stop  context.CancelFunc
	done  chan struct{}
}

// newFixture starts a gate. wrap may change its configuration.
func newFixture(t *testing.T, wrap func(*Config)) *fixture {
	t.Helper()
	clk := clocktesting.NewFakeClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	w := &world{clock: clk, changes: make(chan struct{}), snapshot: &policy.Snapshot{}, written: map[string]*v1alpha1.Session{}}
	w.change(func(in *policy.Input) { *in = input(clk.Now()) })
	w.prove()
	spool, err := recording.NewSpool(recording.Config{Dir: t.TempDir(), StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return keep{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Backend: w, Listeners: []Listener{{Name: "lines", Listener: l, Engine: lines{}}}, Spool: spool, Approvals: approval.NewHolder(w, clk),
		Namespace: "shop-gate", Proxy: "p", RedactKey: make([]byte, 32), Dial: new(net.Dialer).DialContext, Clock: clk, Log: logr.Discard(),
		Metrics: NewMetrics(spool.Unshipped)}
	if wrap != nil {
		wrap(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	under, end := context.WithCancel(context.Background())
	f := &fixture{t: t, world: w, clock: clk, gate: g, addr: l.Addr().String(), stop: stop, done: make(chan struct{})}
	shipped := make(chan struct{})
	go func() { _ = spool.Run(under); close(shipped) }()
	go func() { g.Run(ctx, 0); close(f.done) }()
	t.Cleanup(func() {
		stop()
		f.advance(func() bool {
			select {
			case <-f.done:
				return true
			default:
				return false
			}
		})
		end()
		<-shipped
		_ = spool.Close()
	})
	return f
}

func input(now time.Time) policy.Input {
	t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "orders-db", Namespace: "shop-gate", UID: "t", Generation: 1}}
	t.Spec.Postgres = &v1alpha1.PostgresTarget{Host: "db", Port: 5432, TLS: v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSVerifyFull},
		Login: &v1alpha1.UpstreamLogin{SecretRef: v1alpha1.ObjectName{Name: "l"}}}
	in := policy.Input{Namespace: "shop-gate", RootNamespace: "cardea-system", Targets: []*v1alpha1.Target{t}}
	for _, name := range []string{"one", "two"} {
		g := &v1alpha1.AccessGrant{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop-gate", UID: types.UID(name), Generation: 1}}
		start, end := metav1.NewTime(now), metav1.NewTime(now.Add(time.Hour))
		g.Spec = v1alpha1.AccessGrantSpec{Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "u"}, TargetRef: v1alpha1.ObjectName{Name: "orders-db"},
			ExpiresAt: &end, Reason: "test", DesiredState: v1alpha1.GrantActive, Credentials: v1alpha1.GrantCredentials{Delivery: v1alpha1.DeliverySecret},
			Postgres: &v1alpha1.PostgresPermissions{Databases: []string{"orders"}, Access: v1alpha1.AccessReadOnly}}
		g.Status = v1alpha1.AccessGrantStatus{ApprovedAt: &start, StartsAt: &start, ExpiresAt: &end,
			Verifiers: []v1alpha1.CredentialVerifier{{ID: "c1", NotBefore: start, ExpiresAt: end}},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, ObservedGeneration: 1},
				{Type: v1alpha1.ConditionApproved, Status: metav1.ConditionTrue, ObservedGeneration: 1}}}
		in.Grants = append(in.Grants, g)
	}
	return in
}

// advance lets time pass until f holds.
func (f *fixture) advance(done func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			f.t.Fatal("it does not happen")
		}
		f.clock.Step(50 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (f *fixture) dial() *client {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return &client{f.t, c, bufio.NewReader(c)}
}

func (f *fixture) connect(grant string) *client {
	c := f.dial()
	fmt.Fprintln(c, grant)
	return c
}

func (c *client) line() string {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	s, err := c.r.ReadString('\n')
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return strings.TrimSpace(s)
}

func (c *client) expect(want string) string {
	c.t.Helper()
	got := c.line()
	if !strings.Contains(got, want) {
		c.t.Fatalf("the client is told %q, want %q", got, want)
	}
	return got
}

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
	f.clock.Step(time.Hour)
	f.world.prove()
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

// A client that says nothing is cut off, and delays nobody meanwhile.
func TestSilentClient(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Limits.Handshake = 200 * time.Millisecond })
	silent := f.dial()
	f.connect("one").expect("in")
	if got := silent.line(); !strings.HasPrefix(got, "(") {
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
	f.advance(func() bool {
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
	f.advance(func() bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		s, _ := c.r.ReadString('\n')
		return strings.Contains(s, "CDA-1014")
	})
	if _, err := net.Dial("tcp", f.addr); err == nil {
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
