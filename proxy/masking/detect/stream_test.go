package detect

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// split writes a text in parts of the sizes that size gives, and returns what went on.
func split(t testing.TB, set *Set, text string, size func() int) (out string, found int) {
	t.Helper()
	s := NewStream(set)
	var dst []byte
	for rest := []byte(text); len(rest) > 0; {
		part := bytes.Clone(rest[:min(max(size(), 1), len(rest))])
		rest = rest[len(part):]
		dst = s.Write(dst, part)
		clear(part) // nothing of it is kept
		if held := s.Held(); held > maxHeld+maxLocal {
			t.Fatalf("%d bytes are held", held)
		}
		if size := cap(s.buf); size > 4*(maxHeld+maxPart) {
			t.Fatalf("a buffer of %d bytes", size)
		}
	}
	dst = s.Flush(dst)
	if s.Held() != 0 {
		t.Fatalf("%d bytes are held after the end", s.Held())
	}
	return string(dst), s.Found()
}

func whole() int { return 1 << 30 }

func each(n int) func() int { return func() int { return n } }

func inTwo(at int) func() int {
	first := true
	return func() int {
		if first {
			first = false
			return at
		}
		return whole()
	}
}

func TestStreamReplacesAsAWhole(t *testing.T) {
	set := newSet(t, all...)
	for name, tc := range replaced {
		if tc.form != Plain {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := tc.want
			if want == "" {
				want = tc.in
			}
			for at := range len(tc.in) + 1 {
				if got, _ := split(t, set, tc.in, inTwo(at)); got != want {
					t.Errorf("split at %d: %q, want %q", at, got, want)
				}
			}
			for n := range 5 {
				if got, _ := split(t, set, tc.in, each(n+1)); got != want {
					t.Errorf("in parts of %d: %q, want %q", n+1, got, want)
				}
			}
		})
	}
}

// TestStreamPassesWhatIsNoValue is about what has to appear at once.
func TestStreamPassesWhatIsNoValue(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"prompt":            {in: "root@web-0:/# ", want: "root@web-0:/# "},
		"question":          {in: "Continue? [y/n]", want: "Continue? [y/n]"},
		"password":          {in: "Password: ", want: "Password: "},
		"line":              {in: "4711 done\n", want: "4711 done\n"},
		"card and an end":   {in: "4111 1111 1111 1111\n", want: "[card]\n"},
		"word":              {in: "a word", want: "a "},
		"number":            {in: "x: 4111", want: "x: "},
		"key that began":    {in: "x: " + pem[:60], want: "x: [token]"},
		"key":               {in: pem, want: "[token]"},
		"key without label": {in: pem[:len(pem)-5], want: "[token]"},
		"token":             {in: gitHub + "\r", want: "[token]\r"},
		"dashes":            {in: "-- -----BEGIN CERT", want: "-- "},
		"dashes of a line":  {in: "------------\n", want: "------------\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewStream(newSet(t, all...))
			if got := string(s.Write(nil, []byte(tc.in))); got != tc.want {
				t.Errorf("%q goes on, want %q", got, tc.want)
			}
		})
	}
}

func TestStreamOfLongValues(t *testing.T) {
	run := strings.Repeat("aB3_", 3*maxHeld/4)
	text := strings.ReplaceAll(run, "_", "/")
	tests := map[string]struct{ in, want string }{
		"key":                     {in: "a\n" + strings.Replace(pem, "MIIB", text[:100]+strings.Repeat("\n"+text[:64], 1000), 1) + "\nb", want: "a\n[token]\nb"},
		"key cut off":             {in: pem[:40] + text, want: "[token]"},
		"web token":               {in: "eyJ" + run + ".eyJ" + run + "." + run + " b", want: "[token] b"},
		"web token of two dots":   {in: "eyJ" + run + "..eyJ", want: "[token]..eyJ"},
		"no web token, but long":  {in: "eyJ" + run + "\n" + gitHub, want: "[token]\n[token]"},
		"nearly as long":          {in: "eyJ" + run[:maxHeld-4] + "\n", want: "eyJ" + run[:maxHeld-4] + "\n"},
		"token":                   {in: "ghp_" + run + run + ".b", want: "[token].b"},
		"token with dots":         {in: "SG." + run + "." + run + "\n", want: "[token]\n"},
		"a word with a dash":      {in: "sk-" + strings.Repeat("a", 2*maxHeld), want: "sk-" + strings.Repeat("a", 2*maxHeld)},
		"run":                     {in: run + run, want: run + run},
		"digits":                  {in: strings.Repeat("4", 3*maxHeld), want: strings.Repeat("4", 3*maxHeld)},
		"domain":                  {in: "a@b.cc" + strings.Repeat("d", 300) + " ", want: "[email]" + strings.Repeat("d", 300-maxDomain+len("b.cc")) + " "},
		"bytes of no character":   {in: "a@" + strings.Repeat("\x80", 3*maxHeld)},
		"domain of no characters": {in: "a@b.c" + strings.Repeat("\x80", 3*maxHeld)},
	}
	set := newSet(t, all...)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			want, _ := split(t, set, tc.in, whole)
			if tc.want != "" && want != tc.want {
				t.Errorf("%.100q (%d bytes), want %.100q", want, len(want), tc.want)
			}
			for _, n := range []int{1, 7, 64, 1000, maxHeld - 1, maxHeld, maxHeld + 1, maxPart, maxPart + 1} {
				if got, _ := split(t, set, tc.in, each(n)); got != want {
					t.Errorf("in parts of %d: %.100q (%d bytes), want %.100q", n, got, len(got), want)
				}
			}
		})
	}
}

