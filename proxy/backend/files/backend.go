package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/backend"
	"github.com/cardea-dev/cardea/proxy/backend/files/manifest"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// The folder is read a moment after a change, so that a file is not met half written, and
// now and then in any case.
const (
	settle    = 60 * time.Millisecond
	maxSettle = 250 * time.Millisecond
	rescan    = 5 * time.Second
)

// Config is what a Backend is made of. Every field is required.
type Config struct {
	Dir     string // the folder
	Address string // that the gate listens at; clients are told it
	Port    int    // of the PostgreSQL engine
	// KubernetesPort and SSHPort are those of the other engines.
	KubernetesPort, SSHPort int
	Clock                   clock.WithTicker
	Log                     logr.Logger
}

// Backend is a folder of manifests.
type Backend struct {
	c         Config
	decoder   *manifest.Decoder
	authority *credentials.Authority
	redactKey []byte
	serving   serving
	recorder  recorder
	watcher   *fsnotify.Watcher
	lock      *os.File // held while the process lives
	ready     chan struct{}

	// mu guards what one load of the folder leaves behind.
	mu        sync.Mutex
	namespace string
	state     *state
	parsed    map[string]parsed
	open      map[string]bool   // grants that have a credential
	written   map[string]string // the uri of what was written, by grant
	printed   map[string]bool   // notices
	dirty     bool              // what was decoded differs from what was published
	next      time.Time         // when a grant starts or ends
	waiting   map[string]bool   // requests that grants wait for

	world     atomic.Pointer[world]
	snapshot  atomic.Pointer[policy.Snapshot]
	proven    atomic.Pointer[time.Time]
	changes   broadcast
	requests  requests
	sessions  sessions
	reachable sync.Map // Target UID → what was said last
}

var _ backend.Backend = (*Backend)(nil)

// New reads the folder. The error is a sentence for each manifest that is wrong.
func New(ctx context.Context, c Config) (*Backend, error) {
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	c.Dir = abs
	b := &Backend{c: c, parsed: map[string]parsed{}, written: map[string]string{}, printed: map[string]bool{}, ready: make(chan struct{})}
	b.serving.b = b
	b.snapshot.Store(&policy.Snapshot{})
	b.proven.Store(&time.Time{})
	if b.decoder, err = manifest.NewDecoder(); err != nil {
		return nil, err
	}
	if _, err := os.ReadDir(abs); err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	for _, d := range []string{".state", ".tls", ".credentials", ".approvals", ".sessions", ".recordings"} {
		if err := private(filepath.Join(abs, d)); err != nil {
			return nil, fmt.Errorf("prepare folder: %w", err)
		}
	}
	if b.lock, err = possess(filepath.Join(abs, ".state", "lock")); err != nil {
		return nil, err
	}
	if b.state, err = loadState(filepath.Join(abs, ".state", "objects.json")); err != nil {
		return nil, err
	}
	if b.authority, err = loadAuthority(filepath.Join(abs, ".tls"), c.Clock.Now()); err != nil {
		return nil, err
	}
	if err := keepHistory(filepath.Join(abs, ".tls"), b.authority); err != nil {
		return nil, err
	}
	if b.redactKey, err = loadRedactKey(filepath.Join(abs, ".tls")); err != nil {
		return nil, err
	}
	if _, err := b.serving.certificate(nil); err != nil {
		return nil, err
	}
	if err := b.requests.load(b); err != nil {
		return nil, err
	}
	b.sessions.dir, b.sessions.decoder = filepath.Join(abs, ".sessions"), b.decoder
	if b.watcher, err = fsnotify.NewWatcher(); err != nil {
		return nil, fmt.Errorf("watch folder: %w", err)
	}
	for _, d := range []string{"", ".approvals", ".sessions"} {
		if err := b.watcher.Add(filepath.Join(abs, d)); err != nil {
			_ = b.watcher.Close()
			return nil, fmt.Errorf("watch folder: %w", err)
		}
	}
	if err := b.load(ctx, true); err != nil {
		_ = b.watcher.Close()
		return nil, err
	}
	b.recorder.namespace = b.namespace
	if err := b.renewRecorder(); err != nil {
		_ = b.watcher.Close()
		return nil, err
	}
	close(b.ready)
	return b, nil
}

