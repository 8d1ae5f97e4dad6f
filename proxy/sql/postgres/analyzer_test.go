package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/sql"
)

func TestSensitiveTexts(t *testing.T) {
	cases := map[string]string{
		"alter role x password 'secret'":                                 "alter role x password '#h'",
		"create user x with encrypted password 'secret' valid until 'y'": "create user x with encrypted password '#h' valid until '#h'",
		"do $$ begin execute 'alter role x password ''secret'''; end $$": "do '#h'",
		"select * from dblink('password=secret', 'x') as t(a int)":       "select * from dblink('#h', '#h') as t(a int)",
		"create user mapping for x server s options (password 'secret')": "create user mapping for x server s options (password '#h')",
		"select 'plain'":                  "select 'plain'",
		"alter role x pass word 'secret'": "[not readable: 31 bytes]",
	}
	a := newAnalyzer(t)
	for text, want := range cases {
		f, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := sql.Redact([]byte(text), f, func([]byte) string { return "h" }); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestCache(t *testing.T) {
	c := newCache(2)
	f := []*sql.Facts{{Statements: 1}, {Statements: 2}, {Statements: 3}}
	for i, text := range []string{"a", "b", "c"} {
		c.put([]byte(text), f[i])
		c.get([]byte("a"))
	}
	if c.get([]byte("a")) != f[0] || c.get([]byte("b")) != nil || c.get([]byte("c")) != f[2] || c.recent.Len() != 2 || len(c.entries) != 2 {
		t.Error("the cache does not forget what was used longest ago")
	}
	long := []byte(strings.Repeat("x", maxRemembered+1))
	if c.put(long, f[0]); c.get(long) != nil {
		t.Error("a long text is remembered")
	}
	if none := newCache(0); none.get([]byte("a")) != nil {
		t.Error("a cache of nothing remembers")
	}
}

func TestAnalyzeRemembersNoExecute(t *testing.T) {
	a := newAnalyzer(t)
	for _, text := range []string{"prepare p as select 1; execute p", "select x from"} {
		if _, err := a.Analyze(t.Context(), Input{Text: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if a.cache.get([]byte(text)) != nil {
			t.Errorf("%s is remembered", text)
		}
	}
}

func TestAnalyzeEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := newAnalyzer(t)
	if err := a.texts.Acquire(ctx, maxTexts); err != nil {
		t.Fatal(err)
	}
	cancel()
	if f, err := a.Analyze(ctx, Input{Text: []byte("select 1")}); err == nil || f != nil {
		t.Errorf("facts %v, %v", f, err)
	}
}

// FuzzAnalyze looks for texts that the analyser cannot cope with, and for spans that do
// not cut the text.
func FuzzAnalyze(f *testing.F) {
	for _, text := range []string{"select 1", "delete from t where x like '%' or not (a and b)", "do $$x$$ /* c */ -- d", "merge into a using b on c when matched then delete",
		"with recursive r as (select 1 union select * from r) insert into x select * from r on conflict do nothing"} {
		f.Add(text)
	}
	a := newAnalyzer(f)
	f.Fuzz(func(t *testing.T, text string) {
		facts, err := a.Analyze(t.Context(), Input{Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		if facts.Known && facts.Statements > 0 && len(facts.Nodes) == 0 {
			t.Fatal("known statements without nodes")
		}
		forced := *facts
		forced.Sensitive = true
		out, _ := sql.Redact([]byte(text), &forced, func([]byte) string { return "" })
		if facts.Lexed && strings.HasPrefix(out, "[not readable") {
			t.Fatalf("spans %v do not cut the text", facts.Literals)
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	text := []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 12345")
	b.Run("parsed", func(b *testing.B) {
		a := newAnalyzer(b)
		a.cache = newCache(0)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Analyze(b.Context(), Input{Text: text}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered", func(b *testing.B) {
		a := newAnalyzer(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Analyze(b.Context(), Input{Text: text}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
