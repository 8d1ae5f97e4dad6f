package parser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	WorkerMain()
	os.Exit(m.Run())
}

func newParser(t testing.TB, o Options) *Parser {
	t.Helper()
	p := New(o)
	t.Cleanup(p.Close)
	return p
}

func TestParse(t *testing.T) {
	p := newParser(t, Options{})
	text := "select 'a', 1.5, e'\\n', $1, U&'x', x'0f' -- c\n, /* d */ $$e$$, \"f\""
	res, err := p.Parse(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var tree pgquery.ParseResult
	if err := proto.Unmarshal(res.Tree, &tree); err != nil || len(tree.Stmts) != 1 {
		t.Fatalf("tree = %v, %v", &tree, err)
	}
	var got []string
	for i := 0; i < len(res.Literals); i += 2 {
		got = append(got, text[res.Literals[i]:res.Literals[i+1]])
	}
	want := "'a'|1.5|e'\\n'|U&'x'|x'0f'|-- c|/* d */|$$e$$"
	if strings.Join(got, "|") != want {
		t.Errorf("literals = %s, want %s", strings.Join(got, "|"), want)
	}
}

func TestParseRefuses(t *testing.T) {
	p := newParser(t, Options{Workers: 1})
	cases := map[string]struct {
		text string
		want error
	}{
		"zero byte":       {"select 1\x00", ErrEncoding},
		"too large":       {strings.Repeat(" ", MaxText+1), ErrTooLarge},
		"too nested":      {strings.Repeat("(", MaxNesting+1), ErrTooNested},
		"nested cases":    {strings.Repeat("CASE ", MaxNesting+1), ErrTooNested},
		"stack overflow":  {"select 1" + strings.Repeat("+1", 500_000), ErrCrashed},
		"deep signs":      {"select " + strings.Repeat("- ", 400_000) + "1", ErrCrashed},
		"quoted brackets": {"select '" + strings.Repeat("(", MaxNesting+1) + "'", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := p.Parse(t.Context(), []byte(c.text))
			var syntax *SyntaxError
			if errors.Is(c.want, ErrCrashed) && errors.As(err, &syntax) {
				t.Skip("this build of the grammar refuses it by itself")
			}
			if !errors.Is(err, c.want) {
				t.Errorf("err = %v, want %v", err, c.want)
			}
			if _, err := p.Parse(t.Context(), []byte("select 1")); err != nil {
				t.Errorf("the next statement fails: %v", err)
			}
		})
	}
}

func TestSyntaxErrorNamesNoText(t *testing.T) {
	p := newParser(t, Options{Workers: 1})
	_, err := p.Parse(t.Context(), []byte("select 'secret' 'secret' foo secret"))
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Position == 0 || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v", err)
	}
}

// The worker itself proves that it is confined before it serves; here the same is seen
// from outside.
func TestWorkerIsConfined(t *testing.T) {
	p := newParser(t, Options{Workers: 1})
	w, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Seccomp:\t2", "NoNewPrivs:\t1"} {
		if !bytes.Contains(status, []byte(want)) {
			t.Errorf("the worker's status lacks %q", want)
		}
	}
	// An undumpable process shows its environment to root alone.
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.cmd.Process.Pid))
	if !errors.Is(err, os.ErrPermission) && (err != nil || len(environ) != 0) {
		t.Errorf("environment of %d bytes, %v", len(environ), err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", w.cmd.Process.Pid))
	if err != nil || !bytes.Contains(limits, []byte("Max open files            8 ")) {
		t.Errorf("limits = %s, %v", limits, err)
	}
}

func TestVerifyConfined(t *testing.T) {
	if err := verifyConfined(); !errors.Is(err, errUnconfined) {
		t.Errorf("an unconfined process passes: %v", err)
	}
}

// A worker that is killed from outside costs nothing but the statement it reads.
func TestWorkerKilled(t *testing.T) {
	p := newParser(t, Options{Workers: 1})
	if _, err := p.Parse(t.Context(), []byte("select 1")); err != nil {
		t.Fatal(err)
	}
	w := <-p.slots
	if err := unix.Kill(w.cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-w.gone
	p.slots <- w
	if _, err := p.Parse(t.Context(), []byte("select 1")); !errors.Is(err, ErrCrashed) {
		t.Errorf("err = %v", err)
	}
	if _, err := p.Parse(t.Context(), []byte("select 1")); err != nil {
		t.Errorf("the next statement fails: %v", err)
	}
}

func TestWorkerHangs(t *testing.T) {
	p := newParser(t, Options{Workers: 1, Timeout: 50 * time.Millisecond})
	w, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(w.cmd.Process.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-p.slots
	p.slots <- w
	if _, err := p.Parse(t.Context(), []byte("select 1")); !errors.Is(err, ErrCrashed) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestParseBusyAndClosed(t *testing.T) {
	p := newParser(t, Options{Workers: 1, Wait: time.Millisecond})
	w := <-p.slots
	if _, err := p.Parse(t.Context(), []byte("select 1")); !errors.Is(err, ErrBusy) {
		t.Errorf("err = %v, want busy", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.wait = time.Hour
	if _, err := p.Parse(ctx, []byte("select 1")); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want canceled", err)
	}
	p.slots <- w
	p.Close()
	if _, err := p.Parse(t.Context(), []byte("select 1")); !errors.Is(err, ErrClosed) {
		t.Errorf("err = %v, want closed", err)
	}
}

func TestParseConcurrently(t *testing.T) {
	p := newParser(t, Options{Workers: 2})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				text := fmt.Sprintf("select %d", i*1000+j)
				res, err := p.Parse(t.Context(), []byte(text))
				if err != nil || len(res.Literals) != 2 || res.Literals[1] != len(text) {
					t.Errorf("%s: %v, %v", text, res, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecodeReply(f *testing.F) {
	f.Add(byte(statusParsed), []byte{1, 0, 0, 0, 'x', 0, 0, 0, 0, 1, 0, 0, 0}, 4)
	f.Add(byte(statusSyntax), []byte{1, 0, 0, 0}, 4)
	f.Fuzz(func(t *testing.T, status byte, body []byte, size int) {
		size = min(max(size, 0), MaxText)
		res, err := decodeReply(status, body, size)
		if (res == nil) == (err == nil) {
			t.Fatal("neither result nor error")
		}
		if res == nil {
			return
		}
		at := 0
		for _, x := range res.Literals {
			if x < at || x > size {
				t.Fatalf("spans %v of %d bytes", res.Literals, size)
			}
			at = x
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add(appendReply(nil, statusParsed, []byte("abc")))
	f.Add([]byte{'P', 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, frame []byte) {
		_, body, err := readReply(bytes.NewReader(frame))
		if err == nil && len(body) > len(frame) {
			t.Fatal("a body larger than its frame")
		}
	})
}

func FuzzNesting(f *testing.F) {
	f.Add([]byte("select case when (a) then [1] end"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if n := nesting(text); n < 0 || n > len(text) {
			t.Fatalf("nesting %d of %d bytes", n, len(text))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p := newParser(b, Options{})
	text := []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 12345")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Parse(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}
