package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// keptRequests is how many ApprovalRequests are kept; beyond it those that lapsed long ago
// go first.
const keptRequests = 500

var requestResource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "approvalrequests"}

// requests keeps ApprovalRequests. What was asked, and whether it was consumed or
// withdrawn, is kept apart from the file that approvers edit; of that file only the
// decisions count. So an editor that saves an old copy cannot make an approval good for
// a second use.
type requests struct {
	b *Backend

	mu    sync.Mutex
	asked map[string]*v1alpha1.ApprovalRequest
	said  map[string]string // the last complaint about each file
}

func (q *requests) statePath() string { return filepath.Join(q.b.c.Dir, ".state", "approvals.json") }

func (q *requests) path(name string) string {
	return filepath.Join(q.b.c.Dir, ".approvals", name+".yaml")
}

func (q *requests) load(b *Backend) error {
	q.b, q.asked, q.said = b, map[string]*v1alpha1.ApprovalRequest{}, map[string]string{}
	content, err := recording.ReadWhole(q.statePath(), maxState)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(content, &q.asked)
	}
	if err != nil {
		return fmt.Errorf(".state/approvals.json is damaged (%w); remove it to forget what was approved", err)
	}
	return nil
}

// save keeps what was asked. The caller holds the lock.
func (q *requests) save() error {
	content, err := json.Marshal(q.asked)
	if err != nil {
		return err
	}
	return writeFile(q.statePath(), content, 0o600)
}

// show writes the file that approvers edit. The caller holds the lock.
func (q *requests) show(r *v1alpha1.ApprovalRequest) error {
	shown := r.DeepCopy()
	shown.ResourceVersion = ""
	setState(shown)
	content, err := yaml.Marshal(shown)
	if err != nil {
		return err
	}
	return writeFile(q.path(r.Name), content, 0o600)
}

// setState sets the condition that readers go by.
func setState(r *v1alpha1.ApprovalRequest) {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPending,
		Message: "add your decision to status.decisions: approver, groups, decision (Approved or Denied), comment"}
	switch {
	case r.Status.Consumed != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonConsumed, "the command was forwarded"
	case r.Status.WithdrawnAt != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonWithdrawn, "the client no longer waits"
	}
	meta.SetStatusCondition(&r.Status.Conditions, c)
}

// Create implements approval.Requests.
func (b *Backend) Create(ctx context.Context, r *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	q := &b.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	stored := r.DeepCopy()
	if stored.Name == "" {
		stored.Name = string(uuid.NewUUID())
	}
	if q.asked[stored.Name] != nil {
		return nil, apierrors.NewAlreadyExists(requestResource, stored.Name)
	}
	now := metav1.NewTime(b.c.Clock.Now().Truncate(time.Second))
	stored.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ApprovalRequest"}
	stored.UID, stored.CreationTimestamp, stored.Generation = uuid.NewUUID(), now, 1
	stored.Status = v1alpha1.ApprovalRequestStatus{}
	q.prune(now.Time)
	q.asked[stored.Name] = stored
	err := q.save()
	if err == nil {
		err = q.show(stored)
	}
	if err != nil {
		delete(q.asked, stored.Name)
		return nil, fmt.Errorf("create ApprovalRequest: %w", err)
	}
	q.b.c.Log.Info(fmt.Sprintf("A %s awaits approval: edit the file's status", strings.ToLower(string(stored.Spec.Kind))), "ApprovalRequest", stored.Name, "file", q.path(stored.Name))
	return q.get(ctx, stored.Name)
}

// prune forgets old requests. The caller holds the lock.
func (q *requests) prune(now time.Time) {
	if len(q.asked) < keptRequests {
		return
	}
	names := make([]string, 0, len(q.asked))
	for name, r := range q.asked {
		if now.After(r.Spec.ExpiresAt.Time) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return q.asked[a].Spec.ExpiresAt.Compare(q.asked[b].Spec.ExpiresAt.Time)
	})
	for _, name := range names[:min(len(names), len(q.asked)-keptRequests+1)] {
		delete(q.asked, name)
		delete(q.said, name)
		_ = os.Remove(q.path(name))
	}
}

// Get implements approval.Requests.
func (b *Backend) Get(ctx context.Context, name string) (*v1alpha1.ApprovalRequest, error) {
	b.requests.mu.Lock()
	defer b.requests.mu.Unlock()
	return b.requests.get(ctx, name)
}

// get returns a request with the decisions of its file. The caller holds the lock.
func (q *requests) get(ctx context.Context, name string) (*v1alpha1.ApprovalRequest, error) {
	asked := q.asked[name]
	if asked == nil {
		return nil, apierrors.NewNotFound(requestResource, name)
	}
	content, err := recording.ReadWhole(q.path(name), 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return nil, apierrors.NewNotFound(requestResource, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read ApprovalRequest: %w", err)
	}
	r := asked.DeepCopy()
	edited := new(v1alpha1.ApprovalRequest)
	if err := q.b.decoder.Validate(ctx, content, edited, asked); err != nil {
		if q.said[name] != err.Error() {
			q.said[name] = err.Error()
			q.b.c.Log.Error(nil, "ApprovalRequest "+name+" was edited wrongly and counts as undecided: "+err.Error())
		}
	} else {
		r.Status.Decisions = edited.Status.Decisions
	}
	used, err := json.Marshal([]any{asked.Status.Consumed, asked.Status.WithdrawnAt})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(used, content...))
	r.ResourceVersion = hex.EncodeToString(sum[:])
	return r, nil
}

// List implements approval.Requests.
func (b *Backend) List(ctx context.Context, grantUID string) ([]*v1alpha1.ApprovalRequest, error) {
	q := &b.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*v1alpha1.ApprovalRequest
	for name, r := range q.asked {
		if string(r.Spec.GrantRef.UID) != grantUID {
			continue
		}
		r, err := q.get(ctx, name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// UpdateStatus implements approval.Requests.
func (b *Backend) UpdateStatus(ctx context.Context, r *v1alpha1.ApprovalRequest) error {
	q := &b.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	current, err := q.get(ctx, r.Name)
	if err != nil {
		return err
	}
	if current.ResourceVersion != r.ResourceVersion || current.UID != r.UID {
		return apierrors.NewConflict(requestResource, r.Name, errors.New("the file was edited meanwhile"))
	}
	asked := q.asked[r.Name]
	before := asked.Status
	asked.Status = v1alpha1.ApprovalRequestStatus{Consumed: r.Status.Consumed, WithdrawnAt: r.Status.WithdrawnAt}
	if err := q.save(); err != nil {
		asked.Status = before
		return fmt.Errorf("update ApprovalRequest: %w", err)
	}
	current.Status.Consumed, current.Status.WithdrawnAt = r.Status.Consumed, r.Status.WithdrawnAt
	if err := q.show(current); err != nil {
		b.c.Log.Error(err, "Cannot show what became of an ApprovalRequest", "ApprovalRequest", r.Name)
	}
	b.changes.announce()
	return nil
}