func TestStreamGoesOnBehindAFlush(t *testing.T) {
	tests := map[string]struct {
		parts []string
		want  string
	}{
		"prompt and an answer":   {parts: []string{"login", ": "}, want: "login: "},
		"value before the flush": {parts: []string{"4111111111111111", "\n4111111111111111"}, want: "[card]\n[card]"},
		"cut in two":             {parts: []string{"41111111", "11111111\n"}, want: "4111111111111111\n"},
		"token that goes on":     {parts: []string{gitHub, "abc", "def\nghi\n"}, want: "[token]\nghi\n"},
		"web token":              {parts: []string{jwtToken[:50], jwtToken[50:], "x.", "y z"}, want: "[token]. z"},
		"key":                    {parts: []string{pem[:40], pem[40:45], pem[45 : len(pem)-12], pem[len(pem)-12:], "\n$ "}, want: "[token]\n$ "},
		"key with escapes":       {parts: []string{pem[:40] + `\`, `n` + "abc(d"}, want: "[token](d"},
		"before a word":          {parts: []string{"x", gitHub}, want: "x" + gitHub},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewStream(newSet(t, all...))
			var got []byte
			for _, part := range tc.parts {
				got = s.Flush(s.Write(got, []byte(part)))
			}
			if string(got) != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestStreamOfNoDetectors(t *testing.T) {
	s := NewStream(nil)
	if got := string(s.Flush(s.Write([]byte("a"), []byte("4111111111111111")))); got != "a4111111111111111" || s.Held() != 0 {
		t.Errorf("%q", got)
	}
}

// Rules that change in the middle of a text hold from there on, and lose nothing of it.
func TestStreamOfOtherDetectors(t *testing.T) {
	s := NewStream(nil)
	var got []byte
	for _, step := range []struct {
		set  *Set
		text string
	}{
		{nil, "411111111111"}, {newSet(t, all...), "1111 4111111111111111, 123-45"}, {newSet(t, v1alpha1.DetectSSN), "-6789 4111111111111111 a"},
		{nil, "@b.com 123-45-"}, {newSet(t, all...), "6789 ghp_"}, {nil, "x"},
	} {
		s.Use(step.set)
		got = s.Write(got, []byte(step.text))
	}
	want := "4111111111111111 [card], [ssn] 4111111111111111 a@b.com 123-45-6789 ghp_x"
	if got = s.Flush(got); string(got) != want || s.Held() != 0 {
		t.Errorf("%q, want %q", got, want)
	}
}

// pieces are what hostile texts are made of.
var pieces = []string{
	"4111111111111111", "4111 1111", " 1111 1111", "123-45-6789", "ada@example.com", "a@", "@b.cc", "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32",
	"ghp_", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2", "eyJ", "eyJhbGciOiJIUzI1NiJ9", ".", "-", "-----BEGIN ", "PRIVATE KEY", "-----", "-----END ", "RSA ", `\n`, `\`, "\n",
	" ", "\x1b[31m", "\x1b[", "m", "K", "\xff", "é", "sk-", "SG.", "x", "9", "_", "0.", "cda_",
}

func TestStreamIsTheSameForAnySplit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same texts each time
	set := newSet(t, all...)
	for range 3000 {
		var text strings.Builder
		for range 1 + random.IntN(30) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		checkSplits(t, set, text.String(), func() int { return 1 + random.IntN(1+random.IntN(40)) })
	}
}

func checkSplits(t *testing.T, set *Set, text string, size func() int) {
	t.Helper()
	want, found := split(t, set, text, whole)
	if got, n := split(t, set, text, size); got != want || n != found {
		t.Fatalf("%q gives\n%q, in parts\n%q", text, want, got)
	}
	as, n := set.Replace(nil, []byte(text), Plain)
	if n == 0 {
		as = []byte(text)
	}
	// A key that is cut off in its last line is dropped whole.
	if string(as) != want && !strings.Contains(text, "PRIVATE KEY") && len(text) < maxHeld {
		t.Fatalf("%q gives\n%q, as a whole\n%q", text, want, as)
	}
}

func FuzzStream(f *testing.F) {
	for _, p := range pieces {
		f.Add([]byte(p+p), uint64(len(p)))
	}
	f.Add([]byte(pem+jwtToken), uint64(3))
	f.Add([]byte("eyJ"+strings.Repeat("a", maxHeld)), uint64(100))
	set := newSet(f, all...)
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the same parts each time
		checkSplits(t, set, string(text), func() int { return 1 + random.IntN(1+int(seed%100)) })
	})
}

func BenchmarkStream(b *testing.B) {
	text := []byte(strings.Repeat(clean, 200))
	s := NewStream(newSet(b, all...))
	dst := make([]byte, 0, 2*len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		dst = s.Write(dst[:0], text)
	}
}
