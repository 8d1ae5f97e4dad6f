package postgres

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/credentials"
)

func scramPair(t *testing.T, passwords []string, try string, binding []byte) (*scramServer, *scramClient) {
	t.Helper()
	s := &scramServer{salt: []byte("0123456789abcdef"), iterations: credentials.Iterations, binding: binding}
	for i, p := range passwords {
		v, err := credentials.NewSCRAM(p, s.salt, s.iterations)
		if err != nil {
			t.Fatal(err)
		}
		s.candidates = append(s.candidates, candidate{id: string(rune('a' + i)), scram: v})
	}
	return s, &scramClient{password: try}
}

func TestSCRAM(t *testing.T) {
	binding := []byte("hash of a certificate")
	tests := map[string]struct {
		passwords      []string
		try            string
		offer, bind    []byte
		chosenPlus     bool
		first, last    func(string) string // what happens to the client's messages on the way
		want           string              // the credential; empty: refused
		wantAtFirst    bool                // refused at the first message
		answer         func(string) string // what happens to the server's last message
		wantClientFail bool
	}{
		"the password":                   {passwords: []string{"one"}, try: "one", want: "a"},
		"the older password":             {passwords: []string{"new", "old"}, try: "old", want: "b"},
		"a wrong one":                    {passwords: []string{"one"}, try: "two"},
		"no such grant":                  {try: "one"},
		"an empty one":                   {passwords: []string{"one"}},
		"with channel binding":           {passwords: []string{"one"}, try: "one", offer: binding, bind: binding, chosenPlus: true, want: "a"},
		"bound to another certificate":   {passwords: []string{"one"}, try: "one", offer: binding, bind: []byte("other"), chosenPlus: true},
		"without it though it is there":  {passwords: []string{"one"}, try: "one", offer: binding, want: "a"},
		"the offer was taken away":       {passwords: []string{"one"}, try: "one", offer: binding, first: replace("n,,", "y,,"), wantAtFirst: true},
		"binding without the mechanism":  {passwords: []string{"one"}, try: "one", offer: binding, bind: binding, wantAtFirst: true},
		"the mechanism without binding":  {passwords: []string{"one"}, try: "one", offer: binding, chosenPlus: true, wantAtFirst: true},
		"another kind of binding":        {passwords: []string{"one"}, try: "one", offer: binding, bind: binding, chosenPlus: true, first: replace("tls-server-end-point", "tls-unique"), wantAtFirst: true},
		"as somebody else":               {passwords: []string{"one"}, try: "one", first: replace("n,,", "n,a=root,"), wantAtFirst: true},
		"a mandatory extension":          {passwords: []string{"one"}, try: "one", first: replace("n=", "m=x,n="), wantAtFirst: true},
		"no nonce":                       {passwords: []string{"one"}, try: "one", first: func(string) string { return "n,,n=,r=" }, wantAtFirst: true},
		"a comma in the nonce":           {passwords: []string{"one"}, try: "one", first: func(string) string { return "n,,n=,r=\x01" }, wantAtFirst: true},
		"nothing":                        {passwords: []string{"one"}, try: "one", first: func(string) string { return "" }, wantAtFirst: true},
		"another nonce":                  {passwords: []string{"one"}, try: "one", last: replace(",r=", ",r=x")},
		"another header":                 {passwords: []string{"one"}, try: "one", last: replace("c=biws", "c=eSws")},
		"no proof":                       {passwords: []string{"one"}, try: "one", last: proof("")},
		"a short proof":                  {passwords: []string{"one"}, try: "one", last: proof(",p=AAAA")},
		"a proof of zeros":               {passwords: []string{"one"}, try: "one", last: proof(",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32)))},
		"an extension in the last":       {passwords: []string{"one"}, try: "one", last: replace(",p=", ",x=y,p=")},
		"a server without the password":  {passwords: []string{"one"}, try: "one", want: "a", answer: func(string) string { return "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32)) }, wantClientFail: true},
		"a server that says nothing":     {passwords: []string{"one"}, try: "one", want: "a", answer: func(string) string { return "" }, wantClientFail: true},
		"a server that says it is wrong": {passwords: []string{"one"}, try: "one", want: "a", answer: func(string) string { return "e=other-error" }, wantClientFail: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := scramPair(t, test.passwords, test.try, test.offer)
			s.plus, c.binding = test.chosenPlus, test.bind
			m, err := c.first(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if test.first != nil {
				m = test.first(m)
			}
			m, err = s.first(m, rand.Reader)
			if (err != nil) != test.wantAtFirst {
				t.Fatalf("first: %v", err)
			}
			if err != nil {
				return
			}
			if m, err = c.final(m); err != nil {
				t.Fatal(err)
			}
			if test.last != nil {
				m = test.last(m)
			}
			m, id, err := s.final(m)
			if id != test.want || (err == nil) != (test.want != "") {
				t.Fatalf("id = %q, err = %v", id, err)
			}
			if err != nil {
				return
			}
			if test.answer != nil {
				m = test.answer(m)
			}
			if err := c.verify(m); (err != nil) != test.wantClientFail {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

func replace(old, by string) func(string) string {
	return func(m string) string { return strings.Replace(m, old, by, 1) }
}

// proof puts another proof, or none, in the place of that of the last message.
func proof(by string) func(string) string {
	return func(m string) string {
		before, _, _ := strings.Cut(m, ",p=")
		return before + by
	}
}

// TestSCRAMVector is the exchange of RFC 7677, section 3.
func TestSCRAMVector(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	v, err := credentials.NewSCRAM("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	s := &scramServer{salt: salt, iterations: 4096, candidates: []candidate{{id: "x", scram: v}}}
	s.gs2, s.clientFirst = "n,,", "n=user,r=rOprNGfwEbeRWgbNEkqO"
	s.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	s.serverFirst = "r=" + s.nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	answer, id, err := s.final("c=biws,r=" + s.nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	if err != nil || id != "x" || answer != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("%q %q %v", answer, id, err)
	}
}

func TestSCRAMClientRefuses(t *testing.T) {
	for name, m := range map[string]string{
		"nothing":             "",
		"another nonce":       "r=other,s=AAAA,i=4096",
		"its own nonce alone": "r=NONCE,s=AAAA,i=4096",
		"no salt":             "r=NONCEx,s=,i=4096",
		"salt that is none":   "r=NONCEx,s=!,i=4096",
		"endless work":        "r=NONCEx,s=AAAA,i=2000000000",
		"no work":             "r=NONCEx,s=AAAA,i=0",
		"an extension first":  "m=x,r=NONCEx,s=AAAA,i=4096",
	} {
		t.Run(name, func(t *testing.T) {
			c := &scramClient{password: "p"}
			if _, err := c.first(bytes.NewReader(make([]byte, nonceSize))); err != nil {
				t.Fatal(err)
			}
			if _, err := c.final(strings.ReplaceAll(m, "NONCE", c.nonce)); err == nil {
				t.Error("it goes on")
			}
		})
	}
}

func FuzzSCRAMServer(f *testing.F) {
	f.Add("n,,n=,r=abc", "c=biws,r=abc,p=AAAA")
	f.Fuzz(func(t *testing.T, first, final string) {
		s := &scramServer{salt: []byte("salt"), iterations: 4096, binding: []byte("b")}
		if _, err := s.first(first, rand.Reader); err != nil {
			return
		}
		if _, id, err := s.final(final); err == nil || id != "" {
			t.Error("a proof without a credential passed")
		}
	})
}
