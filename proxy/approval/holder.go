package approval

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// MaxPending is how many requests of one grant may await a decision at a time. Replicas
// count for themselves what has not reached their listing yet, so that several of them may
// go beyond it for a moment.
const MaxPending = 10

const (
	// callTimeout bounds one call of Requests.
	callTimeout = 5 * time.Second
	// withdrawTimeout bounds what is done after the caller is gone.
	withdrawTimeout = 2 * time.Second
	// attempts bounds how often one step is tried.
	attempts = 4
	// retryAfter is the pause between two attempts.
	retryAfter = 200 * time.Millisecond
	nameLength = 5
)

// Holder is a Gate that asks with ApprovalRequests. It is safe for concurrent use.
type Holder struct {
	requests Requests
	clock    clock.Clock
	open     open
}

// NewHolder returns a Holder. Every proxy process has exactly one, since it keeps two
// sessions of the process from consuming one approval at the same time; between processes
// the resourceVersion does.
func NewHolder(requests Requests, clk clock.Clock) *Holder {
	return &Holder{requests: requests, clock: clk}
}

// Await returns nil only if enough approvers approved q and the approval was consumed for
// this very call.
func (h *Holder) Await(ctx context.Context, q Question) (Answer, error) {
	t := q.Decision.Terms
	if t == nil || q.Decision.Action != policy.RequireApproval {
		return Answer{}, failed(&q, "", errNotQuestion.Error())
	}
	mode := t.WhilePending
	if q.InTransaction {
		mode = t.InTransaction
	}
	switch mode {
	case v1alpha1.PendingWait:
		return h.wait(ctx, &q)
	case v1alpha1.PendingReject:
		return h.reject(ctx, &q)
	}
	return Answer{}, failed(&q, "", "the rule does not say whether the client waits")
}

// ask creates the request, within the grant's bound. The caller has the grant's turn.
func (h *Holder) ask(ctx context.Context, q *Question, spec *v1alpha1.ApprovalRequestSpec, g *openGrant, known []*v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	now := h.clock.Now()
	if !now.Before(spec.ExpiresAt.Time) {
		return nil, failed(q, "", "the grant ends before anybody could approve")
	}
	pending := 0
	for _, r := range known {
		if undecided(r, now) {
			pending++
		}
	}
	if pending >= MaxPending {
		return nil, &policy.Refusal{Code: policy.CodeLimit, Rule: policy.RuleName(q.Decision.Rule),
			Message: fmt.Sprintf("%d commands of grant %s await approval already", pending, spec.GrantRef.Name),
			Hint:    "wait until approvers have decided on them, then send the command again"}
	}
	for range attempts {
		r := &v1alpha1.ApprovalRequest{Spec: *spec.DeepCopy()}
		r.Namespace, r.Name = q.Admission.Grant.Namespace, rand.String(nameLength)
		created, err := call(ctx, func(ctx context.Context) (*v1alpha1.ApprovalRequest, error) { return h.requests.Create(ctx, r) })
		switch {
		case apierrors.IsAlreadyExists(err):
			continue
		case err != nil:
			// It may be there nonetheless; nobody should be asked in vain.
			h.withdraw(ctx, r.Name, spec)
			return nil, h.unreachable(ctx, q, "")
		case created.UID == "" || !isAsked(created, spec):
			h.withdraw(ctx, r.Name, spec)
			return nil, failed(q, created.Name, "the request was stored with another content than it was made with")
		}
		h.open.remember(g, created)
		return created, nil
	}
	return nil, failed(q, "", "no name for the request was free")
}

// isAsked reports whether a stored request is exactly what was asked.
func isAsked(r *v1alpha1.ApprovalRequest, spec *v1alpha1.ApprovalRequestSpec) bool {
	return sameQuestion(&r.Spec, spec) && r.Spec.GrantRef.Generation == spec.GrantRef.Generation && r.Spec.ExpiresAt.Equal(&spec.ExpiresAt)
}

// call runs one call of Requests under its own deadline.
func call[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx)
}

// pause waits between two attempts, or returns why the caller is gone.
func (h *Holder) pause(ctx context.Context) error {
	t := h.clock.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unreachable says that no answer can be had, or that the caller is gone.
func (h *Holder) unreachable(ctx context.Context, q *Question, request string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("await approval: %w", err)
	}
	return failed(q, request, "approvers cannot be asked now: the API server does not answer")
}

func failed(q *Question, request, why string) *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeApprovalFailed, Rule: policy.RuleName(q.Decision.Rule), Request: request,
		Message: fmt.Sprintf("%s asks for approval, which is not possible: %s", policy.RuleName(q.Decision.Rule), why),
		Hint:    "send the command again later, or ask an administrator"}
}

func deniedBy(q *Question, request string, v verdict) *policy.Refusal {
	r := &policy.Refusal{Code: policy.CodeApprovalDenied, Rule: policy.RuleName(q.Decision.Rule), Request: request,
		Message: fmt.Sprintf("%s denied request %s", policy.Printable(v.denier, maxUser), request),
		Hint:    "ask the approver"}
	if v.comment != "" {
		r.Message += ": " + policy.Printable(v.comment, maxValue)
	}
	return r
}

// withdraw marks a request as no longer needed, as well as that is possible: it lapses by
// itself otherwise. It outlives ctx, since the caller is mostly gone.
func (h *Holder) withdraw(ctx context.Context, name string, spec *v1alpha1.ApprovalRequestSpec) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	for range attempts {
		r, err := h.requests.Get(ctx, name)
		if err != nil || !isAsked(r, spec) || r.Status.Consumed != nil || r.Status.WithdrawnAt != nil {
			return
		}
		r = r.DeepCopy()
		r.Status.WithdrawnAt = ptr.To(metav1.NewTime(h.clock.Now()))
		if err := h.requests.UpdateStatus(ctx, r); !apierrors.IsConflict(err) {
			return
		}
	}
}
