package approval

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

var resource = schema.GroupResource{Group: "access.cardea.dev", Resource: "approvalrequests"}

// memory keeps requests with the API server's optimistic concurrency. Its listing shows
// what was last published: at once, or only by publish where lag is set.
type memory struct {
	mu      sync.Mutex
	stored  map[string]*v1alpha1.ApprovalRequest
	listed  []*v1alpha1.ApprovalRequest
	changed chan struct{}
	version int
	lag     bool

	// faults: each may be nil. after is called when the write has been done.
	failGet, failList, failCreate, beforeUpdate func() error
	afterCreate, afterUpdate                    func() error
	consumed                                    int // successful writes of consumed
}

func newMemory() *memory {
	return &memory{stored: map[string]*v1alpha1.ApprovalRequest{}, changed: make(chan struct{})}
}

func fault(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (m *memory) publish() {
	m.listed = nil
	for _, r := range m.stored {
		m.listed = append(m.listed, r)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) put(r *v1alpha1.ApprovalRequest) {
	m.version++
	r.ResourceVersion = strconv.Itoa(m.version)
	m.stored[r.Name] = r
	if !m.lag {
		m.publish()
	}
}

func (m *memory) Create(_ context.Context, r *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := fault(m.failCreate); err != nil {
		return nil, err
	}
	if m.stored[r.Name] != nil {
		return nil, apierrors.NewAlreadyExists(resource, r.Name)
	}
	r = r.DeepCopy()
	r.UID = types.UID(fmt.Sprintf("uid-%d", m.version))
	m.put(r)
	return r, fault(m.afterCreate)
}

func (m *memory) Get(ctx context.Context, name string) (*v1alpha1.ApprovalRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := fault(m.failGet); err != nil {
		return nil, err
	}
	if m.stored[name] == nil {
		return nil, apierrors.NewNotFound(resource, name)
	}
	return m.stored[name], ctx.Err()
}

func (m *memory) List(_ context.Context, grantUID string) ([]*v1alpha1.ApprovalRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rs []*v1alpha1.ApprovalRequest
	for _, r := range m.listed {
		if string(r.Spec.GrantRef.UID) == grantUID {
			rs = append(rs, r)
		}
	}
	return rs, fault(m.failList)
}

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *memory) UpdateStatus(ctx context.Context, r *v1alpha1.ApprovalRequest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := fault(m.beforeUpdate); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	old := m.stored[r.Name]
	switch {
	case old == nil:
		return apierrors.NewNotFound(resource, r.Name)
	case old.ResourceVersion != r.ResourceVersion:
		return apierrors.NewConflict(resource, r.Name, errors.New("the object has been modified"))
	}
	if r.Status.Consumed != nil && old.Status.Consumed == nil {
		m.consumed++
	}
	updated := old.DeepCopy()
	updated.Status = *r.Status.DeepCopy()
	m.put(updated)
	return fault(m.afterUpdate)
}

// change changes the stored request as somebody else would.
func (m *memory) change(t *testing.T, name string, change func(*v1alpha1.ApprovalRequest)) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stored[name] == nil {
		t.Fatalf("no request %q", name)
	}
	r := m.stored[name].DeepCopy()
	change(r)
	m.put(r)
}

func (m *memory) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.stored, name)
	m.publish()
}

func (m *memory) all() []*v1alpha1.ApprovalRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rs []*v1alpha1.ApprovalRequest
	for _, r := range m.stored {
		rs = append(rs, r)
	}
	return rs
}

func (m *memory) only(t *testing.T) *v1alpha1.ApprovalRequest {
	t.Helper()
	rs := m.all()
	if len(rs) != 1 {
		t.Fatalf("%d requests, want one", len(rs))
	}
	return rs[0]
}

func decide(user string, d v1alpha1.DecisionValue, groups ...string) func(*v1alpha1.ApprovalRequest) {
	return func(r *v1alpha1.ApprovalRequest) {
		now := metav1.NewTime(time.Now())
		r.Status.Decisions = append(r.Status.Decisions, v1alpha1.ApprovalDecision{Approver: user, Groups: groups, Decision: d, Comment: "be\x1b[31mcause", Time: &now})
	}
}

func approve(user string) func(*v1alpha1.ApprovalRequest) {
	return decide(user, v1alpha1.DecisionApproved, "dba")
}

func forbidden() error { return apierrors.NewForbidden(resource, "", errors.New("no")) }