// load reads the folder and publishes what it says. The first time, every wrong manifest is
// an error.
func (b *Backend) load(ctx context.Context, first bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	began := b.c.Clock.Now()
	docs, err := b.sources(ctx)
	if err != nil {
		return err
	}
	if !b.dirty && !first && len(b.waiting) == 0 && (b.next.IsZero() || began.Before(b.next)) {
		b.proven.Store(&began)
		return nil
	}
	w := b.read(docs, metav1.NewTime(began.Truncate(time.Second)))
	if first && len(w.wrong) > 0 {
		return errors.New(strings.Join(w.wrong, "\n"))
	}
	if w.input.Namespace == "" {
		return errNoTarget
	}
	b.namespace = w.input.Namespace
	w.input.Terminated = b.sessions.terminated()
	w.input.Secret = b.redactKey
	notices, next := b.govern(ctx, w, began)
	if err := b.state.save(); err != nil {
		if first {
			return err
		}
		b.c.Log.Error(err, "Cannot save what must survive a restart")
	}
	b.next, b.dirty = next, false
	b.world.Store(w)
	b.snapshot.Store(policy.Compile(w.input))
	b.proven.Store(&began)
	b.changes.announce()
	if err := b.withdraw(); err != nil {
		b.c.Log.Error(err, "Cannot remove a credential")
	}
	b.print(w, notices)
	return nil
}

// print logs what was not said before.
func (b *Backend) print(w *world, notices []string) {
	now := map[string]bool{}
	say := func(how func(string), all []string) {
		for _, s := range all {
			if now[s] = true; !b.printed[s] {
				how(s)
			}
		}
	}
	say(func(s string) { b.c.Log.Error(nil, "Manifest is wrong: "+s) }, w.wrong)
	say(func(s string) { b.c.Log.Info(s) }, notices)
	say(func(s string) { b.c.Log.Info(s) }, w.ignored)
	b.printed = now
}

// Run implements backend.Backend.
func (b *Backend) Run(ctx context.Context) error {
	defer func() { _ = b.watcher.Close() }()
	t := b.c.Clock.NewTicker(maxSettle)
	defer t.Stop()
	var first time.Time // of the changes that were not read yet
	var due <-chan time.Time
	scanned := b.c.Clock.Now()
	for {
		now := b.c.Clock.Now()
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-b.watcher.Events:
			if !ok {
				return errors.New("the folder can no longer be watched")
			}
			if !b.concerns(e) {
				continue
			}
			if first.IsZero() {
				first = now
			}
			due = b.c.Clock.After(min(settle, max(0, maxSettle-now.Sub(first))))
			continue
		case err := <-b.watcher.Errors:
			b.c.Log.Error(err, "Changes of the folder may have been missed; it is read again")
		case <-due:
		case <-t.C():
			if now.Sub(scanned) < rescan && !b.boundary(now) {
				continue
			}
		}
		first, due, scanned = time.Time{}, nil, now
		if b.sessions.look() {
			b.markDirty()
		}
		if err := b.load(ctx, false); err != nil {
			b.c.Log.Error(err, "Cannot read the folder")
		}
		b.changes.announce()
	}
}

// concerns reports whether an event is about something that the backend reads.
func (b *Backend) concerns(e fsnotify.Event) bool {
	dir, name := filepath.Split(e.Name)
	if ext := filepath.Ext(name); strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
		return false
	}
	if filepath.Base(dir) == ".sessions" {
		b.sessions.changed(name)
	}
	return true
}

func (b *Backend) boundary(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.next.IsZero() && !now.Before(b.next)
}

func (b *Backend) markDirty() {
	b.mu.Lock()
	b.dirty = true
	b.mu.Unlock()
}

// Namespace returns the gate namespace of the folder.
func (b *Backend) Namespace() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.namespace
}

// RedactKey returns the key of hashes in recordings; 32 bytes.
func (b *Backend) RedactKey() []byte { return b.redactKey }

// Ready implements backend.Backend.
func (b *Backend) Ready() <-chan struct{} { return b.ready }

// Current implements policy.Source.
func (b *Backend) Current() *policy.Snapshot { return b.snapshot.Load() }

// Changed implements policy.Source.
func (b *Backend) Changed() <-chan struct{} { return b.changes.changed() }

// ProvenAt implements policy.Source: when the folder was last read whole.
func (b *Backend) ProvenAt() time.Time { return *b.proven.Load() }

// Recordings returns the folder in which all recordings lie.
func (b *Backend) Recordings() string { return filepath.Join(b.c.Dir, ".recordings") }

// Login implements session.Secrets.
func (b *Backend) Login(ctx context.Context, t *v1alpha1.Target) (session.Login, error) {
	return backend.Login(ctx, b.world.Load(), t)
}

// CA implements session.Secrets.
func (b *Backend) CA(ctx context.Context, t *v1alpha1.Target) ([]byte, error) {
	return backend.CA(ctx, b.world.Load(), t)
}

// Reachable implements backend.Backend: it logs changes.
func (b *Backend) Reachable(t *v1alpha1.Target, err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	if before, ok := b.reachable.Swap(t.UID, said); ok && before == said || !ok && said == "" {
		return
	}
	if err != nil {
		b.c.Log.Error(err, "Target cannot be reached", "Target", t.Name)
	} else {
		b.c.Log.Info("Target is reachable again", "Target", t.Name)
	}
}
