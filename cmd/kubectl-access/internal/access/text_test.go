package access

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestSafe(t *testing.T) {
	cases := map[string]struct {
		in, want string
		lines    bool
	}{
		"plain":               {in: "SELECT 'ä', '漢字', '😀'", want: "SELECT 'ä', '漢字', '😀'"},
		"clear screen":        {in: "\x1b[2J\x1b[H", want: `\x1b[2J\x1b[H`},
		"title":               {in: "\x1b]0;x\x07", want: `\x1b]0;x\x07`},
		"C1 CSI":              {in: "\u009b31m", want: `\u009b31m`},
		"C1 CSI, bare byte":   {in: "\x9b31m", want: `\x9b31m`},
		"next line":           {in: "a\u0085b\u2028c\u2029d", want: `a\u0085b\u2028c\u2029d`, lines: true},
		"direction":           {in: "\u202egpj.exe\u2066", want: `\u202egpj.exe\u2066`},
		"unseen":              {in: "a\u200bb\ufeff\U000e0041", want: `a\u200bb\ufeff\U000e0041`},
		"newline in a cell":   {in: "a\nb\tc\r", want: `a\nb\tc\r`},
		"newline in a text":   {in: "a\nb\tc\r\n", want: "a\nb    c\\r\n", lines: true},
		"backspace over text": {in: "DROP\b\b\b\bSELECT", want: `DROP\x08\x08\x08\x08SELECT`},
		"delete":              {in: "\x7f", want: `\x7f`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Safe(c.in, c.lines); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzSafe(f *testing.F) {
	f.Add("\x1b[31m\u009b\u202e\xff\n", true)
	f.Fuzz(func(t *testing.T, s string, lines bool) {
		for _, r := range Safe(s, lines) {
			if unsafeRune(r) && (r != '\n' || !lines) {
				t.Fatalf("%q in what became of %q", r, s)
			}
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := safeJSON(text)
		if bytes.ContainsFunc(safe, unsafeRune) {
			t.Fatalf("unsafe JSON %q", safe)
		}
		var before, after string
		if json.Unmarshal(text, &before) != nil || json.Unmarshal(safe, &after) != nil || before != after {
			t.Fatalf("%q became %q", before, after)
		}
	})
}

func TestTable(t *testing.T) {
	cases := map[string]struct {
		width int
		want  string
	}{
		"no limit": {0, "NAME   COMMAND\na      DELETE FROM orders\nbbbb   \\x1b[2J\n-      -\n"},
		"narrow":   {16, "NAME   COMMAND\na      DELETE F…\nbbbb   \\x1b[2J\n-      -\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			err := table(&b, screen{width: c.width}, []string{"NAME", "COMMAND"}, [][]string{{"a", "DELETE FROM orders"}, {"bbbb", "\x1b[2J"}, {"", ""}})
			if d := cmp.Diff(c.want, b.String()); err != nil || d != "" {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
}

func TestScreenWithoutTerminal(t *testing.T) {
	t.Setenv("COLUMNS", "33")
	if s := screenOf(&bytes.Buffer{}); s.width != 33 || s.color {
		t.Errorf("%+v", s)
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{"": "", "äöü": "äöü", "äöüß": "äö…"} {
		if got := cut(in, 3); got != want || utf8.RuneCountInString(got) > 3 {
			t.Errorf("cut(%q) = %q, want %q", in, got, want)
		}
	}
}
