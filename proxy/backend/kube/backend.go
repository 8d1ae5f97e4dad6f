package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/backend"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Bounds of the client. Traffic needs the API server at the opening of a session, and for
// approvals; a burst of short connections must not be throttled here.
const (
	queriesPerSecond = 100
	burst            = 200
	callTimeout      = 10 * time.Second
)

// Config is what a Backend is made of. Every field is required.
type Config struct {
	REST          *rest.Config
	Namespace     string // the gate namespace
	RootNamespace string
	TLSDir        string // holds tls.crt, tls.key, ca.crt and redact.key
	Clock         clock.WithTicker
	Log           logr.Logger
}

// Backend is the API server.
type Backend struct {
	c       Config
	dynamic dynamic.Interface
	core    kubernetes.Interface
	meta    metadata.Interface
	sources []*source
	ready   chan struct{}

	snapshot atomic.Pointer[policy.Snapshot]
	proven   atomic.Pointer[time.Time]
	changes  *broadcast
	dirty    chan struct{} // holds a token when there may be something to compile

	certs     *certs
	secrets   secrets
	sessions  sessions
	reachable *reachability

	complained map[string]bool // by Run

	mu       sync.Mutex
	compiled map[*source]versions // what the snapshot was made of
}

var _ backend.Backend = (*Backend)(nil)

// New returns a backend. It fails if the serving certificate cannot be read; it does not
// need the API server yet.
func New(c Config) (*Backend, error) {
	if c.REST == nil || c.Namespace == "" || c.RootNamespace == "" || c.TLSDir == "" || c.Clock == nil {
		return nil, errors.New("kube backend: a part is missing")
	}
	config := rest.CopyConfig(c.REST)
	config.QPS, config.Burst = queriesPerSecond, burst
	b := &Backend{c: c, ready: make(chan struct{}), changes: newBroadcast(), dirty: make(chan struct{}, 1)}
	b.snapshot.Store(&policy.Snapshot{})
	b.proven.Store(&time.Time{})
	var err error
	if b.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if b.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if b.meta, err = metadata.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if b.certs, err = loadCerts(c.TLSDir); err != nil {
		return nil, err
	}
	b.secrets.b, b.sessions.b = b, b
	b.reachable = newReachability(b)
	b.sources = b.newSources()
	return b, nil
}

// Run implements backend.Backend.
func (b *Backend) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, s := range b.sources {
		wg.Go(func() { s.informer.RunWithContext(ctx) })
	}
	wg.Go(func() { b.reachable.run(ctx) })
	wg.Go(func() { b.certs.watch(ctx, b.c.Clock, b.c.Log) })
	for _, s := range b.sources {
		if !s.synced(ctx) {
			return nil // ctx ended
		}
	}
	b.compile()
	wg.Go(func() { b.prove(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.dirty:
		}
		// Changes come in groups: an apply of several files, a start.
		select {
		case <-ctx.Done():
			return nil
		case <-b.c.Clock.After(settle):
		}
		b.compile()
	}
}

// Ready implements backend.Backend.
func (b *Backend) Ready() <-chan struct{} { return b.ready }

// Current implements policy.Source.
func (b *Backend) Current() *policy.Snapshot { return b.snapshot.Load() }

// Changed implements policy.Source and approval.Requests.
func (b *Backend) Changed() <-chan struct{} { return b.changes.changed() }

// ProvenAt implements policy.Source.
func (b *Backend) ProvenAt() time.Time { return *b.proven.Load() }

// RedactKey returns the key of hashes in recordings; 32 bytes.
func (b *Backend) RedactKey() []byte { return b.certs.redactKey }

// Core returns the client of the core group, for the store of recordings: both share one
// rate of requests.
func (b *Backend) Core() rest.Interface { return b.core.CoreV1().RESTClient() }

// broadcast tells any number of waiters that something changed.
type broadcast struct {
	mu sync.Mutex
	c  chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{c: make(chan struct{})} }

// changed returns a channel that is closed at the next announce.
func (b *broadcast) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}

func (b *broadcast) announce() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.c)
	b.c = make(chan struct{})
}
