package conditions

import (
	"errors"
	"fmt"
	"time"
)

// conflictDelay gives the cache time to show the other write.
const conflictDelay = 50 * time.Millisecond

type intent uint8

const (
	intentWaiting intent = iota
	intentStalled
)

// ErrSettled ends a reconcile early: nothing is left to do.
var ErrSettled = errors.New("settled")

// Blocked is a step's report that it cannot go on, and why. It is no failure of the
// operator: it is shown in the condition and not logged as an error.
type Blocked struct {
	// Type, Reason and Message are those of the condition that says so.
	Type, Reason, Message string
	// After is when to look again although nothing is heard; zero is never.
	After time.Duration

	intent intent
}

// Error returns reason and message.
func (b *Blocked) Error() string { return b.Reason + ": " + b.Message }

// Waiting returns a Blocked that somebody or something else will resolve. It is looked at
// again after the given time.
func Waiting(conditionType, reason string, after time.Duration, format string, a ...any) error {
	return &Blocked{Type: conditionType, Reason: reason, Message: fmt.Sprintf(format, a...), After: after}
}

// Stalled returns a Blocked that only a change by a person resolves. It is looked at again
// after the given time, because not every change is heard of.
func Stalled(conditionType, reason string, after time.Duration, format string, a ...any) error {
	return &Blocked{Type: conditionType, Reason: reason, Message: fmt.Sprintf(format, a...), After: after, intent: intentStalled}
}
