package kubernetes

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What kubectl cp copies either way arrives as it was, and the recording says which files
// they were.
func TestCopy(t *testing.T) {
	for name, overWebSocket := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", overWebSocket)
			g := start(t, "writer", "    exec: Commands\n")
			local, remote, back := t.TempDir(), t.TempDir(), t.TempDir()
			content := make([]byte, 3<<20+17)
			if _, err := rand.Read(content); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(local, "a b.bin"), string(content))
			write(t, filepath.Join(local, "empty"), "")
			for _, args := range [][]string{{"cp", local, "web:" + remote + "/in"}, {"cp", "web:" + remote + "/in", back + "/out"}} {
				if out, err := g.kubectl(args...); err != nil {
					t.Fatalf("%v: %v, %s", args, err, out)
				}
			}
			b, err := os.ReadFile(filepath.Join(back, "out", "a b.bin"))
			if err != nil || string(b) != string(content) {
				t.Errorf("%d bytes came back, %v", len(b), err)
			}
			g.stop(t)
			sum := sha256.Sum256(content)
			file := fmt.Sprintf(`a b.bin", %d bytes, SHA-256 %s`, len(content), hex.EncodeToString(sum[:]))
			var entries []string
			for _, e := range g.events(t) {
				if e.Response != nil && !e.Response.Final {
					entries = append(entries, e.Response.Tag)
				}
			}
			copies := slices.DeleteFunc(slices.Clone(entries), func(s string) bool { return !strings.HasSuffix(s, file) })
			if len(copies) != 2 || !slices.ContainsFunc(entries, func(s string) bool { return strings.Contains(s, `empty", 0 bytes`) }) {
				t.Errorf("the recording has the entries %q", entries)
			}
		})
	}
}
