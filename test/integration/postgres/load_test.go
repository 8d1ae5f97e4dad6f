package postgres

import (
	"context"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

func TestPgbench(t *testing.T) {
	server := pgtest.Start(t)
	if out, err := exec.Command(pgtest.Bin(t, "pgbench"), "-i", "-q", server.URI("postgres", "postgres", server.Password)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	counts := map[string]int{"plain": 100, "masked": 5}
	for what, options := range map[string][]option{"plain": nil, "masked": {masking(keepLast4(), "*.customers.ssn")}} {
		g := start(t, server, options...)
		c := g.grant("bench", v1alpha1.AccessReadWrite)
		count := counts[what]
		transactions := strconv.Itoa(count)
		for _, mode := range []string{"simple", "extended", "prepared"} {
			for _, script := range []string{"select-only", "tpcb-like"} {
				t.Run(what+" "+mode+" "+script, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
					defer cancel()
					out, err := exec.CommandContext(ctx, pgtest.Bin(t, "pgbench"), "-n", "-M", mode, "-b", script, "-c", "4", "-t", transactions, g.uri(c, "postgres", "")).CombinedOutput()
					if err != nil || !strings.Contains(string(out), "/"+strconv.Itoa(4*count)) {
						t.Errorf("%v: %s", err, out)
					}
					t.Log(regexp.MustCompile("tps = [0-9.]+").FindString(string(out)))
				})
			}
		}
	}
}

func TestPipeline(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t(id int)")
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	t.Run("deep", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		const n = 5000
		sent := make(chan error, 1)
		go func() {
			var b []byte
			for range n {
				for _, m := range []pgproto3.FrontendMessage{parse("", "select $1::int4 + 1"), bind("", "", 0, "41"), execute("", 0), sync()} {
					b, _ = m.Encode(b)
				}
			}
			sent <- fe.bytes(b)
		}()
		for i := range n {
			if got := fe.untilReady(); got != "ParseComplete BindComplete DataRow(42) Complete(SELECT 1) Ready(I)" {
				t.Fatalf("%d: got %s", i, got)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
	t.Run("long, without Sync", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		var b []byte
		for range 3000 {
			b, _ = parse("", "select 1").Encode(b)
		}
		b, _ = sync().Encode(b)
		if err := fe.bytes(b); err != nil {
			t.Fatal(err)
		}
		if got := fe.untilReady(); strings.Count(got, "ParseComplete") != 3000 {
			t.Errorf("%d answers", strings.Count(got, "ParseComplete"))
		}
	})
	t.Run("an error in the middle", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("a", "select 1"), parse("b", "select nothing"), parse("c", "select 3"), sync(), bind("", "c", 0), execute("", 0), sync(), bind("", "a", 0), execute("", 0), sync())
		if got := fe.untilReady(); got != `ParseComplete ERROR(42703 column "nothing" does not exist) Ready(I)` {
			t.Errorf("got %s", got)
		}
		if got := fe.untilReady(); !strings.Contains(got, "ERROR(26000") {
			t.Errorf("got %s", got)
		}
		if got := fe.untilReady(); got != "BindComplete DataRow(1) Complete(SELECT 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a statement that is made again", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("a", "select 'first'"), sync(), parse("a", "select 'second'"), sync(), bind("", "a", 0), execute("", 0), sync())
		all := fe.untilReady() + " " + fe.untilReady() + " " + fe.untilReady()
		if !strings.Contains(all, "ERROR(42P05") || strings.Contains(all, "second)") || !strings.Contains(all, "ERROR(26000") {
			t.Errorf("got %s", all)
		}
	})
	t.Run("flush", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "select 4"), bind("", "", 0), &pgproto3.Describe{ObjectType: 'P'}, execute("", 0), &pgproto3.Flush{})
		if got := fe.until("Complete"); got != "ParseComplete BindComplete RowDescription DataRow(4) Complete(SELECT 1)" {
			t.Errorf("got %s", got)
		}
		fe.send(&pgproto3.Close{ObjectType: 'P'}, sync())
		if got := fe.untilReady(); got != "CloseComplete Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("settings that change how texts are read", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(query(`select pg_catalog.set_config('standard_conforming_' || 'strings', 'off', false)`))
		if got := fe.untilReady(); !strings.Contains(got, "FATAL(") && !strings.Contains(got, "ERROR(42501") {
			t.Errorf("got %s", got)
		}
	})
}

func TestLargeResults(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	fe := frontend(t, g, c, "postgres")
	fe.send(query("select repeat('x', 200000000)"), query("select repeat('y', 1000) from generate_series(1, 200000)"), query("select 1"))
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is garbage does not count
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if n, err := io.CopyN(io.Discard, fe.h.Conn, 400_000_000); err != nil {
		t.Fatal(n, err)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB for 400 MiB", grown>>20)
	}
}
