package recording_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/recorder"
)

func sample() recording.Segment {
	s := recording.Segment{Session: "report-agent-x7k2p", Index: 3, Previous: strings.Repeat("0", 64), First: 7, Last: 42, Data: []byte("data")}
	recorder.Key().Sign(&s, time.Date(2026, 11, 24, 4, 30, 0, 120_000_000, time.FixedZone("", 3600)))
	return s
}

// TestHeader holds the header and its digest to docs/recording-format.md; the digests were
// made with sha256sum.
func TestHeader(t *testing.T) {
	s := sample()
	want := `cardea-recording-segment/2
session: report-agent-x7k2p
index: 3
previous: 0000000000000000000000000000000000000000000000000000000000000000
first: 7
last: 42
encoding: zstd
bytes: 4
data: 3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7
signed: 2026-11-24T03:30:00.12Z
final: false

`
	if diff := cmp.Diff(want, string(s.Header())); diff != "" {
		t.Error(diff)
	}
	if s.Digest != "79e892157cdb5be7631329c2550c32c4cbf6c4bdc38e419f7208b61a4dae4e2d" {
		t.Errorf("digest %s", s.Digest)
	}
}

func TestSealIsRead(t *testing.T) {
	want := sample()
	seal, err := want.Seal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := recording.ParseSeal(seal)
	if err != nil {
		t.Fatal(err)
	}
	got.Data = want.Data
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSealIsCanonical: no other text says the same, so that what is altered is seen.
func TestSealIsCanonical(t *testing.T) {
	s := sample()
	seal, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, by string) []byte {
		if !bytes.Contains(seal, []byte(old)) {
			t.Fatalf("%q is not in %s", old, seal)
		}
		return bytes.Replace(seal, []byte(old), []byte(by), 1)
	}
	for name, text := range map[string][]byte{
		"nothing":            nil,
		"no newline":         bytes.TrimSpace(seal),
		"space":              append([]byte(" "), seal...),
		"something behind":   append(bytes.Clone(seal), "{}"...),
		"key in capitals":    replace(`"header"`, `"Header"`),
		"another field":      replace(`{"header"`, `{"x":1,"header"`),
		"older format":       replace("segment/2", "segment/1"),
		"leading zero":       replace(`index: 3`, `index: 03`),
		"sign":               replace(`index: 3`, `index: +3`),
		"index out of range": replace(`index: 3`, `index: 1000000`),
		"flag":               replace(`final: false`, `final: 0`),
		"time zone":          replace(`03:30:00.12Z`, `04:30:00.12+01:00`),
		"trailing zero":      replace(`00.12Z`, `00.120Z`),
		"more data":          replace(`bytes: 4`, `bytes: 99999999`),
		"no session":         replace(`session: report-agent-x7k2p`, `session: `),
		"session":            replace(`session: report-agent-x7k2p`, `session: ../x`),
		"line left out":      replace(`first: 7\n`, ``),
		"line too many":      replace(`first: 7\n`, `first: 7\nfirst: 7\n`),
		"line behind":        replace(`\n\n"`, `\n\nx"`),
		"short digest":       replace(`3a6eb0`, `3a6e`),
		"no signature":       replace(`=="`, `"`),
		"no certificate":     replace(`-----BEGIN`, `-----begin`),
		"before certificate": replace(`-----BEGIN`, `x\n-----BEGIN`),
		"too large":          append(bytes.Clone(seal), make([]byte, recording.MaxSeal)...),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := recording.ParseSeal(text); err == nil {
				t.Errorf("read as %+v", got)
			}
		})
	}
}

// last is a final segment.
func last() recording.Segment {
	s := sample()
	at := time.Date(2026, 11, 24, 3, 29, 0, 0, time.UTC)
	s.Manifest = &recording.Manifest{Namespace: "shop-gate", Store: "audit", Grant: "report-agent", GrantUID: "7f9c", Target: "orders-db", TargetUID: "01ab",
		Begun: at, Ended: at.Add(time.Minute), Reason: "ClientClosed", Recovered: true, Tally: recording.Tally{Events: 42, Commands: 20, Denied: 3, Held: 1},
		Recorder: strings.Repeat("a1", 16), Number: 17, Preceding: strings.Repeat("f0", 32)}
	recorder.Key().Sign(&s, s.Signed)
	return s
}

// TestManifest holds the header of a final segment to docs/recording-format.md.
func TestManifest(t *testing.T) {
	want := last()
	_, lines, _ := strings.Cut(string(want.Header()), "\nfinal: ")
	if diff := cmp.Diff(`true
namespace: shop-gate
store: audit
grant: report-agent
grant-uid: 7f9c
target: orders-db
target-uid: 01ab
begun: 2026-11-24T03:29:00Z
ended: 2026-11-24T03:30:00Z
reason: ClientClosed
recovered: true
events: 42
commands: 20
denied: 3
held: 1
recorder: a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
number: 17
preceding: f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0

`, lines); diff != "" {
		t.Error(diff)
	}
	seal, err := want.Seal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := recording.ParseSeal(seal)
	if err != nil {
		t.Fatal(err)
	}
	got.Data = want.Data
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, spoil := range map[string]func(m *recording.Manifest){
		"no recorder":               func(m *recording.Manifest) { m.Recorder = "" },
		"recorder":                  func(m *recording.Manifest) { m.Recorder = "x" },
		"no number":                 func(m *recording.Manifest) { m.Number = 0 },
		"follows nothing":           func(m *recording.Manifest) { m.Preceding = "" },
		"follows what is no digest": func(m *recording.Manifest) { m.Preceding = strings.Repeat("x", 64) },
	} {
		s := want
		m := *want.Manifest
		s.Manifest = &m
		spoil(&m)
		recorder.Key().Sign(&s, s.Signed)
		seal, err := s.Seal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := recording.ParseSeal(seal); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	// What would break the lines does not, whoever chose it.
	s := want
	m := *want.Manifest
	m.Reason, m.Grant = "a\nnumber: 1\x00\u00e9", strings.Repeat("g", 1000)
	s.Manifest = &m
	recorder.Key().Sign(&s, s.Signed)
	if seal, err = s.Seal(); err != nil {
		t.Fatal(err)
	}
	got, err = recording.ParseSeal(seal)
	if err != nil || got.Manifest.Reason != "a?number: 1??" || got.Manifest.Grant != strings.Repeat("g", 253) {
		t.Errorf("%+v, %v", got.Manifest, err)
	}
}

func FuzzParseSeal(f *testing.F) {
	for _, s := range []recording.Segment{sample(), last()} {
		seal, err := s.Seal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seal)
	}
	f.Add([]byte(`{"header":"","signature":"","certificate":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := recording.ParseSeal(b)
		if err != nil {
			return
		}
		if again, err := s.Seal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is sealed again as %q, %v", b, again, err)
		}
	})
}
