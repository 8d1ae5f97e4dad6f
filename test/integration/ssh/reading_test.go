package ssh

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// normal is a transcript without what differs from run to run.
func normal(out, login string) string {
	_, out, _ = strings.Cut(out, "\n\n") // the table of who and where
	out, _, _ = strings.Cut(out, "[1] disconnected")
	out = regexp.MustCompile(`[0-9]+ bytes`).ReplaceAllString(out, "N bytes")
	out = regexp.MustCompile(`[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}`).ReplaceAllString(out, "TIME")
	out = regexp.MustCompile(`from [0-9.:]+ to ssh, credential [0-9a-f]+`).ReplaceAllString(out, "from CLIENT to ssh, credential ID")
	return strings.ReplaceAll(regexp.MustCompile(login+`@host:\S*`).ReplaceAllString(out, "LOGIN@host:HOME"), login, "LOGIN")
}

// gatedTranscript is the whole of what the auditor reads.
const gatedTranscript = `TIME  [1] connected  from CLIENT to ssh, credential ID, application Go
TIME  [1] #1 Allowed
    | gated shell
TIME  [1] #1 size  200 columns, 24 rows
TIME  [1] #1 shown | This is a gated shell: each line is decided on before it runs. Commands have no terminal and no input; Ctrl-C ends one, exit the session.
TIME  [1] #1 typed | echo re''ady
TIME  [1] #1 shown | LOGIN@host:HOME $ echo re''ady
TIME  [1] #2 Allowed
    | $ echo re''ady
TIME  [1] #1 shown | ready
TIME  [1] #2 -> exit 0, N bytes
TIME  [1] #1 size  120 columns, 40 rows
TIME  [1] #1 typed | printf 'pl%s \033[31mred\033[0m \033]52;c;ZXZpbA==\007\033[6n\033]0;t\007end\n' ayed
TIME  [1] #1 shown | LOGIN@host:HOME $ LOGIN@host:HOME $ printf 'pl%s \033[31mred\033[0m \033]52;c;ZXZpbA==\007\033[6n\033]0;t\007end\n' ayed
TIME  [1] #3 Allowed
    | $ printf 'pl%s \033[31mred\033[0m \033]52;c;ZXZpbA==\007\033[6n\033]0;t\007end\n' ayed
TIME  [1] #1 shown | played red end
TIME  [1] #3 -> exit 0, N bytes
TIME  [1] #1 typed | exit
TIME  [1] #1 shown | LOGIN@host:HOME $ exit
TIME  [1] #4 Allowed
    | $ exit
TIME  [1] #4 -> outcome unknown: the session ended first
    ERROR: the shell ended
TIME  [1] #1 shown  also what acts on a terminal and does not draw: clipboard (1), query (1), title (1)
TIME  [1] #1 -> exit 0, N bytes
TIME  `

// TestTerminalsAreReadAgain types at a raw and at a gated shell, and reads both as an auditor
// does: played, as asciicast, as a transcript and by search.
func TestTerminalsAreReadAgain(t *testing.T) {
	for name, grant := range map[string]string{"raw": "channels: [Shell]\nterminal: Raw", "gated": "channels: [Shell]"} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{grant: grant})
			p := w.shell(t)
			prompt := func() {
				if name == "gated" { // that of the account's own shell is not known
					p.sees("$ ")
				}
			}
			prompt()
			p.types("echo re''ady\r")
			p.sees("ready\r\n")
			prompt()
			if err := p.session.WindowChange(40, 120); err != nil {
				t.Fatal(err)
			}
			prompt() // again, on the other screen
			// What a hostile program would send to whoever looks: a clipboard, a question, a title.
			p.types(`printf 'pl%s \033[31mred\033[0m \033]52;c;ZXZpbA==\007\033[6n\033]0;t\007end\n' ayed` + "\r")
			p.sees("end\r\n")
			prompt()
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

			out, _ = read("replay", session)
			for _, want := range []string{"#1 size  200 columns, 24 rows", "#1 size  120 columns, 40 rows", "#1 shown | played red end\n", "clipboard (1)"} {
				if !strings.Contains(out, want) || strings.Contains(out, "\x1b") {
					t.Errorf("%q is not in the transcript:\n%s", want, out)
				}
			}
			if name == "gated" {
				if d := cmp.Diff(gatedTranscript, normal(out, w.server.Login)); d != "" {
					t.Errorf("the transcript (-want +got):\n%s\n%s", d, normal(out, w.server.Login))
				}
			}
			// Each key is an event of its own, and the output comes in parts.
			if out, _ := read("search", `^played red end$`); !strings.Contains(out, "stdout  played red end\n") {
				t.Errorf("search for what was shown:\n%s", out)
			}
			if out, _ := read("search", `printf 'pl%s.*ayed$`, "-o", "json"); !strings.Contains(out, `"what":"std`) || name == "gated" && !strings.Contains(out, `"what":"stdin"`) {
				t.Errorf("search for what was typed:\n%s", out)
			}
		})
	}
}
