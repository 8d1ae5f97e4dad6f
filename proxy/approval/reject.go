package approval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// reject lets a command pass that was approved before, and otherwise returns an error that
// names the request to approve. All of it happens in the grant's turn, so that two equal
// commands neither ask twice nor use one approval.
func (h *Holder) reject(ctx context.Context, q *Question) (Answer, error) {
	now := h.clock.Now()
	spec, err := newSpec(q, "", now)
	if err != nil {
		return Answer{}, failed(q, "", err.Error())
	}
	g, err := h.open.enter(ctx, spec.GrantRef.UID, now)
	if err != nil {
		return Answer{}, fmt.Errorf("await approval: %w", err)
	}
	defer h.open.leave(g)
	known, err := h.list(ctx, q, g)
	if err != nil {
		return Answer{}, err
	}
	same := h.same(q, g, known, &spec)
	for _, r := range same {
		answer, err := h.consume(ctx, q, g, r)
		switch {
		case errors.Is(err, errUndecided):
			return Answer{}, pending(q, r)
		case errors.Is(err, errGone):
			h.open.forget(g, r.Name)
		case err != nil:
			return Answer{}, err
		default:
			h.open.forget(g, r.Name)
			return answer, nil
		}
	}
	r, err := h.ask(ctx, q, &spec, g, known)
	if err != nil {
		return Answer{}, err
	}
	return Answer{}, pending(q, r)
}

// same returns the usable requests that ask the same question: denied ones first, for two
// replicas may have asked at the same time and one denial decides, then approved ones, then
// those that await decisions.
func (h *Holder) same(q *Question, g *openGrant, known []*v1alpha1.ApprovalRequest, spec *v1alpha1.ApprovalRequestSpec) []*v1alpha1.ApprovalRequest {
	now := h.clock.Now()
	latest := now.Add(q.Decision.Terms.Timeout.Duration + time.Second)
	var same []*v1alpha1.ApprovalRequest
	for _, r := range known {
		if usable(r, now) && sameQuestion(&r.Spec, spec) && r.Spec.ExpiresAt.Time.Before(latest) && !h.open.isSpoiled(g, r) {
			same = append(same, r)
		}
	}
	slices.SortFunc(same, func(a, b *v1alpha1.ApprovalRequest) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	return same
}

func rank(r *v1alpha1.ApprovalRequest) int {
	switch v := tally(r); {
	case v.denied:
		return 0
	case v.approved:
		return 1
	}
	return 2
}
