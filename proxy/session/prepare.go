package session

import (
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Prepared records a command that reaches the target to be prepared, and is not executed
// by that: each execution needs Authorize. It is not called for one whose execution is
// authorized before anything is sent. An error ends the session.
func (s *Session) Prepared(c *policy.Command) error {
	if err := s.stopCause(); err != nil {
		return err
	}
	rec := s.describe(s.c.Commands.Add(1), c)
	rec.Decision = "Prepared"
	return s.record(rec.asEvent())
}
