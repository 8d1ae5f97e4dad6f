package recording_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/recorder"
)

// library is many recordings in memory.
type library map[string]shelf

func (l library) List(ctx context.Context, session string) ([]recording.Ref, error) {
	return l[session].List(ctx, session)
}

func (l library) Get(ctx context.Context, session string, ref recording.Ref) (recording.Segment, error) {
	return l[session].Get(ctx, session, ref)
}

// load reads everything that a folder holds.
func load(t testing.TB, store *dir.Store) library {
	t.Helper()
	sessions, err := store.Sessions()
	if err != nil {
		t.Fatal(err)
	}
	l := library{}
	for _, session := range sessions {
		refs, err := store.List(t.Context(), session)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			s, err := store.Get(t.Context(), session, ref)
			if err != nil {
				t.Fatal(err)
			}
			l[session] = append(l[session], s)
		}
		slices.SortFunc(l[session], func(a, b recording.Segment) int { return a.Index - b.Index })
	}
	return l
}

// makeLibrary records n sessions, one after the other, s1 and so on.
func makeLibrary(t *testing.T, n int) library {
	t.Helper()
	f := newFixture(t, options{limits: quick()})
	for i := range n {
		f.session(fmt.Sprintf("s%d", i+1))
	}
	return load(t, f.store)
}

// session records a whole session.
func (f *fixture) session(name string) {
	f.t.Helper()
	r := f.open(name)
	f.record(r, 2, "select 1")
	if err := r.Close("ClientClosed"); err != nil {
		f.t.Fatal(err)
	}
	f.drain()
}

