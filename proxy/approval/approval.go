// Package approval holds one command until humans decide on it.
//
// An approval is bound to the exact bytes of a command, its parameters and its context,
// is counted by the proxy itself, and is consumed, once, before the command goes on.
package approval

import (
	"context"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Requests is where ApprovalRequests live. Implementations are safe for concurrent use.
// Objects that they return are shared and never modified. Errors are those of
// k8s.io/apimachinery/pkg/api/errors where they tell of a missing object, one that is
// there already, or a conflict; with any other error the outcome is unknown.
type Requests interface {
	// Create makes a request; the name is generated if empty. It returns the stored object.
	Create(ctx context.Context, r *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error)
	// Get returns the stored object, read from the authority and not from a cache.
	Get(ctx context.Context, name string) (*v1alpha1.ApprovalRequest, error)
	// List returns the requests of a grant by its UID; it may come from a cache.
	List(ctx context.Context, grantUID string) ([]*v1alpha1.ApprovalRequest, error)
	// Changed returns a channel that is closed when any request changed since the call.
	Changed() <-chan struct{}
	// UpdateStatus replaces the status of r and fails if the stored object is not of
	// r's resourceVersion. The proxy uses it for consumed and withdrawnAt alone.
	UpdateStatus(ctx context.Context, r *v1alpha1.ApprovalRequest) error
}
