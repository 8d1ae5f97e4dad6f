package postgres

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
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

// cancels maps the cancel keys that clients hold to their sessions. The keys are the
// gate's own: they say nothing of the target's.
type cancels struct {
	random io.Reader

	mu    sync.Mutex
	byPID map[uint32]cancelEntry
}

type cancelEntry struct {
	secret [sha256.Size]byte // digest of the secret, so that lookups take the same time for every length
	cancel func()
}

func newCancels(random io.Reader) *cancels {
	return &cancels{random: random, byPID: map[uint32]cancelEntry{}}
}

// add registers a session and returns the key for its client. cancel must not block.
func (c *cancels) add(secretSize int, cancel func()) (pid uint32, secret []byte, err error) {
	secret = make([]byte, secretSize)
	if _, err := io.ReadFull(c.random, secret); err != nil {
		return 0, nil, fmt.Errorf("read randomness: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var b [4]byte
		if _, err := io.ReadFull(c.random, b[:]); err != nil {
			return 0, nil, fmt.Errorf("read randomness: %w", err)
		}
		pid = binary.BigEndian.Uint32(b[:]) & 0x7fffffff
		if _, taken := c.byPID[pid]; pid != 0 && !taken {
			break
		}
	}
	c.byPID[pid] = cancelEntry{secret: sha256.Sum256(secret), cancel: cancel}
	return pid, secret, nil
}

func (c *cancels) remove(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byPID, pid)
}

// cancel cancels what the session with the given key does, if there is one. The sender is
// told nothing either way.
func (c *cancels) cancel(pid uint32, secret []byte) {
	given := sha256.Sum256(secret)
	c.mu.Lock()
	entry, ok := c.byPID[pid]
	c.mu.Unlock()
	if subtle.ConstantTimeCompare(given[:], entry.secret[:]) == 1 && ok {
		entry.cancel()
	}
}
