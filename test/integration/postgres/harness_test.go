// Package postgres tries the PostgreSQL engine in front of a real server, with a real
// session, policy, approval gate and analyser, and real clients.
package postgres

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/engine"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
	"github.com/cardea-dev/cardea/test/peers"
	"github.com/cardea-dev/cardea/test/pgtest"
	"github.com/cardea-dev/cardea/test/wrappers"
)

func TestMain(m *testing.M) {
	pgsql.WorkerMain()
	os.Exit(m.Run())
}

const namespace = "shop-gate"

// gate is an engine behind a listener, with the parts that a session needs around it.
type gate struct {
	t        testing.TB
	addr     string
	port     int
	dir      string
	caFile   string
	ca       *credentials.Authority
	pool     *x509.CertPool
	requests *peers.Requests
	recorder *peers.Recorder
	record   recording.Recorder // that sessions use: recorder, unless an option sets another
	engine   *engpg.Engine
	listener net.Listener // where it listens; a port of its own if nil
	signIn   time.Duration
	login    session.Login
	upstream []byte // PEM
	holder   *approval.Holder
	commands atomic.Uint64
	counters session.Counters

	mu        gosync.Mutex
	input     policy.Input
	snapshot  *policy.Snapshot
	live      map[*live]bool
	reachable error
	ended     chan error
}

type live struct {
	request policy.Request
	s       *session.Session
	end     context.CancelCauseFunc
}

// Verifiers implements engine.Directory.
func (g *gate) Verifiers(grant string, now time.Time) []policy.Verifier {
	return g.current().Verifiers(grant, now)
}

func (g *gate) current() *policy.Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.snapshot
}

// Login implements session.Secrets.
func (g *gate) Login(context.Context, *v1alpha1.Target) (session.Login, error) { return g.login, nil }

// CA implements session.Secrets.
func (g *gate) CA(context.Context, *v1alpha1.Target) ([]byte, error) { return g.upstream, nil }

// apply changes the policy as a watch event would.
func (g *gate) apply(change func(*policy.Input)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.input)
	g.snapshot = policy.Compile(g.input)
	for l := range g.live {
		a, err := g.snapshot.Admit(l.request, time.Now())
		if err != nil {
			l.s.Stop(err)
			l.end(err)
			continue
		}
		l.s.Update(a)
	}
}

type credential struct {
	grant    string
	password string
	certFile string
	keyFile  string
}

// grant adds an open grant and returns its credential.
func (g *gate) grant(name string, access v1alpha1.AccessLevel) credential {
	g.t.Helper()
	o := wrappers.MakeGrant(namespace, name).Postgres(access, "*").Obj()
	o.UID, o.Generation = types.UID("uid-"+name), 1
	o.Spec.DesiredState, o.Spec.Credentials.Delivery = v1alpha1.GrantActive, v1alpha1.DeliverySecret
	now := time.Now()
	m, err := credentials.Mint(o, g.ca, now.Add(-time.Minute), now.Add(time.Hour), rand.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	o.Status = v1alpha1.AccessGrantStatus{ObservedGeneration: 1, ApprovedAt: ptr.To(metav1.NewTime(now.Add(-time.Minute))),
		StartsAt: ptr.To(metav1.NewTime(now.Add(-time.Minute))), ExpiresAt: ptr.To(metav1.NewTime(now.Add(time.Hour))),
		Verifiers: []v1alpha1.CredentialVerifier{m.Verifier}}
	for _, c := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionApproved, v1alpha1.ConditionCredentialIssued, v1alpha1.ConditionActive, v1alpha1.ConditionReady} {
		o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "Active", ObservedGeneration: 1})
	}
	g.apply(func(in *policy.Input) { in.Grants = append(in.Grants, o) })
	c := credential{grant: name, password: m.Password, certFile: filepath.Join(g.dir, name+".crt"), keyFile: filepath.Join(g.dir, name+".key")}
	for path, content := range map[string][]byte{c.certFile: m.CertPEM, c.keyFile: m.KeyPEM} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			g.t.Fatal(err)
		}
	}
	return c
}

func (g *gate) uri(c credential, database, extra string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=verify-full&sslrootcert=%s%s", c.grant, c.password, g.port, database, g.caFile, extra)
}

var parsers = gosync.OnceValue(func() *parser.Parser { return parser.New(parser.Options{Timeout: time.Minute, Wait: time.Minute}) })

// option changes a gate before it starts.
type option func(*gate, *engpg.Config)

