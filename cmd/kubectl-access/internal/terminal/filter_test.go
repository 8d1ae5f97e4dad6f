package terminal

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestFilter(t *testing.T) {
	cases := map[string]struct{ in, want, plain, left string }{
		"text":                               {in: "ls\r\n漢字 😀\t.\b", want: "ls\r\n漢字 😀\t.\b", plain: "ls\r\n漢字 😀\t.\b"},
		"colours and cursor":                 {in: "\x1b[1;31mred\x1b[0m\x1b[2;3H\x1b[K\x1b[38:5:12mx", want: "\x1b[1;31mred\x1b[0m\x1b[2;3H\x1b[K\x1b[38:5:12mx", plain: "redx"},
		"alternate screen":                   {in: "\x1b[?1049h\x1b[?25lvi\x1b[?1049l", want: "\x1b[?1049h\x1b[?25lvi\x1b[?1049l", plain: "vi"},
		"line drawing":                       {in: "\x1b(0qq\x1b(B\x0e\x0f", want: "\x1b(0qq\x1b(B\x0e\x0f", plain: "qq"},
		"clipboard":                          {in: "a\x1b]52;c;ZXZpbA==\x07b", want: "ab", plain: "ab", left: "clipboard (1)"},
		"clipboard, ended by ST":             {in: "a\x1b]52;c;ZXZpbA==\x1b\\b", want: "ab", plain: "ab", left: "clipboard (1)"},
		"clipboard, C1":                      {in: "a\u009d52;c;ZXZpbA==\u009cb", want: "ab", plain: "ab", left: "clipboard (1)"},
		"title":                              {in: "\x1b]0;x\x07", left: "title (1)"},
		"link":                               {in: "\x1b]8;;https://evil\x1b\\bank\x1b]8;;\x1b\\", want: "bank", plain: "bank", left: "link (2)"},
		"device queries":                     {in: "\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[>0q\x1b[5$p\x1bZ\x05", left: "control character (1), query (7)"},
		"window":                             {in: "\x1b[8;1;1t\x1b[21t", left: "window (2)"},
		"a status string":                    {in: "\x1bP$qm\x1b\\x", want: "x", plain: "x", left: "string (1)"},
		"graphics":                           {in: "\x1b_Gf=100;AAAA\x1b\\x\x1bPq#0\x1b\\y", want: "xy", plain: "xy", left: "string (2)"},
		"mouse, paste, keys":                 {in: "\x1b[?1000h\x1b[?2004h\x1b[?1h\x1b[>4;1m\x1b[>1u\x1b=\x1b[20h", left: "input mode (6), other sequence (1)"},
		"a mode among modes":                 {in: "\x1b[?25;1000h", left: "input mode (1)"},
		"printing":                           {in: "\x1b[5i\x1b[?5i", left: "other sequence (2)"},
		"history":                            {in: "\x1b[3Jx\x1b[2J", want: "x\x1b[2J", plain: "x", left: "other sequence (1)"},
		"reset":                              {in: "\x1bc", want: "\x1b[!p\x1b[m\x1b[2J\x1b[H"},
		"a column of 132":                    {in: "\x1b[?3h", left: "input mode (1)"},
		"a huge number":                      {in: "x\x1b[99999999b", want: "x", plain: "x", left: "other sequence (1)"},
		"direction of text":                  {in: "a\u202eb", want: "ab", plain: "ab", left: "control character (1)"},
		"bytes that are none":                {in: "a\x9b31m\xff", want: "a\ufffd31m\ufffd", plain: "a\ufffd31m\ufffd"},
		"a string without end hides no line": {in: "\x1b]0;x\nrm -rf /\n", want: "\nrm -rf /\n", plain: "\nrm -rf /\n", left: "title (1)"},
		"nor does a long one":                {in: "\x1bPx" + strings.Repeat("y", maxString) + "z", want: "yz", plain: "yz", left: "string (1)"},
		"a sequence without end":             {in: "\x1b[1;\nx", want: "\nx", plain: "\nx", left: "other sequence (1)"},
		"a sequence that is too long":        {in: "\x1b[" + strings.Repeat("1;", 100) + "mx", want: "x", plain: "x", left: "other sequence (1)"},
		"another one within":                 {in: "\x1b[1\x1b[31mx\x1b]0;a\x1b[mb", want: "\x1b[31mx\x1b[mb", plain: "xb", left: "other sequence (1), title (1)"},
		"deleted":                            {in: "ab\x7f", want: "ab", plain: "ab\b", left: "control character (1)"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for plain, want := range map[bool]string{false: c.want, true: c.plain} {
				whole, split := Filter{Plain: plain}, Filter{Plain: plain}
				got := whole.Close(whole.Write(nil, []byte(c.in)))
				if d := cmp.Diff(want, string(got)); d != "" {
					t.Errorf("plain %t (-want +got):\n%s", plain, d)
				}
				var parts []byte
				for i := range len(c.in) {
					parts = split.Write(parts, []byte(c.in[i:i+1]))
				}
				if d := cmp.Diff(string(got), string(split.Close(parts))); d != "" {
					t.Errorf("plain %t, byte by byte:\n%s", plain, d)
				}
				if !plain && whole.Left() != c.left {
					t.Errorf("left %q, want %q", whole.Left(), c.left)
				}
			}
		})
	}
}

// FuzzFilter looks for what is no text in what passes: nothing but sequences that judge would let pass.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"\x1b]52;c;x\x07", "\x1b[6n", "\u009b6n", "\x1b[\x1b]0;\x1b\\", "\xc2\x9b6n", "\x1b\x1b[c", "\x1b[1\u009d"} {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		var filter Filter
		var out []byte
		for rest := in; len(rest) > 0; {
			n := min(int(cut%7)+1, len(rest))
			out = filter.Write(out, rest[:n])
			rest = rest[n:]
		}
		out = filter.Close(out)
		if !utf8.Valid(out) {
			t.Fatalf("%q is not UTF-8", out)
		}
		if len(out) > 4*len(in)+64 {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
		// What passed passes again, as it is: it holds nothing else.
		again := Filter{}
		if twice := again.Close(again.Write(nil, out)); string(twice) != string(out) || again.Left() != "" {
			t.Fatalf("%q became %q and then %q, left %q", in, out, twice, again.Left())
		}
		plain := Filter{Plain: true}
		for _, r := range string(plain.Close(plain.Write(nil, in))) {
			if r < 0x20 && !strings.ContainsRune("\r\n\t\b", r) || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%q in the text of %q", r, in)
			}
		}
	})
}

func TestLines(t *testing.T) {
	type line struct {
		First uint64
		Text  string
	}
	cases := map[string]struct {
		parts []string
		want  []line
	}{
		"a word in keystrokes": {[]string{"r", "m", " ", "-", "r", "\r"}, []line{{1, "rm -r"}}},
		"what was deleted":     {[]string{"lz\x7fs\r", "x\b\b"}, []line{{1, "ls"}}},
		"colours within":       {[]string{"a\x1b[31", "mb\x1b[0m\r\nc"}, []line{{1, "ab"}, {2, "c"}}},
		"no end":               {[]string{"", "x"}, []line{{2, "x"}}},
		"a line without bound": {[]string{strings.Repeat("é", maxLine/2), "yz"}, []line{{1, strings.Repeat("é", maxLine/2)}, {2, "yz"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var l Lines
			var got []line
			each := func(first uint64, text []byte) error {
				got = append(got, line{first, string(text)})
				return nil
			}
			for i, p := range c.parts {
				if err := l.Write(uint64(i+1), []byte(p), each); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Flush(each); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