// audit verifies the recordings and returns all that is wrong.
func audit(t *testing.T, a *recording.Audit, l library, anchors map[string]recording.Anchor) []string {
	t.Helper()
	names := slices.Collect(maps.Keys(l))
	for name := range anchors {
		if l[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var wrong []string
	for _, name := range names {
		r, err := a.Verify(t.Context(), l, name, anchors[name], nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Problems {
			wrong = append(wrong, name+": "+p.String())
		}
	}
	for _, c := range a.Chains() {
		for _, p := range c.Problems {
			wrong = append(wrong, c.Name()+": "+p)
		}
	}
	return wrong
}

func TestAudit(t *testing.T) {
	all, others := makeLibrary(t, 5), makeLibrary(t, 5)
	final := func(l library, name string) *recording.Segment { return &l[name][len(l[name])-1] }
	anchor := func(name string) recording.Anchor {
		s := final(all, name)
		return recording.Anchor{Segments: len(all[name]), Digest: s.Digest, Ended: true, Recorder: s.Manifest.Recorder, Number: s.Manifest.Number, EndedAt: s.Manifest.Ended}
	}
	anchors := map[string]recording.Anchor{}
	for name := range all {
		anchors[name] = anchor(name)
	}
	soon := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		tamper  func(l library)
		anchors map[string]recording.Anchor
		kept    time.Time
		want    []string // each in one of the problems, and as many
	}{
		"untouched":                    {func(library) {}, anchors, time.Time{}, nil},
		"without Sessions":             {func(library) {}, nil, time.Time{}, nil},
		"deleted":                      {func(l library) { delete(l, "s3") }, nil, time.Time{}, []string{"session number 3 is missing"}},
		"several deleted":              {func(l library) { delete(l, "s3"); delete(l, "s2") }, nil, time.Time{}, []string{"sessions number 2 to 3 are missing"}},
		"deleted, with its Session":    {func(l library) { delete(l, "s3") }, anchors, time.Time{}, []string{"s3: segment 0: missing", "session s3, number 3, is missing"}},
		"the last, with its Session":   {func(l library) { delete(l, "s5") }, anchors, time.Time{}, []string{"s5: segment 0: missing", "session s5, number 5, is missing"}},
		"deleted when its time came":   {func(l library) { delete(l, "s1"); delete(l, "s3") }, nil, soon, nil},
		"the same, with its Session":   {func(l library) { delete(l, "s3") }, anchors, soon, nil},
		"the first ones":               {func(l library) { delete(l, "s1"); delete(l, "s2") }, nil, time.Time{}, nil},
		"not final any more":           {func(l library) { l["s3"] = l["s3"][:len(l["s3"])-1] }, nil, time.Time{}, []string{"session number 3 is missing"}},
		"under another name":           {func(l library) { l["s6"] = l["s2"].clone() }, nil, time.Time{}, []string{`is of session "s2"`}},
		"two swapped":                  {func(l library) { l["s2"], l["s3"] = l["s3"], l["s2"] }, nil, time.Time{}, []string{`is of session "s3"`, `is of session "s2"`}},
		"of another recorder":          {func(l library) { l["s3"] = others["s3"] }, nil, time.Time{}, []string{"session number 3 is missing"}},
		"of another, with its Session": {func(l library) { l["s3"] = others["s3"] }, anchors, time.Time{}, []string{"the Session says that its digest", "and the Session says number 3 of", "session number 3 is missing"}},
		"number given twice": {func(l library) {
			l["s9"] = all["s3"].clone()
			for i := range l["s9"] {
				l["s9"][i].Session = "s9"
			}
			s := final(l, "s9")
			m := *s.Manifest
			s.Manifest = &m
			l["s9"].seal()
		}, nil, time.Time{}, []string{"number 3 was given twice, to session s3 and to session s9: the chain is forked"}},
		"manifest replaced": {func(l library) {
			s := final(l, "s3")
			m := *s.Manifest
			m.Denied, m.Commands, m.Reason = 7, 9, "Other"
			s.Manifest = &m
			l["s3"].seal()
		}, nil, time.Time{}, []string{"its manifest counts", `ended with "Other"`, "session s4, number 4, follows a recording with the digest"}},
		"manifest of another session": {func(l library) { final(l, "s3").Manifest = final(l, "s2").Manifest }, nil, time.Time{}, []string{"was altered: its signature"}},
		"another place": {func(l library) {
			s := final(l, "s3")
			m := *s.Manifest
			m.Number, m.Preceding = 1, ""
			s.Manifest = &m
			l["s3"].seal()
		}, nil, time.Time{}, []string{"number 1 was given twice", "session number 3 is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := library{}
			for session, s := range all {
				l[session] = s.clone()
			}
			c.tamper(l)
			wrong := audit(t, &recording.Audit{Trust: trust(t, recorder.Bundle()), Kept: func(string) time.Time { return c.kept }}, l, c.anchors)
			for _, want := range c.want {
				if !strings.Contains(strings.Join(wrong, "\n"), want) {
					t.Errorf("nothing says %q", want)
				}
			}
			if len(c.want) == 0 && len(wrong) > 0 || len(c.want) > 0 && len(wrong) == 0 {
				t.Errorf("%d problems", len(wrong))
			}
			if t.Failed() {
				t.Log(strings.Join(wrong, "\n"))
			}
		})
	}
}

// TestChainSurvives: a restart goes on where the last process was, another spool is another
// recorder, and each store has a chain of its own.
func TestChainSurvives(t *testing.T) {
	root, stores := t.TempDir(), t.TempDir()
	for i := range 3 {
		f := newFixture(t, options{dir: root, stores: stores, limits: quick()})
		f.session(fmt.Sprintf("s%d", i))
		if i == 1 {
			f.open("cut") // is closed by the next
		}
		f.stop()
	}
	f := newFixture(t, options{stores: stores, limits: quick()})
	f.session("elsewhere")
	s := started("audited")
	s.Store = "audit"
	r, err := f.spool.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	var a recording.Audit
	if wrong := audit(t, &a, load(t, f.store), nil); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
	got := map[string]int{}
	for _, c := range a.Chains() {
		if c.First != 1 || c.Last != uint64(c.Recordings) {
			t.Errorf("%+v", c)
		}
		got[fmt.Sprintf("%q %d", c.Store, c.Recordings)]++
	}
	if want := map[string]int{`"" 4`: 1, `"" 1`: 1, `"audit" 1`: 1}; !maps.Equal(got, want) {
		t.Errorf("chains %v, want %v", got, want)
	}
	_, cut := f.read("cut")
	if m := cut.Manifest; m == nil || !m.Recovered || m.Reason != recording.ReasonCut || m.Commands != 0 || m.Events != 2 {
		t.Errorf("the manifest of a session that was cut: %+v", m)
	}
}

// TestChainIsKeptFirst: a recording that cannot have its place noted is not stored, and the
// place is the next one's.
func TestChainIsKeptFirst(t *testing.T) {
	root := t.TempDir()
	f := newFixture(t, options{dir: root, limits: quick()})
	obstacle := filepath.Join(root, "v1", "chain")
	if err := os.MkdirAll(filepath.Join(obstacle, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := f.open("s1")
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := f.spool.Drain(ctx); err == nil {
		t.Error("stored without a place in the chain")
	}
	if err := os.RemoveAll(obstacle); err != nil {
		t.Fatal(err)
	}
	f.drain()
	f.session("s2")
	if wrong := audit(t, &recording.Audit{}, load(t, f.store), nil); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
	if _, r := f.read("s2"); r.Manifest.Number != 2 {
		t.Errorf("number %d", r.Manifest.Number)
	}
}
