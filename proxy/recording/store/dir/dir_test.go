package dir_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/recorder"
)

func segment(index int, data string) recording.Segment {
	s := recording.Segment{Session: "s1", Grant: "g", Index: index, First: 1, Last: 2, Data: []byte(data)}
	return recorder.Sign(s)
}

func TestPutAndGet(t *testing.T) {
	root := t.TempDir()
	store := dir.New(root)
	want := segment(0, "data")
	for range 2 {
		if err := store.Put(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Put(t.Context(), segment(0, "other")); !errors.Is(err, recording.ErrConflict) {
		t.Errorf("another segment of the same index: %v", err)
	}
	refs, err := store.List(t.Context(), "s1")
	if err != nil || len(refs) != 1 {
		t.Fatalf("%v, %v", refs, err)
	}
	got, err := store.Get(t.Context(), "s1", refs[0])
	if err != nil || got.Digest != want.Digest || !bytes.Equal(got.Data, want.Data) {
		t.Errorf("%+v, %v", got, err)
	}
	if sessions, err := store.Sessions(); err != nil || len(sessions) != 1 || sessions[0] != "s1" {
		t.Errorf("%v, %v", sessions, err)
	}
}

// TestPutAfterCrash: the content alone is no segment yet.
func TestPutAfterCrash(t *testing.T) {
	root := t.TempDir()
	store := dir.New(root)
	if err := os.MkdirAll(filepath.Join(root, "s1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "s1", "000000.json.zst"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if refs, err := store.List(t.Context(), "s1"); err != nil || len(refs) != 0 {
		t.Errorf("%v, %v", refs, err)
	}
	if err := store.Put(t.Context(), segment(0, "data")); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Get(t.Context(), "s1", recording.Ref{}); err != nil || string(got.Data) != "data" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	root := t.TempDir()
	store := dir.New(filepath.Join(root, "store"))
	outside := segment(0, "x")
	outside.Session = ".."
	if err := store.Put(t.Context(), outside); err == nil {
		t.Error("stored outside")
	}
	if err := store.Put(t.Context(), segment(recording.MaxSegments, "x")); err == nil {
		t.Error("stored an index that has no name")
	}
	if _, err := store.List(t.Context(), "nobody"); !errors.Is(err, recording.ErrNotFound) {
		t.Errorf("no such session: %v", err)
	}
	for _, session := range []string{"..", "../s1", ""} {
		if _, err := store.List(t.Context(), session); err == nil {
			t.Errorf("listed %q", session)
		}
		if _, err := store.Get(t.Context(), session, recording.Ref{}); err == nil {
			t.Errorf("read %q", session)
		}
	}
	if err := store.Put(t.Context(), segment(0, "x")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "store", "s1", "000000.json")
	for name, content := range map[string][]byte{"no JSON": []byte("{"), "another format": []byte(`{"format":"x"}`), "too large": make([]byte, 9<<10)} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Get(t.Context(), "s1", recording.Ref{}); err == nil {
				t.Error("read")
			}
			if err := store.Put(t.Context(), segment(0, "x")); err == nil {
				t.Error("put over it")
			}
		})
	}
}
