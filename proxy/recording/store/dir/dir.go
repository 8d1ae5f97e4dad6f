// Package dir keeps recordings in a folder: for each session a folder, and in it for each
// segment NNNNNN.json.zst with the content and NNNNNN.json with its seal.
//
// Each file is written whole and flushed to the disk; the second makes the segment exist.
package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cardea-dev/cardea/proxy/recording"
)

// Store keeps segments under a folder, and reads them: it is a recording.Store and a
// recording.Source. It is safe for concurrent use by one process.
type Store struct{ root string }

// New returns a Store under root, which is made when the first segment is stored.
func New(root string) *Store { return &Store{root: root} }

// Put implements recording.Store.
func (s *Store) Put(ctx context.Context, seg recording.Segment) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !recording.ValidSession(seg.Session) || seg.Index < 0 || seg.Index >= recording.MaxSegments {
		return fmt.Errorf("store segment: %q, segment %d is not a segment of a session", seg.Session, seg.Index)
	}
	err := s.put(seg)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("store segment: %w: %w", recording.ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("store segment: %w", err)
	}
	return nil
}

func (s *Store) put(seg recording.Segment) error {
	folder := filepath.Join(s.root, seg.Session)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	seal, err := seg.Seal()
	if err != nil {
		return err
	}
	path := s.path(seg.Session, seg.Index)
	switch old, err := recording.ReadWhole(path+".json", recording.MaxSeal); {
	case err == nil && bytes.Equal(old, seal):
		data, err := recording.ReadWhole(path+".json.zst", recording.MaxSegmentData)
		if err == nil && bytes.Equal(data, seg.Data) {
			return nil
		}
		return recording.ErrConflict
	case err == nil:
		return recording.ErrConflict
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := recording.WriteWhole(path+".json.zst", seg.Data); err != nil {
		return err
	}
	return recording.WriteWhole(path+".json", seal)
}

func (s *Store) path(session string, index int) string {
	return filepath.Join(s.root, session, fmt.Sprintf("%06d", index))
}

// Sessions returns the names of the sessions that have a recording.
func (s *Store) Sessions() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && recording.ValidSession(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// List implements recording.Source.
func (s *Store) List(_ context.Context, session string) ([]recording.Ref, error) {
	if !recording.ValidSession(session) {
		return nil, fmt.Errorf("%q is not the name of a session", session)
	}
	entries, err := os.ReadDir(filepath.Join(s.root, session))
	if errors.Is(err, os.ErrNotExist) {
		return nil, recording.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var refs []recording.Ref
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || len(number) != 6 {
			continue
		}
		if index, err := strconv.Atoi(number); err == nil {
			refs = append(refs, recording.Ref{Index: index, Name: e.Name()})
		}
	}
	return refs, nil
}

// Get implements recording.Source.
func (s *Store) Get(_ context.Context, session string, ref recording.Ref) (recording.Segment, error) {
	if !recording.ValidSession(session) {
		return recording.Segment{}, fmt.Errorf("%q is not the name of a session", session)
	}
	path := s.path(session, ref.Index)
	b, err := recording.ReadWhole(path+".json", recording.MaxSeal)
	if err != nil {
		return recording.Segment{}, err
	}
	seg, err := recording.ParseSeal(b)
	if err != nil {
		return recording.Segment{}, err
	}
	seg.Data, err = recording.ReadWhole(path+".json.zst", recording.MaxSegmentData)
	return seg, err
}
