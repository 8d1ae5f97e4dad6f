package access

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/recorder"
)

// statements is how many of a workload are recorded.
const statements = 50000

// workloads are the events of the n-th statement of a session.
var workloads = map[string]func(n int) []recording.Event{
	"point reads": func(n int) []recording.Event {
		value := fmt.Sprint(n * 7919 % 100000)
		return []recording.Event{
			{Kind: recording.KindCommand, Connection: 1, Command: &recording.Command{ID: uint64(n), Text: fmt.Sprintf("SELECT abalance FROM pgbench_accounts WHERE aid = %d;", n*31), Decision: "Allowed"}},
			{Kind: recording.KindResponse, Connection: 1, Response: &recording.Response{ID: uint64(n), Columns: []string{"abalance"}, Rows: [][]*string{{&value}}, Final: true, Tag: "SELECT 1", RowCount: 1, ByteCount: 5}},
		}
	},
	"ten rows each": func(n int) []recording.Event {
		var rows [][]*string
		for i := range 10 {
			id, name, city := fmt.Sprint(n*10+i), fmt.Sprintf("customer %x", n*7919+i*31), "a city of some length"
			rows = append(rows, []*string{&id, &name, &city})
		}
		return []recording.Event{
			{Kind: recording.KindCommand, Connection: 1, Command: &recording.Command{ID: uint64(n), Text: "SELECT id, name, city FROM customers WHERE id > $1 ORDER BY id LIMIT 10", Parameters: []string{fmt.Sprint(n * 10)}, Decision: "Allowed", Audit: []string{"CommandRule/gate/all"}}},
			{Kind: recording.KindResponse, Connection: 1, Response: &recording.Response{ID: uint64(n), Columns: []string{"id", "name", "city"}, Rows: rows, Final: true, Tag: "SELECT 10", RowCount: 10, ByteCount: 400}},
		}
	},
	"a terminal": func(n int) []recording.Event {
		return []recording.Event{
			{Kind: recording.KindInput, Connection: 1, Input: &recording.Input{ID: 1, Stream: "stdin", Data: []byte{byte('a' + n%26)}}},
			{Kind: recording.KindOutput, Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: fmt.Appendf(nil, "\x1b[32m%08d\x1b[0m a line of some program's output, number %d\r\n", n*7919, n)}},
		}
	},
}

// recordWorkload stores a session, and returns the bytes of its events and those that are stored.
func recordWorkload(b *testing.B, root string, event func(int) []recording.Event) (content, stored int64) {
	b.Helper()
	store := dir.New(root)
	spool, err := recording.NewSpool(recording.Config{Dir: b.TempDir(), Key: recorder.Key,
		StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return store, nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- spool.Run(ctx) }()
	r, err := spool.Open(ctx, recording.Started{Session: "s1", Namespace: recorder.Namespace, Grant: "g", Target: "t", Subject: "s", Client: "10.0.0.1", Proxy: "p"})
	if err != nil {
		b.Fatal(err)
	}
	for n := range statements {
		for _, e := range event(n + 1) {
			if err := r.Record(&e); err != nil {
				b.Fatal(err)
			}
			line, err := json.Marshal(e)
			if err != nil {
				b.Fatal(err)
			}
			content += int64(len(line)) + 1
		}
	}
	if err := r.Close("ClientClosed"); err != nil {
		b.Fatal(err)
	}
	if err := spool.Drain(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, ierr := d.Info()
			if ierr != nil {
				return ierr
			}
			stored += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return content, stored
}

// BenchmarkSearch searches a recording, whose content is counted uncompressed, for what is not in
// it; it verifies on the way.
func BenchmarkSearch(b *testing.B) {
	for name, event := range workloads {
		b.Run(name, func(b *testing.B) {
			root := b.TempDir()
			if err := os.Mkdir(filepath.Join(root, ".recordings"), 0o700); err != nil {
				b.Fatal(err)
			}
			content, stored := recordWorkload(b, filepath.Join(root, ".recordings"), event)
			b.SetBytes(content)
			for b.Loop() {
				if code := Main(genericiooptions.IOStreams{Out: io.Discard, ErrOut: os.Stderr}, []string{"search", `drop\s+(table|database)`, "--dir", root}); code != exitError {
					b.Fatalf("exit %d", code)
				}
			}
			b.ReportMetric(float64(stored)/statements*1000, "stored-B/1000-statements")
			b.ReportMetric(float64(content)/statements*1000, "content-B/1000-statements")
		})
	}
}
