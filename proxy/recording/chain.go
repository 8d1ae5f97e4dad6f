package recording

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const (
	// recorderLength is that of the name of a recorder.
	recorderLength = 32
	// maxChain bounds the file of a chain, in bytes: it has a line for each RecordingStore.
	maxChain = 1 << 20
	maxCount = 1<<63 - 1
)

// link is the last recording of a chain.
type link struct {
	Number uint64 `json:"number"`
	Digest string `json:"digest"`
}

// chain gives the recordings that a spool closes their places, one after the other, for each
// store on its own, since stores keep recordings for different times. It outlives the process
// with the spool.
type chain struct {
	path string

	mu       sync.Mutex
	recorder string
	heads    map[string]link // by store
	behind   bool            // the file is
}

// chainFile is the file of a chain.
type chainFile struct {
	Version  int             `json:"version"` // 1
	Recorder string          `json:"recorder"`
	Heads    map[string]link `json:"heads"`
}

// loadChain reads the chain of a spool directory. One that is not there, or damaged, is a new
// recorder's: what the old one closed stays as it is.
func loadChain(dir string) (*chain, error) {
	c := &chain{path: filepath.Join(dir, "chain"), heads: map[string]link{}}
	b, err := ReadWhole(c.path, maxChain)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var f chainFile
	if err == nil && json.Unmarshal(b, &f) == nil && f.Version == 1 && len(f.Recorder) == recorderLength {
		c.recorder = f.Recorder
		for store, l := range f.Heads {
			c.heads[store] = l
		}
		return c, nil
	}
	name := make([]byte, recorderLength/2)
	if _, err := rand.Read(name); err != nil {
		return nil, fmt.Errorf("name the recorder: %w", err)
	}
	c.recorder = hex.EncodeToString(name)
	return c, nil
}

// add gives the recording that p ends the next place: keep signs it and writes it into the
// spool, and the chain follows before anything is stored. If the process dies between the
// two, adopt finds p. After an error the place is free again.
func (c *chain) add(p *parcel, keep, drop func() error, write func(path string, content []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := p.Manifest
	before := c.heads[m.Store]
	m.Recorder, m.Number, m.Preceding = c.recorder, before.Number+1, before.Digest
	if err := keep(); err != nil {
		return errors.Join(err, drop())
	}
	c.heads[m.Store] = link{Number: m.Number, Digest: p.Digest}
	if err := c.save(write); err != nil {
		c.heads[m.Store] = before
		return errors.Join(err, drop())
	}
	return nil
}

// save writes the file. c.mu is held.
func (c *chain) save(write func(path string, content []byte) error) error {
	b, err := json.Marshal(chainFile{Version: 1, Recorder: c.recorder, Heads: c.heads})
	if err == nil {
		err = write(c.path, b)
	}
	if err != nil {
		return fmt.Errorf("keep the chain of recordings: %w", err)
	}
	c.behind = false
	return nil
}

// settle sees to it that the file says what adopt learned, before any of that is stored and
// then forgotten by the spool.
func (c *chain) settle(write func(path string, content []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.behind {
		return nil
	}
	return c.save(write)
}

// adopt takes up what an earlier process had kept and not noted in the chain any more.
func (c *chain) adopt(kept []*parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(kept, func(a, b *parcel) int {
		if a.Manifest.Number < b.Manifest.Number {
			return -1
		}
		return 1
	})
	for _, p := range kept {
		m := p.Manifest
		if l := c.heads[m.Store]; m.Recorder == c.recorder && m.Number == l.Number+1 && m.Preceding == l.Digest {
			c.heads[m.Store], c.behind = link{Number: m.Number, Digest: p.Digest}, true
		}
	}
}
