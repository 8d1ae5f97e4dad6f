package ssh

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// auditor runs the built plugin on the recordings of the gate.
func (w *world) auditor(t *testing.T) func(args ...string) (out, errs string) {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "kubectl-access")
	if out, err := exec.Command("go", "build", "-o", plugin, "github.com/cardea-dev/cardea/cmd/kubectl-access").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func(args ...string) (string, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), plugin, append(args, "--dir", w.Dir)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %v\n%s%s", args, err, &out, &errs)
		}
		return out.String(), errs.String()
	}
}

// TestTerminalsAreReadAgain types at a raw and at a gated shell, and reads both as an auditor
// does: played, as asciicast, as a transcript and by search.
func TestTerminalsAreReadAgain(t *testing.T) {
	for name, grant := range map[string]string{"raw": "channels: [Shell]\nterminal: Raw", "gated": "channels: [Shell]"} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{grant: grant})
			p := w.shell(t)
			p.types("echo re''ady\r")
			p.sees("ready\r\n")
			if err := p.session.WindowChange(40, 120); err != nil {
				t.Fatal(err)
			}
			// What a hostile program would send to whoever looks: a clipboard, a question, a title.
			p.types(`printf 'pl%s \033[31mred\033[0m \033]52;c;ZXZpbA==\007\033[6n\033]0;t\007end\n' ayed` + "\r")
			p.sees("end\r\n")
			p.types("exit\r")
			_ = p.session.Wait()
			w.Stop(t)
			read := w.auditor(t)
			entries, err := os.ReadDir(filepath.Join(w.Dir, ".recordings"))
			if err != nil || len(entries) != 1 {
				t.Fatalf("%v: %v", err, entries)
			}
			session := entries[0].Name()

			out, errs := read("replay", session, "--play", "--speed", "1000000")
			if !strings.Contains(out, "played \x1b[31mred\x1b[0m end") || strings.Contains(out, "\x1b]") || strings.Contains(out, "\x1b[6n") {
				t.Errorf("played: %q", out)
			}
			for _, want := range []string{"clipboard (1)", "title (", "query (1)", "200x24", "INTACT"} {
				if !strings.Contains(errs, want) {
					t.Errorf("%q is not in %s", want, errs)
				}
			}

			out, _ = read("export", session, "--format", "asciicast")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			var header struct{ Version, Width, Height int }
			if err := json.Unmarshal([]byte(lines[0]), &header); err != nil || header.Version != 2 || header.Width != 200 || header.Height != 24 {
				t.Errorf("%v: %s", err, lines[0])
			}
			if !strings.Contains(out, `"r","120x40"`) || strings.Contains(out, `\u001b]`) || strings.Contains(out, `"i"`) {
				t.Errorf("asciicast:\n%s", out)
			}
			if out, _ := read("export", session, "--format", "ocsf"); !strings.Contains(out, `"type_uid":100701`) || !strings.Contains(out, `"type_uid":400701`) {
				t.Errorf("OCSF:\n%s", out)
			}

			if out, _ := read("replay", session); strings.Contains(out, "\x1b") || !strings.Contains(out, `\x1b]52;c;ZXZpbA==`) {
				t.Errorf("the transcript:\n%s", out)
			}
			// Each key is an event of its own, and the output comes in parts.
			if out, _ := read("search", `^played red end$`); !strings.Contains(out, "stdout  played red end\n") {
				t.Errorf("search for what was shown:\n%s", out)
			}
			if out, _ := read("search", `printf 'pl%s.*ayed$`, "-o", "json"); !strings.Contains(out, `"what":"stdin"`) {
				t.Errorf("search for what was typed:\n%s", out)
			}
		})
	}
}
