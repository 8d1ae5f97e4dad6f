package postgres

import (
	"bytes"
	"container/list"
	"hash/maphash"
	"sync"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// maxRemembered is the largest text in bytes that is remembered.
const maxRemembered = 8 << 10

// cache remembers the facts of texts that depend on nothing but themselves. It is keyed
// by a seeded hash, so that nobody can make texts collide on purpose, and compares bytes.
type cache struct {
	seed maphash.Seed
	most int

	mu      sync.Mutex
	entries map[uint64]*list.Element
	recent  *list.List // most recent first
}

type cached struct {
	key   uint64
	text  []byte
	facts *sql.Facts
}

func newCache(most int) *cache {
	return &cache{seed: maphash.MakeSeed(), most: most, entries: map[uint64]*list.Element{}, recent: list.New()}
}

// get returns the facts of a text; nil if they are not remembered.
func (c *cache) get(text []byte) *sql.Facts {
	if c.most <= 0 || len(text) > maxRemembered {
		return nil
	}
	key := maphash.Bytes(c.seed, text)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil
	}
	entry := e.Value.(*cached)
	if !bytes.Equal(entry.text, text) {
		return nil
	}
	c.recent.MoveToFront(e)
	return entry.facts
}

// put remembers the facts of a text, in place of those used longest ago.
func (c *cache) put(text []byte, f *sql.Facts) {
	if c.most <= 0 || len(text) > maxRemembered {
		return
	}
	key := maphash.Bytes(c.seed, text)
	entry := &cached{key: key, text: bytes.Clone(text), facts: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		e.Value = entry
		c.recent.MoveToFront(e)
		return
	}
	c.entries[key] = c.recent.PushFront(entry)
	if c.recent.Len() > c.most {
		last := c.recent.Back()
		c.recent.Remove(last)
		delete(c.entries, last.Value.(*cached).key)
	}
}
