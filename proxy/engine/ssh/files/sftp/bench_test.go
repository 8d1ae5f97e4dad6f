package sftp_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	client "github.com/pkg/sftp"
)

// BenchmarkTransfer copies 256 MiB to and from OpenSSH's server, directly and through the relay.
func BenchmarkTransfer(b *testing.B) {
	const size = 256 << 20
	for _, through := range []string{"direct", "relay"} {
		connect := func(b *testing.B) *client.Client {
			home := b.TempDir()
			if _, err := os.Stat("/dev/shm"); err == nil {
				if home, err = os.MkdirTemp("/dev/shm", "cardea"); err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = os.RemoveAll(home) })
			}
			conn := server(b, home)
			if through == "relay" {
				conn = start(b, nil, conn, home).client
			}
			c, err := client.NewClientPipe(conn, conn, client.UseConcurrentWrites(true))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = c.Close() })
			return c
		}
		b.Run("up/"+through, func(b *testing.B) {
			c := connect(b)
			b.SetBytes(size)
			for b.Loop() {
				f, err := c.Create("f")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.ReadFromWithConcurrency(io.LimitReader(zeros{}, size), 64); err != nil {
					b.Fatal(err)
				}
				_ = f.Close()
			}
		})
		b.Run("down/"+through, func(b *testing.B) {
			c := connect(b)
			f, err := c.Create("f")
			if err != nil {
				b.Fatal(err)
			}
			if err := f.Truncate(size); err != nil {
				b.Fatal(err)
			}
			_ = f.Close()
			b.SetBytes(size)
			for b.Loop() {
				f, err := c.Open("f")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
				_ = f.Close()
			}
		})
		b.Run("stat/"+through, func(b *testing.B) {
			c := connect(b)
			for b.Loop() {
				if _, err := c.Stat("."); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestNoAllocationForEachPacket: between peers that allocate nothing themselves.
func TestNoAllocationForEachPacket(t *testing.T) {
	home := folder(t)
	write(t, filepath.Join(home, "f"), string(make([]byte, 64<<10)))
	s := start(t, nil, server(t, home), home)
	r := raw(t, s.client)
	r.send(typeOpen, 1, "f", uint32(3), uint32(0))
	_, _, rest := r.receive()
	h := rest.text()
	requests := append(encoded(typeRead, uint32(1), h, uint64(0), uint32(32<<10)), encoded(typeWrite, uint32(2), h, uint64(0), string(make([]byte, 32<<10)))...)
	answers := make([]byte, 64<<10)
	exchange := func(n int) {
		for range n {
			if _, err := s.client.Write(requests); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				receive(t, s.client, answers)
			}
		}
	}
	exchange(100)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 2000
	exchange(n)
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / n; each > 0.5 {
		t.Errorf("%.2f allocations for each exchange", each)
	}
	s.end(t)
}

// receive reads a packet into a buffer.
func receive(t *testing.T, from *net.UnixConn, into []byte) {
	t.Helper()
	for have, want := 0, 4; have < want; {
		n, err := from.Read(into[have:want])
		if err != nil {
			t.Fatal(err)
		}
		if have += n; have == 4 {
			want += int(binary.BigEndian.Uint32(into))
		}
	}
}
