package recording_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/recorder"
)

// benchmarked is a recording of some 60 MiB in memory, of small events or of large ones.
func benchmarked(b *testing.B, large bool) (shelf, int64) {
	b.Helper()
	f := newFixture(b, options{limits: recording.Limits{FirstInterval: time.Millisecond}})
	r := f.open("s1")
	n := 300_000
	if large {
		n = 2000
	}
	value := "12345"
	for i := range n {
		c, p := command(i+1, fmt.Sprintf("SELECT abalance FROM pgbench_accounts WHERE aid = %d;", i*7919)), &recording.Event{Kind: recording.KindResponse,
			Response: &recording.Response{ID: uint64(i + 1), Columns: []string{"abalance"}, Rows: [][]*string{{&value}}, Final: true, Tag: "SELECT 1", RowCount: 1, ByteCount: 5}}
		if large {
			text := random(uint64(i), 32<<10)
			p.Response.Rows = [][]*string{{&text}}
		}
		for _, e := range []*recording.Event{c, p} {
			if err := r.Record(e); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := r.Close("ClientClosed"); err != nil {
		b.Fatal(err)
	}
	f.drain()
	s := load(b, f.store)["s1"]
	dec, err := zstd.NewReader(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer dec.Close()
	var content int64
	for i := range s {
		raw, err := dec.DecodeAll(s[i].Data, nil)
		if err != nil {
			b.Fatal(err)
		}
		content += int64(len(raw))
	}
	return s, content
}

// BenchmarkVerify is `kubectl access verify` without the store: MB/s are of events.
func BenchmarkVerify(b *testing.B) {
	for name, large := range map[string]bool{"statements": false, "results": true} {
		b.Run(name, func(b *testing.B) {
			s, content := benchmarked(b, large)
			b.SetBytes(content)
			b.ReportAllocs()
			var events uint64
			for b.Loop() {
				a := recording.Audit{Trust: trust(b, recorder.Bundle())}
				r, err := a.Verify(b.Context(), s, "s1", recording.Anchor{}, nil)
				if err != nil || !r.Intact() {
					b.Fatal(r.Problems, err)
				}
				events = r.Events
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(len(s)), "segments")
		})
	}
}

// BenchmarkSign is what signing adds to a segment: the digest of the data, the header and the
// signature.
func BenchmarkSign(b *testing.B) {
	for name, size := range map[string]int{"4 KiB": 4 << 10, "700 KiB": 700 << 10} {
		b.Run(name, func(b *testing.B) {
			s := sample()
			s.Data = make([]byte, size)
			at := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				recorder.Key().Sign(&s, at)
			}
		})
	}
}
