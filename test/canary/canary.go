// Package canary looks for planted secrets in everything that a proxy leaves behind, in every
// form in which bytes are usually written: as they are, in hex, in base64 at any offset, in
// reverse, and in UTF-16.
package canary

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
)

// Set are planted secrets by what they are. Each has at least 11 characters.
type Set map[string]string

// Plant adds a secret of letters and digits that is like no other, and returns it.
func (s Set) Plant(what string) string {
	return s.Add(what, "q"+rand.Text()[:16]+"7z")
}

// Add adds a secret that somebody else made.
func (s Set) Add(what, secret string) string {
	s[what] = secret
	return secret
}

// forms are those in which a secret might be written.
func forms(secret string) map[string][]byte {
	b := []byte(secret)
	reversed := slices.Clone(b)
	slices.Reverse(reversed)
	var wide []byte
	for _, c := range b {
		wide = append(wide, c, 0)
	}
	out := map[string][]byte{
		"as it is": b, "reversed": reversed, "in UTF-16": wide,
		"in hex": []byte(hex.EncodeToString(b)), "in capital hex": []byte(strings.ToUpper(hex.EncodeToString(b))),
	}
	for offset, name := range []string{"in base64", "in base64, one byte on", "in base64, two bytes on"} {
		// The characters that depend on this secret alone, whatever stands around it.
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), b...))
		from, to := (8*offset+5)/6, (8*(offset+len(b)))/6
		out[name] = []byte(encoded[from:to])
		out[name+", for URLs"] = []byte(strings.NewReplacer("+", "-", "/", "_").Replace(encoded[from:to]))
	}
	return out
}

// Find returns what is found where, a line each; a place is a file or another text.
func (s Set) Find(places map[string][]byte) []string {
	var out []string
	for what, secret := range s {
		for form, bytesOf := range forms(secret) {
			for place, content := range places {
				if bytes.Contains(content, bytesOf) {
					out = append(out, place+" holds "+what+" "+form)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// Folder returns the content of every file under root, but for those whose path begins with one
// of skip. Of what is compressed the content is returned too.
func Folder(t testing.TB, root string, skip ...string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // it was shipped meanwhile
			}
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || !d.Type().IsRegular() || slices.ContainsFunc(skip, func(s string) bool { return strings.HasPrefix(name, s) }) {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		out[name] = b
		if strings.HasSuffix(name, ".zst") {
			out[name+", decompressed"] = expand(t, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func expand(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Streams returns what the streams of recordings under a folder make together: what was typed
// letter by letter is a word there alone.
func Streams(t testing.TB, recordings string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	store := dir.New(recordings)
	sessions, err := store.Sessions()
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range sessions {
		r, err := recording.Read(t.Context(), store, session, recording.Anchor{}, func(e recording.Entry) error {
			switch {
			case e.Input != nil:
				out[session+" "+e.Input.Stream] = append(out[session+" "+e.Input.Stream], e.Input.Data...)
			case e.Output != nil:
				out[session+" "+e.Output.Stream] = append(out[session+" "+e.Output.Stream], e.Output.Data...)
			}
			return nil
		})
		if err != nil || !r.Intact() {
			t.Errorf("the recording of %s is not intact: %v %v", session, err, r.Problems)
		}
	}
	return out
}