// start starts a gate in front of a server.
func start(t testing.TB, server *pgtest.Server, options ...option) *gate {
	t.Helper()
	now := time.Now()
	ca, err := credentials.NewAuthority("test gate", now.Add(-time.Hour), now.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, ca: ca, dir: t.TempDir(), signIn: patience, requests: peers.NewRequests(), recorder: peers.NewRecorder(), live: map[*live]bool{}, ended: make(chan error, 1000),
		pool: x509.NewCertPool()}
	g.caFile = filepath.Join(g.dir, "ca.crt")
	if err := os.WriteFile(g.caFile, ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	g.pool.AppendCertsFromPEM(ca.CertPEM())
	g.holder = approval.NewHolder(g.requests, clock.RealClock{})
	target := wrappers.MakeTarget(namespace, "orders-db").CA("ConfigMap", "ca", "ca.crt").Label("tier", "prod").Obj()
	target.UID, target.Generation = "uid-target", 1
	if server != nil {
		g.login = session.Login{Username: "postgres", Password: server.Password}
		target.Spec.Postgres.Host, target.Spec.Postgres.Port = server.Host, int32(server.Port)
		if g.upstream, err = os.ReadFile(server.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	g.input = policy.Input{Namespace: namespace, RootNamespace: "cardea-system", Targets: []*v1alpha1.Target{target}}
	certPEM, keyPEM, err := ca.Serving([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	config := engpg.Config{Directory: g, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: g.pool, ClientAuth: tls.VerifyClientCertIfGiven},
		Analyzer: pgsql.NewAnalyzer(parsers(), 1000)}
	g.record = g.recorder
	for _, o := range options {
		o(g, &config)
	}
	g.apply(func(*policy.Input) {})
	if g.engine, err = engpg.New(config); err != nil {
		t.Fatal(err)
	}
	l := g.listener
	if l == nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	g.addr, g.port = l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithCancel(context.Background())
	var wg gosync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { g.serve(ctx, c) })
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
	return g
}

// signInWithin sets how long a client may take to sign in, for tests of those that do not.
func signInWithin(d time.Duration) option {
	return func(g *gate, _ *engpg.Config) { g.signIn = d }
}

func (g *gate) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	signIn, done := context.WithTimeout(ctx, g.signIn)
	conn, err := g.engine.Handshake(signIn, c)
	done()
	if err != nil {
		g.ended <- fmt.Errorf("handshake: %w", err)
		return
	}
	a, err := g.current().Admit(conn.Request(), time.Now())
	if err != nil {
		conn.Deny(ctx, err)
		g.ended <- err
		return
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := session.New(session.Config{Name: conn.Request().Grant + "-abcde", Connection: 1, Admission: a, Recorder: g.record, Approvals: g.holder, Secrets: g,
		Dial: (&net.Dialer{}).DialContext, Reachable: func(_ *v1alpha1.Target, err error) { g.mu.Lock(); g.reachable = err; g.mu.Unlock() },
		Counters: &g.counters, Commands: &g.commands, RedactKey: make([]byte, 32), End: end})
	l := &live{request: conn.Request(), s: s, end: end}
	g.mu.Lock()
	g.live[l] = true
	g.mu.Unlock()
	err = conn.Serve(ctx, s)
	g.mu.Lock()
	delete(g.live, l)
	g.mu.Unlock()
	g.ended <- err
}

// patience is how long anything may take that should be quick, on a machine that does much
// else.
const patience = 2 * time.Minute

// over waits for the end of the next connection and returns how it ended.
func (g *gate) over(t testing.TB) error {
	t.Helper()
	select {
	case err := <-g.ended:
		return err
	case <-time.After(patience):
		t.Fatal("the connection does not end")
		return nil
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); !f(); {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("it does not happen: %s", what)
		}
	}
}

// masking adds a MaskingRule for columns.
func masking(f v1alpha1.MaskFunction, names ...string) option {
	return func(g *gate, _ *engpg.Config) {
		r := wrappers.MakeMaskingRule(namespace, "pii", metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}})
		r.Spec.Columns = []v1alpha1.MaskedColumns{{Names: names, Function: f}}
		r.Spec.Predicates = v1alpha1.PredicatesDeny
		g.input.MaskingRules = append(g.input.MaskingRules, r)
	}
}

// rule adds a CommandRule.
func rule(name string, action v1alpha1.RuleAction, pending v1alpha1.WhilePending, match v1alpha1.SQLMatch) option {
	return func(g *gate, _ *engpg.Config) {
		r := wrappers.MakeCommandRule(namespace, name, metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}})
		r.Spec.Match, r.Spec.Action = []v1alpha1.CommandMatch{{SQL: &match}}, action
		if action == v1alpha1.ActionRequireApproval {
			r.Spec.Approval = &v1alpha1.ApprovalTerms{Required: 1, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "dba"}},
				Timeout: metav1.Duration{Duration: 10 * time.Minute}, WhilePending: pending, InTransaction: v1alpha1.PendingReject}
		}
		g.input.CommandRules = append(g.input.CommandRules, r)
	}
}

// events returns the recorded events as JSON lines.
func (g *gate) events(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, e := range g.recorder.Events() {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

var _ engine.Directory = (*gate)(nil)
var _ recording.Recorder = (*peers.Recorder)(nil)
