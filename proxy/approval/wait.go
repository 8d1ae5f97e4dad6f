package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// wait holds the client until the decision. The request is bound to the session, so that
// nobody else can use its approval.
func (h *Holder) wait(ctx context.Context, q *Question) (Answer, error) {
	spec, err := newSpec(q, q.Session, h.clock.Now())
	if err != nil {
		return Answer{}, failed(q, "", err.Error())
	}
	g, r, err := h.askInTurn(ctx, q, &spec)
	if err != nil {
		return Answer{}, err
	}
	defer h.open.forget(g, r.Name)
	answer, err := h.awaitDecision(ctx, q, g, r)
	if refusal := new(policy.Refusal); err != nil &&
		!(errors.As(err, &refusal) && (refusal.Code == policy.CodeApprovalDenied || refusal.Code == policy.CodeApprovalTimeout)) {
		h.withdraw(ctx, r.Name, &spec)
	}
	return answer, err
}

func (h *Holder) askInTurn(ctx context.Context, q *Question, spec *v1alpha1.ApprovalRequestSpec) (*openGrant, *v1alpha1.ApprovalRequest, error) {
	g, err := h.open.enter(ctx, spec.GrantRef.UID, h.clock.Now())
	if err != nil {
		return nil, nil, fmt.Errorf("await approval: %w", err)
	}
	defer h.open.leave(g)
	known, err := h.list(ctx, q, g)
	if err != nil {
		return nil, nil, err
	}
	r, err := h.ask(ctx, q, spec, g, known)
	return g, r, err
}

func (h *Holder) list(ctx context.Context, q *Question, g *openGrant) ([]*v1alpha1.ApprovalRequest, error) {
	listed, err := call(ctx, func(ctx context.Context) ([]*v1alpha1.ApprovalRequest, error) {
		return h.requests.List(ctx, string(q.Admission.Grant.UID))
	})
	if err != nil {
		return nil, h.unreachable(ctx, q, "")
	}
	// What is asked about the grant itself is not the gate's, and takes no room here.
	listed = slices.DeleteFunc(slices.Clone(listed), func(r *v1alpha1.ApprovalRequest) bool { return r.Spec.Kind == v1alpha1.RequestGrant })
	return h.open.merge(g, listed), nil
}

// awaitDecision tells the client of r and waits. What a listing shows only says when to
// read r from the authority.
func (h *Holder) awaitDecision(ctx context.Context, q *Question, g *openGrant, r *v1alpha1.ApprovalRequest) (Answer, error) {
	lapse := h.clock.NewTimer(r.Spec.ExpiresAt.Sub(h.clock.Now()))
	defer lapse.Stop()
	if q.Pending != nil {
		if err := q.Pending(r.Name, r.Spec.ExpiresAt.Time); err != nil {
			return Answer{}, fmt.Errorf("tell the client of request %s: %w", r.Name, err)
		}
	}
	seen, listed := r.ResourceVersion, false
	for {
		changed := h.requests.Changed()
		version, found, err := h.version(ctx, r)
		if err != nil || found && version != seen || listed && !found {
			answer, err := h.consume(ctx, q, g, r)
			if errors.Is(err, errGone) {
				return Answer{}, failed(q, r.Name, err.Error())
			}
			if !errors.Is(err, errUndecided) {
				return answer, err
			}
			seen = version
		}
		listed = listed || found
		select {
		case <-changed:
		case <-lapse.C():
			return Answer{}, timedOut(q, r)
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("await approval of request %s: %w", r.Name, ctx.Err())
		}
	}
}

// version returns the resourceVersion of r in a listing.
func (h *Holder) version(ctx context.Context, r *v1alpha1.ApprovalRequest) (version string, found bool, err error) {
	listed, err := call(ctx, func(ctx context.Context) ([]*v1alpha1.ApprovalRequest, error) {
		return h.requests.List(ctx, string(r.Spec.GrantRef.UID))
	})
	if err != nil {
		return "", false, err
	}
	i := slices.IndexFunc(listed, func(l *v1alpha1.ApprovalRequest) bool { return l.Name == r.Name })
	if i < 0 {
		return "", false, nil
	}
	return listed[i].ResourceVersion, true, nil
}

func timedOut(q *Question, r *v1alpha1.ApprovalRequest) *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeApprovalTimeout, Rule: policy.RuleName(q.Decision.Rule), Request: r.Name,
		Message: fmt.Sprintf("nobody approved request %s in time", r.Name), Hint: "send the command again to ask again"}
}
