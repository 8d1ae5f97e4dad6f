package kubernetes

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/proxy/policy"
)

// Types of the causes in a refusal's Status, beside the code itself.
const (
	causeRule    metav1.CauseType = "CardeaRule"
	causeRequest metav1.CauseType = "CardeaApprovalRequest"
)

// refuse answers a request with a Status that says why it is refused. An error that is no
// refusal is not for clients.
func refuse(w http.ResponseWriter, reason error) {
	status := statusOf(reason)
	// A Status holds strings and numbers alone.
	body, err := json.Marshal(status)
	if err != nil {
		body = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(body)
}

func statusOf(reason error) *metav1.Status {
	refusal := new(policy.Refusal)
	if !errors.As(reason, &refusal) {
		refusal = &policy.Refusal{Code: policy.CodeShutdown, Message: "the session ended", Hint: "try again"}
	}
	s := &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Message: refusal.Error(),
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseType(refusal.Code), Message: refusal.Message}}},
	}
	if refusal.Hint != "" {
		s.Message += " (" + refusal.Hint + ")"
	}
	if refusal.Rule != "" {
		s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Type: causeRule, Message: refusal.Rule})
	}
	if refusal.Request != "" {
		s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Type: causeRequest, Message: refusal.Request})
	}
	s.Code, s.Reason = http.StatusForbidden, metav1.StatusReasonForbidden
	switch refusal.Code {
	case policy.CodeAuthentication:
		s.Code, s.Reason = http.StatusUnauthorized, metav1.StatusReasonUnauthorized
	case policy.CodeLimit:
		s.Code, s.Reason = http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge
	case policy.CodeUpstream, policy.CodeStale, policy.CodeRecorder, policy.CodeShutdown, policy.CodeTargetShut:
		s.Code, s.Reason = http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable
	default: // whatever else there is, the request is forbidden
	}
	return s
}
