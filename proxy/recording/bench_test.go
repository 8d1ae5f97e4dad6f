package recording_test

import (
	"context"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/recorder"
)

// BenchmarkRecord is the cost of one transaction of pgbench -S: a command and a response.
func BenchmarkRecord(b *testing.B) {
	store := dir.New(b.TempDir())
	spool, err := recording.NewSpool(recording.Config{Dir: b.TempDir(), Key: recorder.Key,
		StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return store, nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := spool.Run(ctx); err != nil {
			b.Error(err)
		}
	}()
	r, err := spool.Open(ctx, started("s1"))
	if err != nil {
		b.Fatal(err)
	}
	value := "12345"
	c := command(1, "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;")
	p := &recording.Event{Kind: recording.KindResponse, Response: &recording.Response{ID: 1, Columns: []string{"abalance"},
		Rows: [][]*string{{&value}}, Final: true, Tag: "SELECT 1", RowCount: 1, ByteCount: 5}}
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range []*recording.Event{c, p} {
			e.Time = time.Time{}
			if err := r.Record(e); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	b.ReportMetric(2, "events/op")
	if err := r.Close("ClientClosed"); err != nil {
		b.Fatal(err)
	}
	if err := spool.Drain(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	<-done
	refs, err := store.List(b.Context(), "s1")
	if err != nil {
		b.Fatal(err)
	}
	stored := 0
	for _, ref := range refs {
		s, err := store.Get(b.Context(), "s1", ref)
		if err != nil {
			b.Fatal(err)
		}
		stored += len(s.Data)
	}
	b.ReportMetric(float64(stored)/float64(2*b.N), "stored-B/event")
}
