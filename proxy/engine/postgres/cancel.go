package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Sizes of the secret part of a cancel key: fixed in protocol 3.0, up to 256 bytes since
// 3.2.
const (
	secretSize30 = 4
	secretSize32 = 32
	maxSecret    = 256
)

// The other part of a cancel key, the process ID, is positive: 15 bits that name the
// replica which made it, so that every replica knows whose it is, and 16 of its own.
const (
	nameBits  = 15
	nameShift = 16
	maxKeys   = 1<<nameShift - 1
)

var errKeys = errors.New("no cancel key is left")

// cancels maps the cancel keys that clients hold to their sessions. The keys are the
// gate's own: they say nothing of the target's.
type cancels struct {
	random io.Reader
	name   uint32 // of this replica

	mu    sync.Mutex
	byPID map[uint32]cancelEntry
}

type cancelEntry struct {
	secret [sha256.Size]byte // digest of the secret, so that lookups take the same time for every length
	cancel func(context.Context)
}

func newCancels(random io.Reader, name uint32) *cancels {
	return &cancels{random: random, name: name, byPID: map[uint32]cancelEntry{}}
}

// add registers a session and returns the key for its client. cancel is called with the
// context of the request to cancel, which it may wait for but not outlive.
func (c *cancels) add(secretSize int, cancel func(context.Context)) (pid uint32, secret []byte, err error) {
	secret = make([]byte, secretSize)
	if _, err := io.ReadFull(c.random, secret); err != nil {
		return 0, nil, fmt.Errorf("read randomness: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byPID) >= maxKeys {
		return 0, nil, errKeys
	}
	var b [2]byte
	if _, err := io.ReadFull(c.random, b[:]); err != nil {
		return 0, nil, fmt.Errorf("read randomness: %w", err)
	}
	own := uint32(binary.BigEndian.Uint16(b[:]))
	for {
		pid = c.name<<nameShift | own
		if _, taken := c.byPID[pid]; own != 0 && !taken {
			break
		}
		own = (own + 1) & maxKeys
	}
	c.byPID[pid] = cancelEntry{secret: sha256.Sum256(secret), cancel: cancel}
	return pid, secret, nil
}

func (c *cancels) remove(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byPID, pid)
}

// cancel cancels what the session with the given key does, and reports whether there is
// one. The sender is told nothing either way.
func (c *cancels) cancel(ctx context.Context, pid uint32, secret []byte) bool {
	given := sha256.Sum256(secret)
	c.mu.Lock()
	entry, ok := c.byPID[pid]
	c.mu.Unlock()
	if subtle.ConstantTimeCompare(given[:], entry.secret[:]) != 1 || !ok {
		return false
	}
	entry.cancel(ctx)
	return true
}
