package fn

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking"
)

func functions() map[string]v1alpha1.MaskFunction {
	return map[string]v1alpha1.MaskFunction{
		"redact":  {Redact: &v1alpha1.RedactFunction{}},
		"partial": {Partial: &v1alpha1.PartialFunction{KeepFirst: 1, KeepLast: 4}},
		"email":   {Email: &v1alpha1.EmailFunction{}},
		"fixed":   {Fixed: &v1alpha1.FixedFunction{Value: "n/a"}},
		"null":    {Null: &v1alpha1.NullFunction{}},
		"hash":    {Hash: &v1alpha1.HashFunction{Length: 16}},
		"date":    {Date: &v1alpha1.DateFunction{Precision: v1alpha1.PrecisionMonth}},
		"number":  {Number: &v1alpha1.NumberFunction{MultipleOf: 100}},
	}
}

func TestMask(t *testing.T) {
	tests := map[string]struct {
		function string
		src      string
		want     string
		wantNull bool
	}{
		"redact":             {"redact", "4111 1111", "[redacted]", false},
		"redact nothing":     {"redact", "", "[redacted]", false},
		"fixed":              {"fixed", "4111 1111", "n/a", false},
		"null":               {"null", "4111 1111", "", true},
		"partial":            {"partial", "4111111111111111", "4***********1111", false},
		"partial characters": {"partial", "ÄÖÜäöüßéèê", "Ä*****ßéèê", false},
		"partial short":      {"partial", "12345", "*****", false},
		"partial halved":     {"partial", "123456", "***456", false},
		"partial empty":      {"partial", "", "", false},
		"partial bad bytes":  {"partial", "\xff234567890\xfe", "*******890*", false},
		"email":              {"email", "alice@example.com", "a***@example.com", false},
		"email one letter":   {"email", "a@example.com", "***@example.com", false},
		"email two signs":    {"email", "a@b@example.com", "a***@example.com", false},
		"email no sign":      {"email", "alice", "***", false},
		"email no local":     {"email", "@example.com", "***", false},
		"email free text":    {"email", "call me @ 555-1234", "***", false},
		"email no dot":       {"email", "alice@secret", "***", false},
		"email empty label":  {"email", "alice@a..b", "***", false},
		"email last dot":     {"email", "alice@example.", "***", false},
		"email odd first":    {"email", "\"x y\"@example.com", "***@example.com", false},
		"email bad bytes":    {"email", "\xffx@example.com", "***@example.com", false},
		"email empty":        {"email", "", "***", false},
		"email long label":   {"email", "al@" + strings.Repeat("x", 64) + ".com", "***", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := New(functions()[tc.function], Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, null, err := f.Mask([]byte("dst:"), []byte(tc.src))
			if err != nil || string(got) != "dst:"+tc.want || null != tc.wantNull {
				t.Errorf("Mask(%q) = %q, %t, %v; want %q, %t", tc.src, got, null, err, "dst:"+tc.want, tc.wantNull)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	tests := map[string]v1alpha1.MaskFunction{
		"none":             {},
		"two":              {Redact: &v1alpha1.RedactFunction{}, Null: &v1alpha1.NullFunction{}},
		"partial nothing":  {Partial: &v1alpha1.PartialFunction{}},
		"partial negative": {Partial: &v1alpha1.PartialFunction{KeepFirst: -1, KeepLast: 4}},
		"partial too much": {Partial: &v1alpha1.PartialFunction{KeepLast: 17}},
		"fixed too long":   {Fixed: &v1alpha1.FixedFunction{Value: strings.Repeat("x", 257)}},
		"fixed bad bytes":  {Fixed: &v1alpha1.FixedFunction{Value: "\xff"}},
		"hash too short":   {Hash: &v1alpha1.HashFunction{Length: 15}},
		"hash too long":    {Hash: &v1alpha1.HashFunction{Length: 53}},
		"hash negative":    {Hash: &v1alpha1.HashFunction{Length: -1}},
		"date nothing":     {Date: &v1alpha1.DateFunction{}},
		"date unknown":     {Date: &v1alpha1.DateFunction{Precision: "Decade"}},
		"number nothing":   {Number: &v1alpha1.NumberFunction{}},
		"number negative":  {Number: &v1alpha1.NumberFunction{MultipleOf: -5}},
		"number too much":  {Number: &v1alpha1.NumberFunction{MultipleOf: 1_000_000_000_001}},
		"fixed NUL":        {Fixed: &v1alpha1.FixedFunction{Value: "\x00"}},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			if made, err := New(f, Options{}); err == nil {
				t.Errorf("New() = %v, want an error", made)
			}
		})
	}
}

func TestMaskAllocatesNothing(t *testing.T) {
	src, dst := []byte("alice.smith@example.com"), make([]byte, 0, 64)
	for name, spec := range functions() {
		f, err := New(spec, Options{Secret: make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _, _ = f.Mask(dst, src) }); n != 0 && !raced {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// FuzzPartial checks that no more characters than kept ones survive, that half of them at
// least is masked, and that the result is UTF-8 of the same number of characters.
func FuzzPartial(f *testing.F) {
	for _, s := range []string{"", "a", "4111111111111111", "ÄÖÜ\xff\xfe", "\xe2\x82", "🜚🜛"} {
		f.Add([]byte(s), int8(1), int8(4))
	}
	f.Fuzz(func(t *testing.T, src []byte, first, last int8) {
		m, err := New(v1alpha1.MaskFunction{Partial: &v1alpha1.PartialFunction{KeepFirst: int32(first), KeepLast: int32(last)}}, Options{})
		if err != nil {
			t.Skip()
		}
		out, null, err := m.Mask(nil, src)
		if err != nil || null || !utf8.Valid(out) {
			t.Fatalf("Mask(%q) = %q, %t, %v", src, out, null, err)
		}
		in, got := []rune(string(src)), []rune(string(out))
		if len(in) != len(got) {
			t.Fatalf("%d characters became %d", len(in), len(got))
		}
		kept := 0
		for i, r := range got {
			switch {
			case r == '*':
			case r != in[i] || i >= int(first) && i < len(in)-int(last):
				t.Fatalf("Mask(%q) = %q: character %d", src, out, i)
			default:
				kept++
			}
		}
		if kept > int(first)+int(last) || kept > len(in)/2 {
			t.Fatalf("Mask(%q) = %q keeps %d characters", src, out, kept)
		}
	})
}

// FuzzEmail checks that nothing of the local part but its first character survives.
func FuzzEmail(f *testing.F) {
	for _, s := range []string{"", "@", "a@b.c", "alice@example.com", "x@y@z.example", "\xff@a.b"} {
		f.Add([]byte(s))
	}
	m, err := New(v1alpha1.MaskFunction{Email: &v1alpha1.EmailFunction{}}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		out, null, err := m.Mask(nil, src)
		if err != nil || null || !utf8.Valid(out) {
			t.Fatalf("Mask(%q) = %q, %t, %v", src, out, null, err)
		}
		local, domain, found := strings.Cut(string(out), "***")
		if !found || utf8.RuneCountInString(local) > 1 || domain != "" && (domain[0] != '@' || strings.Count(domain, "@") > 1) {
			t.Fatalf("Mask(%q) = %q", src, out)
		}
	})
}

// TestShowsNull holds the functions that are said to make NULL of no text to that.
func TestShowsNull(t *testing.T) {
	shown := 0
	for name, f := range functions() {
		made, err := New(f, Options{Secret: make([]byte, 32)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !ShowsNull(made) {
			continue
		}
		shown++
		for _, length := range []int{0, 1, 5} {
			for _, text := range []string{"", " ", "a", "@", "a@b.example", "infinity", "\xff\x00", strings.Repeat("x", 1000)} {
				if _, null, err := masking.For(made, masking.Type{Kind: masking.Text, Length: length}).Mask(nil, []byte(text)); null || err != nil {
					t.Errorf("%s makes NULL of %q: %v", name, text, err)
				}
			}
		}
	}
	if shown != 5 {
		t.Errorf("%d functions show NULL", shown)
	}
}
