package approval

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Bounds of an ApprovalRequest, the same as in the API's schema. What does not fit is not
// cut but refused: approvers must see all of what they approve.
const (
	maxText       = 24576
	maxParameters = 256
	maxParameter  = 4096
	maxContext    = 16
	maxValue      = 1024
	maxUser       = 512
	maxReason     = 1024
	digestLength  = 64
)

var errNotQuestion = errors.New("the question is not complete")

// newSpec returns the request's spec for a question that is asked at now. session is
// empty for a request that returns an error to its client.
func newSpec(q *Question, session string, now time.Time) (v1alpha1.ApprovalRequestSpec, error) {
	a, t := q.Admission, q.Decision.Terms
	if a == nil || a.Grant == nil || a.Target == nil || t == nil || t.Required < 1 || q.Session == "" || len(q.Digest) != digestLength {
		return v1alpha1.ApprovalRequestSpec{}, errNotQuestion
	}
	if err := showable(q); err != nil {
		return v1alpha1.ApprovalRequestSpec{}, err
	}
	requester, creator := a.Grant.Spec.Subject.Username(), a.Grant.Annotations[v1alpha1.AnnotationCreatedBy]
	if requester == "" || utf8.RuneCountInString(requester) > maxUser || utf8.RuneCountInString(creator) > maxUser {
		return v1alpha1.ApprovalRequestSpec{}, errors.New("the grant's subject or creator cannot be told from its approvers")
	}
	context := make(map[string]v1alpha1.ContextValue, len(q.Context))
	for k, v := range q.Context {
		context[k] = v1alpha1.ContextValue(v)
	}
	// The API keeps whole seconds.
	expires := now.Add(t.Timeout.Duration)
	if a.ExpiresAt.Before(expires) {
		expires = a.ExpiresAt
	}
	return v1alpha1.ApprovalRequestSpec{
		Kind:         v1alpha1.RequestCommand,
		GrantRef:     v1alpha1.ObjectIdentity{Name: a.Grant.Name, UID: a.Grant.UID, Generation: a.Grant.Generation},
		TargetRef:    v1alpha1.ObjectIdentity{Name: a.Target.Name, UID: a.Target.UID, Generation: a.Target.Generation},
		Requester:    requester,
		GrantCreator: creator,
		Reason:       firstCharacters(a.Grant.Spec.Reason, maxReason),
		Session:      session,
		Rule:         q.Decision.Rule,
		Command:      v1alpha1.ApprovalCommand{Engine: q.Engine, Text: q.Text, Parameters: q.Parameters, Digest: q.Digest, Context: context, EstimatedRows: estimated(q)},
		Required:     t.Required,
		Approvers:    t.Approvers,
		ExpiresAt:    metav1.NewTime(expires.Truncate(time.Second)),
	}, nil
}

// showable says why approvers could not see the whole command as it is.
func showable(q *Question) error {
	if n := utf8.RuneCountInString(q.Text); n > maxText {
		return fmt.Errorf("it is longer than the %d characters that a request can show", maxText)
	}
	if len(q.Parameters) > maxParameters {
		return fmt.Errorf("it has more than the %d parameters that a request can show", maxParameters)
	}
	if len(q.Context) > maxContext {
		return errors.New("its context is larger than a request can show")
	}
	if !policy.IsPlain(q.Text) {
		return errors.New("it holds characters that approvers could not see")
	}
	for _, p := range q.Parameters {
		if utf8.RuneCountInString(p) > maxParameter {
			return fmt.Errorf("a parameter is longer than the %d characters that a request can show", maxParameter)
		}
		if !policy.IsPlain(p) {
			return errors.New("a parameter holds characters that approvers could not see")
		}
	}
	for k, v := range q.Context {
		if utf8.RuneCountInString(v) > maxValue || !policy.IsPlain(v) || !policy.IsPlain(k) {
			return fmt.Errorf("the %s is longer than a request can show, or holds characters that approvers could not see", k)
		}
	}
	return nil
}

// estimated returns how many rows a command is expected to be about, as the API has it.
func estimated(q *Question) *int64 {
	if q.EstimatedRows == nil || *q.EstimatedRows < 0 {
		return nil
	}
	n := *q.EstimatedRows
	return &n
}

// sameQuestion reports whether a stored request asks what want asks: everything but when
// it lapses, how many rows were expected, and the generation of the grant, of which the
// API lets only the end shrink.
func sameQuestion(stored, want *v1alpha1.ApprovalRequestSpec) bool {
	w := *want
	w.ExpiresAt, w.GrantRef.Generation = stored.ExpiresAt, stored.GrantRef.Generation
	w.Command.EstimatedRows = stored.Command.EstimatedRows
	return equality.Semantic.DeepEqual(*stored, w)
}

func firstCharacters(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
