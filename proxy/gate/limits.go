package gate

import "time"

// Limits bound what clients can use up. A zero field takes its default.
type Limits struct {
	// Handshake is how long a client may take to prove its identity: 10 s.
	Handshake time.Duration
	// Waiting is how many clients may be proving their identity at a time: 1024.
	// WaitingPerSource is the same for one IPv4 address or IPv6 /64: 256. The oldest gives way.
	Waiting, WaitingPerSource int
	// Sessions is how many connections may be admitted at a time: 4096. SessionsPerGrant is
	// the same for one grant: 1024.
	Sessions, SessionsPerGrant int
	// Fresh is how old a proof of the policy may be for a new session: 30 s.
	Fresh time.Duration
	// MaxStaleness is how old it may be for a live one: 15 min.
	MaxStaleness time.Duration
	// Linger is how long the session of a short connection waits for the next connection,
	// and what short means: 30 s. MaxShared is the age at which it waits no more: 10 min.
	Linger, MaxShared time.Duration
	// Farewell is how long a refused or ended connection may take to be told: 5 s.
	Farewell time.Duration
}

func (l Limits) withDefaults() Limits {
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	count := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	wait(&l.Handshake, 10*time.Second)
	count(&l.Waiting, 1024)
	count(&l.WaitingPerSource, 256)
	count(&l.Sessions, 4096)
	count(&l.SessionsPerGrant, 1024)
	wait(&l.Fresh, 30*time.Second)
	wait(&l.MaxStaleness, 15*time.Minute)
	wait(&l.Linger, 30*time.Second)
	wait(&l.MaxShared, 10*time.Minute)
	wait(&l.Farewell, 5*time.Second)
	return l
}
