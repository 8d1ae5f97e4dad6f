//go:build bench

package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/test/pgtest"
)

const (
	// lineBytes and lines make a result, and a copy, of 1 GiB.
	lineBytes = 1023
	lines     = 1 << 20
)

// BenchmarkLarge moves 1 GiB at a time: as a result, as COPY to the client and from it.
func BenchmarkLarge(b *testing.B) {
	server, ways := start(b)
	server.Exec(b, "bench", fmt.Sprintf("create unlogged table big as select repeat('x', %d) as v from generate_series(1, %d)", lineBytes, lines))
	server.Exec(b, "bench", "create unlogged table sink (v text)")
	for name, move := range map[string]func(context.Context, *pgconn.PgConn) error{"result": result, "copy to": copyTo, "copy from": copyFrom} {
		b.Run(name, func(b *testing.B) {
			measureLarge(b, server, ways, move)
		})
	}
}

func result(ctx context.Context, c *pgconn.PgConn) error {
	r := c.ExecParams(ctx, "select v from big", nil, nil, nil, nil)
	for r.NextRow() {
	}
	_, err := r.Close()
	return err
}

func copyTo(ctx context.Context, c *pgconn.PgConn) error {
	_, err := c.CopyTo(ctx, io.Discard, "copy big to stdout")
	return err
}

func copyFrom(ctx context.Context, c *pgconn.PgConn) error {
	_, err := c.CopyFrom(ctx, io.LimitReader(&text{line: append([]byte(strings.Repeat("x", lineBytes)), '\n')}, lines*(lineBytes+1)), "copy sink from stdin")
	return err
}

// text repeats a line for ever.
type text struct {
	line []byte
	at   int
}

func (t *text) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], t.line[t.at:])
		n, t.at = n+m, (t.at+m)%len(t.line)
	}
	return n, nil
}

// measureLarge moves over every way in turn and reports medians of the rate, and the most
// that the process in the middle grew.
func measureLarge(b *testing.B, server *pgtest.Server, ways []*way, move func(context.Context, *pgconn.PgConn) error) {
	for _, w := range ways {
		w.figure = map[string][]float64{}
	}
	for range rounds {
		for _, w := range ways {
			server.Exec(b, "bench", "truncate sink")
			c, err := pgconn.Connect(b.Context(), w.uri())
			if err != nil {
				b.Fatalf("%s: %v", w.name, err)
			}
			before, started := resident(b, w.pid, "VmRSS"), time.Now()
			resetPeak(w.pid)
			if err := move(b.Context(), c); err != nil {
				b.Fatalf("%s: %v", w.name, err)
			}
			w.figure["MB/s"] = append(w.figure["MB/s"], lines*(lineBytes+1)/1e6/time.Since(started).Seconds())
			w.figure["MiB"] = append(w.figure["MiB"], resident(b, w.pid, "VmHWM")-before)
			_ = c.Close(b.Context())
		}
	}
	b.ReportMetric(0, "ns/op")
	direct := median(ways[0].figure["MB/s"])
	for _, w := range ways {
		rate := median(w.figure["MB/s"])
		b.Logf("%-10s %6.0f MB/s, %.2f of direct; the middle grew by %.1f MiB", w.name, rate, rate/direct, median(w.figure["MiB"]))
		b.ReportMetric(rate, w.name+"_MB/s")
	}
}

// resetPeak makes the kernel count VmHWM anew (proc(5), clear_refs).
func resetPeak(pid int) {
	if pid != 0 {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}

// resident reads a field of proc(5) status in MiB; zero without a process.
func resident(b *testing.B, pid int, field string) float64 {
	b.Helper()
	if pid == 0 {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
