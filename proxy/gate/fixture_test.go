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
	"golang.org/x/crypto/ssh"
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
	"github.com/cardea-dev/cardea/test/recorder"
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
func (*world) TLS() *tls.Config                                     { return nil }
func (*world) Recorder() *recording.Key                             { return recorder.Key() }
func (*world) SSH() (ssh.Signer, []ssh.PublicKey, error)            { return nil, nil, nil }
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
	spool, err := recording.NewSpool(recording.Config{Dir: t.TempDir(), Key: recorder.Key, StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return keep{}, nil }})
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

// patience is how long anything may take that should be quick, on a machine that does much
// else.
const patience = 2 * time.Minute

// advance lets time pass, in which the policy does not become stale, until done holds.
func (f *fixture) advance(done func() bool) {
	f.t.Helper()
	f.await(func() bool {
		if done() {
			return true
		}
		f.clock.Step(50 * time.Millisecond)
		f.world.prove()
		return false
	})
}

// await waits until done holds, while the clock stands still.
func (f *fixture) await(done func() bool) {
	f.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); !done(); {
		select {
		case <-look.C:
		case <-late:
			f.t.Fatal("it does not happen")
		}
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
	_ = c.SetReadDeadline(time.Now().Add(patience))
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
