package policy

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of a Target's limits; the API server checks the same.
const (
	minIdle      = 10 * time.Second
	minStatement = time.Second
	maxLimit     = 24 * time.Hour
)

// idleTimeout returns when a session of the Target ends because nothing was sent; 0 is never.
func (t *target) idleTimeout() time.Duration {
	if d := t.object.Spec.IdleTimeout; d != nil {
		return d.Duration
	}
	return 0
}

// checkLimits checks how long sessions may be idle and statements may run.
func checkLimits(idle, statement *metav1.Duration) error {
	for _, l := range []struct {
		field string
		value *metav1.Duration
		least time.Duration
	}{{"spec.idleTimeout", idle, minIdle}, {"spec.postgres.statementTimeout", statement, minStatement}} {
		if l.value != nil && (l.value.Duration < l.least || l.value.Duration > maxLimit) {
			return fmt.Errorf("%s: must be between %s and 24h", l.field, l.least)
		}
	}
	return nil
}
