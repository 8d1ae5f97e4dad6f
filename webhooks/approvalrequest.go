package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// ErrDecided says that an approver who has decided decides again, otherwise.
var ErrDecided = errors.New("you have decided on this request already, and a decision cannot be changed")

// ErrClosed says that a request takes no more decisions.
var ErrClosed = errors.New("the request takes no more decisions")

// decisionStamper completes the decision in an update of an ApprovalRequest's status.
type decisionStamper struct{ clock clock.PassiveClock }

// Handle answers with a patch that completes the caller's decision and puts back the
// earlier ones, which a merge patch of the list replaces.
func (s decisionStamper) Handle(_ context.Context, req admission.Request) admission.Response {
	var before, after map[string]any
	if err := json.Unmarshal(req.OldObject.Raw, &before); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode the stored ApprovalRequest: %w", err))
	}
	if err := json.Unmarshal(req.Object.Raw, &after); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode ApprovalRequest: %w", err))
	}
	err := StampDecision(before, after, req.UserInfo, s.clock.Now())
	if errors.Is(err, ErrDecided) || errors.Is(err, ErrClosed) {
		return admission.Denied(err.Error())
	}
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	stamped, err := json.Marshal(after)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("encode ApprovalRequest: %w", err))
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, stamped)
}

// StampDecision completes, in after, each decision that names no approver: it becomes the
// user's, with the user's groups and now. The decisions of before are then put in front of
// it where they are missing. An update without such a decision is left as it is, for the
// admission policy to judge, and so is everything that the user wrote out in full.
//
// The same decision sent twice changes nothing. It returns ErrDecided for another one, and
// ErrClosed for a request that is consumed, withdrawn or past its time.
func StampDecision(before, after map[string]any, user authenticationv1.UserInfo, now time.Time) error {
	sent, _, err := unstructured.NestedSlice(after, "status", "decisions")
	if err != nil {
		return fmt.Errorf("read status.decisions: %w", err)
	}
	stored, _, err := unstructured.NestedSlice(before, "status", "decisions")
	if err != nil {
		return fmt.Errorf("read the stored status.decisions: %w", err)
	}

	kept := stored
	stamped := false
	for _, item := range sent {
		decision, ok := item.(map[string]any)
		switch {
		case !ok:
			return errors.New("status.decisions: each item must be an object, for example {\"decision\": \"Approved\"}")
		case unsigned(decision):
			stamped = true
			mine := sign(decision, user, now)
			earlier := find(stored, user.Username)
			if earlier != nil && !sameDecision(earlier, mine) {
				return ErrDecided
			}
			if earlier == nil {
				kept = append(kept, mine)
			}
		case !contains(stored, decision):
			kept = append(kept, decision)
		}
	}
	if !stamped {
		return nil
	}
	if err := open(before, now); err != nil {
		return err
	}
	return unstructured.SetNestedSlice(after, kept, "status", "decisions")
}

// unsigned reports whether a decision names no approver.
func unsigned(decision map[string]any) bool {
	approver, ok := decision["approver"]
	return !ok || approver == nil || approver == ""
}

// sign returns decision as the user's.
func sign(decision map[string]any, user authenticationv1.UserInfo, now time.Time) map[string]any {
	groups := make([]any, 0, len(user.Groups))
	for _, group := range user.Groups {
		groups = append(groups, group)
	}
	signed := maps.Clone(decision)
	signed["approver"] = user.Username
	signed["groups"] = groups
	signed["time"] = now.UTC().Format(time.RFC3339)
	return signed
}

// find returns the decision of the named approver, nil without one.
func find(decisions []any, approver string) map[string]any {
	for _, item := range decisions {
		if decision, ok := item.(map[string]any); ok && decision["approver"] == approver {
			return decision
		}
	}
	return nil
}

// contains reports whether decision is in the list, unchanged.
func contains(decisions []any, decision map[string]any) bool {
	for _, item := range decisions {
		if reflect.DeepEqual(item, any(decision)) {
			return true
		}
	}
	return false
}

// sameDecision reports whether an approver said the same twice.
func sameDecision(a, b map[string]any) bool {
	return a["decision"] == b["decision"] && a["comment"] == b["comment"]
}

// open returns ErrClosed, with the reason, for a request that takes no more decisions.
func open(request map[string]any, now time.Time) error {
	if _, ok, _ := unstructured.NestedFieldNoCopy(request, "status", "consumed"); ok {
		return fmt.Errorf("%w: its approval has been used", ErrClosed)
	}
	if _, ok, _ := unstructured.NestedFieldNoCopy(request, "status", "withdrawnAt"); ok {
		return fmt.Errorf("%w: the client that waited is gone", ErrClosed)
	}
	text, _, err := unstructured.NestedString(request, "spec", "expiresAt")
	if err != nil {
		return fmt.Errorf("read spec.expiresAt: %w", err)
	}
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("read spec.expiresAt: %w", err)
	}
	if !now.Before(expires) {
		return fmt.Errorf("%w: it lapsed at %s", ErrClosed, text)
	}
	return nil
}
