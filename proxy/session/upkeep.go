package session

import (
	"context"
	"errors"
	"net"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

var errNobody = errors.New("the session is the gate's own and permits no command")

// ForUpkeep returns a session that no client has: it reaches a target for the gate's own
// work there, and Authorize fails on it.
func ForUpkeep(t *v1alpha1.Target, secrets Secrets, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Session {
	s := New(Config{Admission: &policy.Admission{Target: t}, Secrets: secrets, Dial: dial,
		Reachable: func(*v1alpha1.Target, error) {}, End: func(error) {}})
	s.Stop(errNobody)
	return s
}
