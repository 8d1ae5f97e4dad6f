package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/backend/files/manifest"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// keptSessions is how many ended Sessions are kept.
const keptSessions = 500

// sessions keeps Sessions in files, and notes which an administrator terminated.
type sessions struct {
	dir     string
	decoder *manifest.Decoder

	mu     sync.Mutex
	live   map[string]bool // not ended
	edited map[string]bool // names whose files changed
	shut   map[string]bool // Terminated
}

// Session implements backend.Backend.
func (b *Backend) Session(_ context.Context, s *v1alpha1.Session) error {
	return b.sessions.write(s)
}

func (s *sessions) write(o *v1alpha1.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, o.Name+".yaml")
	merged := o
	if stored, err := s.read(path); err == nil {
		stored.Status = mergeStatus(stored.Status, o.Status)
		merged = stored
	} else if !errors.Is(err, os.ErrNotExist) && !s.live[o.Name] {
		return fmt.Errorf("read Session: %w", err)
	}
	content, err := yaml.Marshal(merged)
	if err != nil {
		return err
	}
	if err := writeFile(path, content, 0o600); err != nil {
		return err
	}
	if s.live == nil {
		s.live = map[string]bool{}
	}
	if o.Status.EndedAt == nil {
		s.live[o.Name] = true
		return nil
	}
	delete(s.live, o.Name)
	return s.prune()
}

func (s *sessions) read(path string) (*v1alpha1.Session, error) {
	content, err := recording.ReadWhole(path, 1<<20)
	if err != nil {
		return nil, err
	}
	o := new(v1alpha1.Session)
	if err := yaml.UnmarshalStrict(content, o); err != nil {
		return nil, err
	}
	return o, nil
}

// mergeStatus returns before with what is set in set.
func mergeStatus(before, set v1alpha1.SessionStatus) v1alpha1.SessionStatus {
	if set.Conditions == nil {
		set.Conditions = before.Conditions
	}
	if set.EndedAt == nil {
		set.EndedAt = before.EndedAt
	}
	if set.EndReason == "" {
		set.EndReason = before.EndReason
	}
	for _, p := range []struct{ set, before *int64 }{
		{&set.Connections, &before.Connections}, {&set.Commands.Forwarded, &before.Commands.Forwarded},
		{&set.Commands.Denied, &before.Commands.Denied}, {&set.Commands.Held, &before.Commands.Held},
	} {
		if *p.set == 0 {
			*p.set = *p.before
		}
	}
	if set.Recording.Segments == 0 {
		set.Recording.Segments, set.Recording.Digest = before.Recording.Segments, before.Recording.Digest
	}
	if set.Recording.State == "" {
		set.Recording.State = before.Recording.State
	}
	if set.Recording.Store == "" {
		set.Recording.Store = before.Recording.Store
	}
	return set
}

// prune removes the oldest ended Sessions. The caller holds the lock.
func (s *sessions) prune() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	if len(entries) <= keptSessions+keptSessions/5 {
		return nil
	}
	type aged struct {
		name string
		at   metav1.Time
	}
	var all []aged
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".yaml")
		if info, err := e.Info(); err == nil && !s.live[name] && !strings.HasPrefix(name, ".") {
			all = append(all, aged{name, metav1.NewTime(info.ModTime())})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return a.at.Compare(b.at.Time) })
	for _, old := range all[:max(0, len(all)-keptSessions)] {
		if err := os.Remove(filepath.Join(s.dir, old.name+".yaml")); err != nil {
			return err
		}
		delete(s.shut, old.name)
	}
	return nil
}

// changed notes that a file changed.
func (s *sessions) changed(file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.edited == nil {
		s.edited = map[string]bool{}
	}
	if name := strings.TrimSuffix(file, ".yaml"); s.live[name] {
		s.edited[name] = true
	}
}

// look reads what changed and reports whether another live session is to end. A file that
// cannot be read ends its session: what it says is unknown.
func (s *sessions) look() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for name := range s.edited {
		delete(s.edited, name)
		o, err := s.read(filepath.Join(s.dir, name+".yaml"))
		if errors.Is(err, os.ErrNotExist) || s.shut[name] || err == nil && o.Spec.DesiredState != v1alpha1.SessionTerminated {
			continue
		}
		if s.shut == nil {
			s.shut = map[string]bool{}
		}
		s.shut[name], found = true, true
	}
	return found
}

func (s *sessions) terminated() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.shut))
	for name := range s.shut {
		names = append(names, name)
	}
	return names
}

// Ended reports whether the Session of a name is known to have ended.
func (b *Backend) Ended(session string) bool {
	if session == "" || strings.HasPrefix(session, ".") || filepath.Base(session) != session {
		return false
	}
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	o, err := b.sessions.read(filepath.Join(b.sessions.dir, session+".yaml"))
	return err == nil && o.Status.EndedAt != nil
}
