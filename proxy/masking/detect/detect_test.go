package detect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

var all = []v1alpha1.Detector{v1alpha1.DetectCreditCard, v1alpha1.DetectSSN, v1alpha1.DetectEmail, v1alpha1.DetectIBAN, v1alpha1.DetectToken}

func newSet(t testing.TB, list ...v1alpha1.Detector) *Set {
	t.Helper()
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Built of parts, so that no scanner of sources takes them for real.
var (
	jwtToken  = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N"
	gitHub    = "ghp_" + strings.Repeat("a1B2", 9)
	amazon    = "AKIA" + "IOSFODNN7EXAMPLE"
	slack     = "xoxb-" + "123456789012-abcdef"
	ownSecret = "cda_" + strings.Repeat("x9_-", 10) + "abc"
	pem       = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIB+/a=\nQUJD\n-----END RSA " + "PRIVATE KEY-----"
)

// replaced are texts and what becomes of them; those without want have no finding.
var replaced = map[string]struct {
	in, want string
	form     Form
}{
	"card":                       {in: "4111111111111111", want: "[card]"},
	"card in text":               {in: "pay with 4111 1111 1111 1111, please", want: "pay with [card], please"},
	"card with dashes":           {in: "x5500-0000-0000-0004y", want: "x[card]y"},
	"card of 15 digits":          {in: "3782 822463 10005", want: "[card]"},
	"card of 13 digits":          {in: "4222222222222", want: "[card]"},
	"card of 19 digits":          {in: "6304000000000000000", want: "[card]"},
	"card and its code":          {in: "4111 1111 1111 1111 123", want: "[card] 123"},
	"card and a date":            {in: "4111111111111111 12/29", want: "[card] 12/29"},
	"card behind a number":       {in: "12 4111 1111 1111 1111", want: "12 [card]"},
	"two cards":                  {in: "4111111111111111,5500000000000004", want: "[card],[card]"},
	"card at the end of a line":  {in: "4111111111111111.", want: "[card]."},
	"wrong check digit":          {in: "4111111111111112"},
	"too many digits":            {in: "41111111111111110000"},
	"mixed separators":           {in: "4111 1111-1111 1111"},
	"two blanks":                 {in: "4111  1111  1111  1111"},
	"fraction":                   {in: "0.4111111111111111"},
	"decimal":                    {in: "4111111111111111.5"},
	"milliseconds":               {in: "1700000000000 1700000000000000"},
	"no issuer":                  {in: "0000000000000000"},
	"ssn":                        {in: "ssn:123-45-6789.", want: "ssn:[ssn]."},
	"ssn twice":                  {in: "123-45-6789 123-45-6788", want: "[ssn] [ssn]"},
	"ssn no area":                {in: "000-45-6789 666-45-6789 900-45-6789"},
	"ssn no group":               {in: "123-00-6789 123-45-0000"},
	"ssn in more digits":         {in: "1123-45-6789 123-45-67890"},
	"ssn without dashes":         {in: "123456789 123 45 6789"},
	"telephone":                  {in: "555-123-4567"},
	"email":                      {in: "write to a.b+c@mail.example.co.uk.", want: "write to [email]."},
	"email in brackets":          {in: "<ada@example.com>;(bob@example.com)", want: "<[email]>;([email])"},
	"email with umlauts":         {in: "jörg@müller.de", want: "[email]"},
	"email of one label":         {in: "root@localhost"},
	"version":                    {in: "left-pad@1.3.0"},
	"signs":                      {in: "@@@ @x.com a@ b"},
	"email twice":                {in: "a@b.com@c.com", want: "[email]@c.com"},
	"iban":                       {in: "DE89370400440532013000", want: "[iban]"},
	"iban in groups":             {in: "to GB82 WEST 1234 5698 7654 32.", want: "to [iban]."},
	"iban in lower case":         {in: "no9386011117947", want: "[iban]"},
	"iban wrong check":           {in: "DE88370400440532013000"},
	"iban longer":                {in: "DE893704004405320130001"},
	"iban cut":                   {in: "DE8937040044053201300"},
	"iban of no country":         {in: "XX89370400440532013000"},
	"jwt":                        {in: "Bearer " + jwtToken + "\n", want: "Bearer [token]\n"},
	"half a jwt":                 {in: "eyJhbGciOiJIUzI1NiJ9 eyJ"},
	"github":                     {in: "token=" + gitHub + ";", want: "token=[token];"},
	"amazon":                     {in: amazon, want: "[token]"},
	"slack":                      {in: slack, want: "[token]"},
	"gate":                       {in: "cardea " + ownSecret, want: "cardea [token]"},
	"a word with sk-":            {in: "sk-learn-is-a-library-for-machine-learning"},
	"sk":                         {in: "sk-" + "proj-abcdefghij0123456789", want: "[token]"},
	"inside of a word":           {in: "xghp_" + strings.Repeat("a", 36)},
	"private key":                {in: "a " + pem + " b", want: "a [token] b"},
	"private key cut off":        {in: "-----BEGIN PRIVATE " + "KEY-----\nMIIB(", want: "[token]("},
	"certificate":                {in: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
	"a line":                     {in: strings.Repeat("-", 100)},
	"nothing":                    {in: "the quick brown fox jumps over 13 lazy dogs in 2026"},
	"empty":                      {in: ""},
	"not UTF-8":                  {in: "\xff4111111111111111\xfe", want: "\xff[card]\xfe"},
	"token in colour":            {in: "\x1b[01;31m\x1b[K" + gitHub + "\x1b[m", want: "\x1b[01;31m\x1b[K[token]\x1b[m"},
	"web token in colour":        {in: "\x1b[31m" + jwtToken + "\x1b[0m", want: "\x1b[31m[token]\x1b[0m"},
	"no colour":                  {in: "[31m" + gitHub + " \x1b[31;x1m" + gitHub + " m" + gitHub},
	"token behind an escape":     {in: `a\n` + gitHub, want: `a\n[token]`},
	"json":                       {in: `{"a":"4111111111111111"}`, want: `{"a":"[card]"}`, form: JSON},
	"json number":                {in: `{"a":4111111111111111,"b":[5500000000000004]}`, want: `{"a":"[card]","b":["[card]"]}`, form: JSON},
	"json negative number":       {in: `[-4111111111111111]`, want: `["[card]"]`, form: JSON},
	"json exponent":              {in: `[4111111111111111e2]`, want: `["[card]"]`, form: JSON},
	"json escape":                {in: `{"a":"\nada@example.com"}`, want: `{"a":"\n[email]"}`, form: JSON},
	"json unicode escape":        {in: `["\u00e9ada@example.com"]`, want: `["\u00e9[email]"]`, form: JSON},
	"json digits of an escape":   {in: `["\u4111111111111111"]`, want: `["\u4111[card]"]`, form: JSON},
	"json quotes":                {in: `{"\"4":"\\","b":4111111111111111}`, want: `{"\"4":"\\","b":"[card]"}`, form: JSON},
	"json private key":           {in: `{"k":"-----BEGIN PRIVATE ` + `KEY-----\nMIIB\/x\n-----END PRIVATE ` + `KEY-----\n","z":1}`, want: `{"k":"[token]\n","z":1}`, form: JSON},
	"json private key cut off":   {in: `["-----BEGIN PRIVATE ` + `KEY-----\nMIIB\"","-----"]`, want: `["[token]\"","-----"]`, form: JSON},
	"json key without its label": {in: `["-----BEGIN PRIVATE ` + `KEY-----\nA-----END ","-----"]`, want: `["[token]","-----"]`, form: JSON},
	"copy":                       {in: "1\tada@example.com\tx\\tbob@example.com\n", want: "1\t[email]\tx\\t[email]\n", form: Escaped},
	"array":                      {in: `{ada@example.com,"4111 1111 1111 1111"}`, want: `{[email],"[card]"}`, form: Escaped},
}

func TestReplace(t *testing.T) {
	s := newSet(t, all...)
	for name, tc := range replaced {
		t.Run(name, func(t *testing.T) {
			got, n := s.Replace([]byte("dst:"), []byte(tc.in), tc.form)
			want := "dst:" + tc.want
			if tc.want == "" {
				want = "dst:"
			}
			if string(got) != want || (n > 0) != (tc.want != "") || s.Found([]byte(tc.in)) != (n > 0) {
				t.Errorf("Replace(%q) = %q, %d; want %q", tc.in, got, n, want)
			}
			if tc.form == JSON && tc.want != "" && !json.Valid(got[4:]) {
				t.Errorf("%q is no JSON", got[4:])
			}
		})
	}
}

func TestOneDetectorFindsItsOwnAlone(t *testing.T) {
	values := map[v1alpha1.Detector]string{v1alpha1.DetectCreditCard: "4111111111111111", v1alpha1.DetectSSN: "123-45-6789",
		v1alpha1.DetectEmail: "ada@example.com", v1alpha1.DetectIBAN: "DE89370400440532013000", v1alpha1.DetectToken: gitHub}
	for d := range values {
		s := newSet(t, d)
		for of, v := range values {
			if got := s.Found([]byte(v)); got != (of == d) {
				t.Errorf("%s finds %s: %t", d, of, got)
			}
		}
	}
	none := newSet(t)
	if out, n := none.Replace(nil, []byte("4111111111111111"), Plain); none.Found([]byte("4111111111111111")) || n != 0 || len(out) != 0 {
		t.Error("no detector finds something")
	}
	if _, err := New([]v1alpha1.Detector{"Passport"}); err == nil {
		t.Error("an unknown detector is taken")
	}
	joined := Join(newSet(t, v1alpha1.DetectSSN), newSet(t, v1alpha1.DetectEmail))
	for _, v := range values {
		if got, want := joined.Found([]byte(v)), v == "123-45-6789" || v == "ada@example.com"; got != want {
			t.Errorf("both find %s: %t", v, got)
		}
	}
	if s := newSet(t, v1alpha1.DetectSSN); Join(nil, s) != s || Join(s, nil) != s || Join(nil, nil) != nil {
		t.Error("nothing is joined to something else")
	}
}

func TestCleanTextAllocatesNothing(t *testing.T) {
	s, text := newSet(t, all...), []byte(strings.Repeat(clean, 100))
	if n := testing.AllocsPerRun(20, func() { s.Replace(nil, text, JSON) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzReplace checks that JSON stays JSON, that text without a finding is not touched, and
// that a card's number between other characters never survives.
func FuzzReplace(f *testing.F) {
	for _, v := range []string{"", "4111111111111111", `{"a":["\u00e9a@b.com",4111111111111111]}`, jwtToken, pem, "GB82 WEST 1234 5698 7654 32", "123-45-6789", `"\\\"4111 1111 1111 1111"`} {
		f.Add([]byte(v))
	}
	s := newSet(f, all...)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, form := range []Form{Plain, Escaped, JSON} {
			out, n := s.Replace(nil, b, form)
			if (n == 0) != (len(out) == 0) || n > 0 != s.Found(b) {
				t.Fatalf("%d findings give %q", n, out)
			}
			if form == JSON && n > 0 && json.Valid(b) && !json.Valid(out) {
				t.Fatalf("%q became %q", b, out)
			}
		}
		const number = "4111111111111111"
		if out, _ := s.Replace(nil, append(append([]byte(number), '|'), b...), Plain); strings.HasPrefix(string(out), number) {
			t.Fatalf("%q", out)
		}
	})
}

const clean = "2026-11-23 10:15:02 order 4711 of customer 1234 was shipped to Springfield; total 129.95 EUR, see https://shop.example/orders/4711 (note: e-mail sent)\n"

func BenchmarkCleanText(b *testing.B) {
	s, text := newSet(b, all...), []byte(strings.Repeat(clean, 7000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, n := s.Replace(nil, text, Plain); n != 0 {
			b.Fatal("clean text has a finding")
		}
	}
}

// BenchmarkHostileText is text that is made to be read again and again.
func BenchmarkHostileText(b *testing.B) {
	for name, part := range map[string]string{"sk": "sk-", "jwt": "eyJ-", "signs": "a@a.", "cards": "4111 ", "iban": "DE89 ", "dashes": "-----BEGIN ", "escapes": `\\`} {
		s, text := newSet(b, all...), []byte(strings.Repeat(part, 1<<20/len(part)))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				s.Found(text)
			}
		})
	}
}
