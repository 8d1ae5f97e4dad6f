// Package ports hands out TCP ports of the loopback interface to the servers of tests. A
// port that the system picks can go to somebody else before the server listens on it, and
// again while the server restarts, since the local ends of connections are picked from the
// same range. These are below that range, and no two processes get the same.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports that the system does not pick, nor Kubernetes for its nodes.
const (
	lowest  = 12_000
	highest = 29_999
)

// held keeps the names of the ports that were taken from being collected, and closed.
var (
	mu   sync.Mutex
	held []*net.UnixListener
)

// Take returns a port on which nothing listens, for this process to keep until it ends.
func Take() (int, error) {
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest+1) //nolint:gosec // a port is no secret
		if taken(port) {
			return port, nil
		}
	}
	return 0, errors.New("no TCP port is free")
}

// taken takes a port by a name that one process alone can have, which the system takes back
// when the process ends.
func taken(port int) bool {
	name, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("@cardea-test-port-%d", port), Net: "unix"})
	if err != nil {
		return false
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		_ = name.Close()
		return false
	}
	_ = l.Close()
	mu.Lock()
	defer mu.Unlock()
	held = append(held, name)
	return true
}
