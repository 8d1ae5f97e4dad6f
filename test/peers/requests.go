package peers

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Requests keeps ApprovalRequests with the API server's optimistic concurrency.
type Requests struct {
	mu      sync.Mutex
	stored  map[string]*v1alpha1.ApprovalRequest
	changed chan struct{}
	version int
}

// NewRequests returns an empty store.
func NewRequests() *Requests {
	return &Requests{stored: map[string]*v1alpha1.ApprovalRequest{}, changed: make(chan struct{})}
}

var resource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "approvalrequests"}

func (s *Requests) put(r *v1alpha1.ApprovalRequest) {
	s.version++
	r.ResourceVersion = strconv.Itoa(s.version)
	s.stored[r.Name] = r
	close(s.changed)
	s.changed = make(chan struct{})
}

// Create implements approval.Requests.
func (s *Requests) Create(_ context.Context, r *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = r.DeepCopy()
	if r.Name == "" {
		r.Name = rand.String(5)
	}
	if s.stored[r.Name] != nil {
		return nil, apierrors.NewAlreadyExists(resource, r.Name)
	}
	r.UID, r.CreationTimestamp = types.UID("uid-"+r.Name), metav1.Now()
	s.put(r)
	return r, nil
}

// Get implements approval.Requests.
func (s *Requests) Get(_ context.Context, name string) (*v1alpha1.ApprovalRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.stored[name]; r != nil {
		return r.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(resource, name)
}

// List implements approval.Requests.
func (s *Requests) List(_ context.Context, grantUID string) ([]*v1alpha1.ApprovalRequest, error) {
	var list []*v1alpha1.ApprovalRequest
	for _, r := range s.All() {
		if string(r.Spec.GrantRef.UID) == grantUID {
			list = append(list, r)
		}
	}
	return list, nil
}

// All returns every request.
func (s *Requests) All() []*v1alpha1.ApprovalRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*v1alpha1.ApprovalRequest
	for _, r := range s.stored {
		list = append(list, r.DeepCopy())
	}
	return list
}

// Changed implements approval.Requests.
func (s *Requests) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// UpdateStatus implements approval.Requests.
func (s *Requests) UpdateStatus(_ context.Context, r *v1alpha1.ApprovalRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.stored[r.Name]
	switch {
	case old == nil:
		return apierrors.NewNotFound(resource, r.Name)
	case old.ResourceVersion != r.ResourceVersion:
		return apierrors.NewConflict(resource, r.Name, errors.New("the object has been modified"))
	}
	r = r.DeepCopy()
	s.put(r)
	return nil
}

// Decide adds a decision of a user to a request, as the API server would stamp it.
func (s *Requests) Decide(name, approver string, groups []string, d v1alpha1.DecisionValue, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.stored[name].DeepCopy()
	at := metav1.NewTime(now)
	r.Status.Decisions = append(r.Status.Decisions, v1alpha1.ApprovalDecision{Approver: approver, Groups: groups, Decision: d, Time: &at})
	s.put(r)
}
