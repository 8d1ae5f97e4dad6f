package conditions

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMessage is the limit that the API sets to a condition's message.
const maxMessage = 32768

// Set is the conditions of one object as they are written at one time for one generation.
type Set struct {
	List       *[]metav1.Condition
	Generation int64
	Now        time.Time
}

// True sets a condition to true.
func (s Set) True(conditionType, reason, format string, a ...any) {
	s.set(conditionType, metav1.ConditionTrue, reason, format, a...)
}

// False sets a condition to false.
func (s Set) False(conditionType, reason, format string, a ...any) {
	s.set(conditionType, metav1.ConditionFalse, reason, format, a...)
}

// Unknown sets a condition to unknown.
func (s Set) Unknown(conditionType, reason, format string, a ...any) {
	s.set(conditionType, metav1.ConditionUnknown, reason, format, a...)
}

// Remove removes a condition.
func (s Set) Remove(conditionType string) { meta.RemoveStatusCondition(s.List, conditionType) }

// Get returns a condition, nil if it is not there. It is a copy.
func (s Set) Get(conditionType string) *metav1.Condition {
	c := meta.FindStatusCondition(*s.List, conditionType)
	if c == nil {
		return nil
	}
	found := *c
	return &found
}

func (s Set) set(conditionType string, status metav1.ConditionStatus, reason, format string, a ...any) {
	message := fmt.Sprintf(format, a...)
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	meta.SetStatusCondition(s.List, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message,
		ObservedGeneration: s.Generation, LastTransitionTime: metav1.NewTime(s.Now),
	})
}
