// Package recorder makes authorities of gates and the keys of their recorders for tests. What
// cannot be made panics.
package recorder

import (
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// Namespace of the gate whose recorder Key is of.
const Namespace = "shop-gate"

// gate is the authority of Key.
var gate = sync.OnceValue(NewAuthority)

var key = sync.OnceValue(func() *recording.Key { return KeyOf(gate(), Namespace, time.Now()) })

// Key is a recorder's key that is good for this process: what a recording.Spool asks for.
func Key() *recording.Key { return key() }

// Bundle is the certificate of the authority that made Key, in PEM.
func Bundle() []byte { return gate().CertPEM() }

// NewAuthority returns an authority that has been there for a day and will be for a year.
func NewAuthority() *credentials.Authority {
	now := time.Now()
	return must(credentials.NewAuthority("test gate", now.Add(-24*time.Hour), now.Add(365*24*time.Hour)))
}

// KeyOf returns a recorder's key of an authority, made at begin for a day.
func KeyOf(a *credentials.Authority, namespace string, begin time.Time) *recording.Key {
	cert, private, err := a.Recorder(namespace, begin, 24*time.Hour)
	must(0, err)
	return must(recording.ParseKey(cert, private))
}

// Sign returns s as a recorder would store it.
func Sign(s recording.Segment) recording.Segment {
	Key().Sign(&s, time.Now())
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
