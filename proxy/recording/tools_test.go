package recording_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/recorder"
)

// script is the shell commands of docs/recording-format.md.
func script(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recording-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "With standard tools, for a recording in a folder:\n\n```\n")
	commands, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatal("docs/recording-format.md has no commands")
	}
	return strings.Replace(commands, ".recordings/SESSION", ".recordings/s1", 1)
}

// standalone records a small session as a proxy without a cluster keeps it, and returns the folder.
func standalone(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	f := newFixture(t, options{limits: quick(), stores: filepath.Join(root, ".recordings")})
	r := f.open("s1")
	for range 2 {
		f.record(r, 2, "select 1")
		f.drain()
	}
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	if err := os.Mkdir(filepath.Join(root, ".tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, ".tls", "recording-ca.crt"), recorder.Bundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestStandardTools reads and verifies a recording with nothing but what the documentation
// says and tools that every system has.
func TestStandardTools(t *testing.T) {
	for _, tool := range []string{"bash", "openssl", "jq", "zstd", "sha256sum", "base64"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	root := standalone(t)
	run := func() (string, error) {
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script(t))
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var events int
	for line := range strings.Lines(out) {
		var e recording.Event
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &e) == nil && e.Sequence == uint64(events+1) {
			events++
		}
	}
	segments, err := filepath.Glob(filepath.Join(root, ".recordings", "s1", "*.zst"))
	if err != nil {
		t.Fatal(err)
	}
	for what, n := range map[string][2]int{
		"events":                          {events, 6},
		"Signature Verified Successfully": {strings.Count(out, "Signature Verified Successfully"), len(segments)},
		"certificate: OK":                 {strings.Count(out, "certificate: OK"), len(segments)},
		"URI of a recorder":               {strings.Count(out, "URI:cardea-recorder://"+recorder.Namespace), len(segments)},
		"usage":                           {strings.Count(out, "1.3.6.1.5.5.7.3.36"), len(segments)},
	} {
		if n[0] != n[1] {
			t.Errorf("%s: %d, want %d\n%s", what, n[0], n[1], out)
		}
	}
	chained := regexp.MustCompile(`data: (\w{64})\n(\w{64}) .*\nprevious: (\w*)\n(\w{64}) `).FindAllStringSubmatch(out, -1)
	previous := ""
	for i, m := range chained {
		if m[1] != m[2] || m[3] != previous {
			t.Errorf("segment %d: %v", i, m)
		}
		previous = m[4]
	}
	if len(chained) != len(segments) {
		t.Errorf("%d segments in\n%s", len(chained), out)
	}

	seal := filepath.Join(root, ".recordings", "s1", "000001.json")
	text, err := os.ReadFile(seal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seal, []byte(strings.Replace(string(text), `index: 1`, `index: 7`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(); err == nil || !strings.Contains(out, "Signature Verification Failure") {
		t.Errorf("an altered header: %v\n%s", err, out)
	}
}
