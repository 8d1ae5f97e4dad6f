package approval

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

var (
	// errUndecided says that a request still awaits decisions.
	errUndecided = errors.New("the request is not decided")
	// errGone says that a request can no longer be used, by anybody.
	errGone = errors.New("the request can no longer be used")
)

// consume uses up the approval of known for this call, or says why it cannot. Everything
// is judged on the object as the authority holds it, and the write succeeds only on that
// very object.
//
// A write whose outcome is unknown is tried again on the same object: at most one of both
// can succeed. That the stored consumption is this call's own is then proven by its
// session and by nobody else in this process being able to consume known: a request that
// holds a client belongs to one call, any other is consumed within the grant's turn. If
// the outcome stays unknown, nobody may use the approval any more.
func (h *Holder) consume(ctx context.Context, q *Question, g *openGrant, known *v1alpha1.ApprovalRequest) (Answer, error) {
	mark := v1alpha1.ApprovalConsumption{Session: q.Session, Time: metav1.NewTime(h.clock.Now()).Rfc3339Copy()}
	unsure := false
	defer func() {
		if unsure {
			h.open.spoil(g, known)
		}
	}()
	for i := range attempts {
		if i > 0 && h.pause(ctx) != nil {
			break
		}
		r, err := call(ctx, func(ctx context.Context) (*v1alpha1.ApprovalRequest, error) { return h.requests.Get(ctx, known.Name) })
		if apierrors.IsNotFound(err) {
			return Answer{}, fmt.Errorf("%w: it was deleted", errGone)
		} else if err != nil {
			continue
		}
		if c := r.Status.Consumed; unsure && r.UID == known.UID && c != nil && c.Session == mark.Session && c.Time.Equal(&mark.Time) {
			unsure = false
			return Answer{Request: r.Name, Approvers: tally(r).approvers}, nil
		}
		v, err := h.judge(q, known, r)
		if err != nil {
			return Answer{}, err
		}
		r = r.DeepCopy()
		r.Status.Consumed = &mark
		_, err = call(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, h.requests.UpdateStatus(ctx, r) })
		switch {
		case err == nil:
			unsure = false
			return Answer{Request: r.Name, Approvers: v.approvers}, nil
		case apierrors.IsConflict(err):
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsNotFound(err):
			return Answer{}, failed(q, r.Name, fmt.Sprintf("the approval of request %s could not be used up", r.Name))
		default:
			unsure = true
		}
	}
	return Answer{}, h.unreachable(ctx, q, known.Name)
}

// judge says whether r, read from the authority, is the request that known was and is
// approved.
func (h *Holder) judge(q *Question, known, r *v1alpha1.ApprovalRequest) (verdict, error) {
	if r.UID != known.UID || r.Name != known.Name || !isAsked(r, &known.Spec) {
		return verdict{}, fmt.Errorf("%w: it is not the one that was made", errGone)
	}
	if r.Status.Consumed != nil {
		return verdict{}, fmt.Errorf("%w: its approval was used up already", errGone)
	}
	v := tally(r)
	switch {
	case v.denied:
		return verdict{}, deniedBy(q, r.Name, v)
	case !h.clock.Now().Before(r.Spec.ExpiresAt.Time):
		return verdict{}, timedOut(q, r)
	case !usable(r, h.clock.Now()):
		return verdict{}, fmt.Errorf("%w: it was withdrawn or deleted", errGone)
	case !v.approved:
		return verdict{}, errUndecided
	}
	return v, nil
}

// pending tells the client of a command that was not held what to do.
func pending(q *Question, r *v1alpha1.ApprovalRequest) *policy.Refusal {
	message := fmt.Sprintf("%s asks for approval: request %s awaits it", policy.RuleName(q.Decision.Rule), r.Name)
	if q.Decision.Message != "" {
		message += ": " + policy.Printable(q.Decision.Message, maxValue)
	}
	return &policy.Refusal{Code: policy.CodeApprovalPending, Rule: policy.RuleName(q.Decision.Rule), Request: r.Name, Message: message,
		Hint: fmt.Sprintf("have ApprovalRequest %s in namespace %s approved before %s, then send the very same command again; it passes once",
			r.Name, q.Admission.Grant.Namespace, r.Spec.ExpiresAt.UTC().Format("2006-01-02T15:04:05Z"))}
}
