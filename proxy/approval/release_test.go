package approval

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// TestRelease breaks the write that consumes an approval. Whatever happens, a command
// goes on only if the stored request says that this very call consumed it.
func TestRelease(t *testing.T) {
	once := func(err error) func() error {
		used := false
		return func() error {
			if used {
				return nil
			}
			used = true
			return err
		}
	}
	tests := map[string]struct {
		set  func(*memory)
		want string
	}{
		"the write is done and its answer lost": {func(m *memory) { m.afterUpdate = once(context.DeadlineExceeded) }, "ok"},
		"the write is lost":                     {func(m *memory) { m.beforeUpdate = once(errBroken) }, "ok"},
		"every write is lost":                   {func(m *memory) { m.beforeUpdate = func() error { return errBroken } }, "CDA-3004"},
		"the write is forbidden":                {func(m *memory) { m.beforeUpdate = once(forbidden()) }, "CDA-3004"},
		"the answer is lost and no reading after": {func(m *memory) {
			m.afterUpdate = func() error { m.failGet = func() error { return errBroken }; return errBroken }
		}, "CDA-3004"},
		"the answer is lost and the request deleted": {func(m *memory) {
			m.afterUpdate = func() error { clear(m.stored); return errBroken }
		}, "CDA-3004"},
		"a conflict, then another's consumption": {func(m *memory) {
			m.beforeUpdate = func() error {
				for name, r := range m.stored {
					if r.Status.Consumed == nil {
						r = r.DeepCopy()
						r.Status.Consumed = &v1alpha1.ApprovalConsumption{Session: "session-9", Time: metav1.NewTime(time.Now())}
						m.put(r)
						m.stored[name] = r
					}
				}
				return nil
			}
		}, "CDA-3004"},
	}
	for name, tc := range tests {
		for _, mode := range []v1alpha1.WhilePending{v1alpha1.PendingWait, v1alpha1.PendingReject} {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory()
					h := NewHolder(m, clock.RealClock{})
					q := question(mode)
					done := make(chan error)
					go func() { _, err := h.Await(t.Context(), q); done <- err }()
					if mode == v1alpha1.PendingReject {
						if err := <-done; codeOf(err) != "CDA-3001" {
							t.Fatalf("Await() = %v, want CDA-3001", err)
						}
					}
					synctest.Wait()
					tc.set(m)
					m.change(t, m.only(t).Name, approve("ann"))
					if mode == v1alpha1.PendingReject {
						go func() { _, err := h.Await(t.Context(), q); done <- err }()
					}
					err := <-done
					want := tc.want
					if mode == v1alpha1.PendingReject && strings.Contains(name, "deleted") || mode == v1alpha1.PendingReject && strings.Contains(name, "another") {
						want = "CDA-3001" // it is asked anew
					}
					if got := codeOf(err); got != want {
						t.Fatalf("Await() = %v, want %s", err, want)
					}
					m.beforeUpdate, m.afterUpdate, m.failGet = nil, nil, nil
					passed := 0
					if err == nil {
						passed++
					}
					if mode == v1alpha1.PendingReject {
						if _, err := h.Await(t.Context(), q); err == nil {
							passed++
						}
					}
					if passed > min(1, m.consumed) {
						t.Errorf("the command passed %d times with %d consumptions", passed, m.consumed)
					}
				})
			})
		}
	}
}

// TestG5OneApprovalPassesOneCommand lets sessions of several proxies race for approvals; never do more commands pass
// than were approved.
func TestG5OneApprovalPassesOneCommand(t *testing.T) {
	for range 50 {
		m := newMemory()
		holders := []*Holder{NewHolder(m, clock.RealClock{}), NewHolder(m, clock.RealClock{})}
		q := question(v1alpha1.PendingReject)
		if _, err := holders[0].Await(t.Context(), q); codeOf(err) != "CDA-3001" {
			t.Fatal(err)
		}
		m.change(t, m.only(t).Name, approve("ann"))
		var passed atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				q := question(v1alpha1.PendingReject)
				// Four connections of one session, and four sessions.
				q.Admission.ExpiresAt = time.Now().Add(time.Hour)
				if i%2 == 0 {
					q.Session = "session-" + string(rune('2'+i))
				}
				if _, err := holders[i%2].Await(t.Context(), q); err == nil {
					passed.Add(1)
				}
			})
		}
		all.Wait()
		if passed.Load() != 1 || m.consumed != 1 {
			t.Fatalf("%d commands passed with %d consumptions, want one", passed.Load(), m.consumed)
		}
	}
}
