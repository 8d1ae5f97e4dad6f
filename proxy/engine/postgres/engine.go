package postgres

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/engine"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// Name is the engine's name in policy and recordings.
const Name = "postgres"

// Limits bound what one connection may use. A zero field takes its default.
type Limits struct {
	// Command is the most bytes of a Query, Parse or Bind message; 512 KiB. A longer one is
	// read and dropped without being held, and answered with an error.
	Command int
	// MaskedRow is the most bytes of a row that has a masked column, which is held whole; 8
	// MiB. A longer one ends the session.
	MaskedRow int
	// SignIn is how long signing in to the target may take; 15 s.
	SignIn time.Duration
	// Statements is how many prepared statements, and how many portals, a connection may
	// have; 4096.
	Statements int
	// Farewell is how long an ending session waits for a slow client and a slow target; 2 s.
	Farewell time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Command == 0 {
		l.Command = 512 << 10
	}
	if l.MaskedRow == 0 {
		l.MaskedRow = 8 << 20
	}
	if l.SignIn == 0 {
		l.SignIn = 15 * time.Second
	}
	if l.Statements == 0 {
		l.Statements = 4096
	}
	if l.Farewell == 0 {
		l.Farewell = 2 * time.Second
	}
	return l
}

// Config is what an Engine is made of.
type Config struct {
	// Directory knows the credentials. Required.
	Directory engine.Directory
	// TLS holds the serving certificate, and the authority of client certificates if they
	// are asked for. Required.
	TLS *tls.Config
	// Analyzer establishes what is known of statements. Required.
	Analyzer *pgsql.Analyzer
	// Peers are the replicas of this gate; nil if there is one alone.
	Peers *Peers
	// Upkeep is what the roles made for sessions need; nil if none are made.
	Upkeep *Upkeep
	// Now is the clock that credentials are judged by; time.Now if nil.
	Now func() time.Time
	// Clock is what the limits of a Target go by; the real one if nil.
	Clock clock.WithDelayedExecution
	// Random is the source of keys and nonces; crypto/rand if nil.
	Random io.Reader
	// Limits of each connection.
	Limits Limits
}

// Engine serves PostgreSQL clients. It is safe for concurrent use.
type Engine struct {
	c       Config
	cancels *cancels
	peers   *peers // nil if there are none
	roles   *roles
	// ghost keys the salts of grants that do not exist, so that they answer like others.
	ghost [32]byte
}

var _ engine.Engine = (*Engine)(nil)

// New returns an engine.
func New(c Config) (*Engine, error) {
	if c.Directory == nil || c.TLS == nil || c.Analyzer == nil {
		return nil, errors.New("postgres engine needs a directory, a TLS configuration and an analyser")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	c.Limits = c.Limits.withDefaults()
	e := &Engine{c: c}
	e.roles = newRoles(e)
	var name uint32
	if c.Peers != nil {
		var err error
		if e.peers, err = newPeers(e, *c.Peers); err != nil {
			return nil, err
		}
		name = nameOf(c.Peers.Self)
	}
	e.cancels = newCancels(c.Random, name)
	if _, err := io.ReadFull(c.Random, e.ghost[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return e, nil
}
