//go:build bench

package ssh

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/test/ports"
)

// Figures of docs/performance.md: the server and the gate in turn, in one run.
const amount = 1 << 30

// ways are the files by which OpenSSH's clients reach the server directly, and through the gate.
func ways(b *testing.B, s setup) (*world, map[string]string) {
	b.Helper()
	w := start(b, s)
	key := filepath.Join(b.TempDir(), "key")
	if err := os.WriteFile(key, w.server.Key, 0o600); err != nil {
		b.Fatal(err)
	}
	direct := filepath.Join(b.TempDir(), "config")
	text := fmt.Sprintf("Host host\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n IdentitiesOnly yes\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n",
		w.server.Port, w.server.Login, key)
	if err := os.WriteFile(direct, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return w, map[string]string{"direct": direct, "gate": w.Credential("config")}
}

func timed(b *testing.B, name string, args ...string) time.Duration {
	b.Helper()
	began := time.Now()
	if out, err := exec.CommandContext(b.Context(), name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return time.Since(began)
}

// turns are both ways, the other one first each time.
func turns(round int) []string {
	if round%2 == 0 {
		return []string{"direct", "gate"}
	}
	return []string{"gate", "direct"}
}

// report reports percentiles of milliseconds, or, with bytes, the median's MB/s.
func report(b *testing.B, took map[string][]time.Duration, bytes int64) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	for way, all := range took {
		slices.Sort(all)
		if bytes > 0 {
			b.ReportMetric(float64(bytes)/1e6/all[len(all)/2].Seconds(), "MB/s-"+way)
			continue
		}
		for name, at := range map[string]int{"p50": len(all) / 2, "p99": len(all) * 99 / 100} {
			b.ReportMetric(float64(all[at].Microseconds())/1000, "ms-"+name+"-"+way)
		}
	}
}

// file makes a file of noise in memory.
func file(b *testing.B, size int64) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cardea-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "file")
	from, err := os.Open("/dev/urandom")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(to, from, size); err != nil {
		b.Fatal(err)
	}
	if err := to.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func BenchmarkSCP(b *testing.B) {
	w, by := ways(b, setup{grant: "channels: [SFTP]"})
	path := file(b, amount)
	for name, args := range map[string][]string{"up": {path, "host:" + path + ".copy"}, "down": {"host:" + path, path + ".copy"}} {
		b.Run(name, func(b *testing.B) {
			took := map[string][]time.Duration{}
			used := w.used(b)
			for i := range 3 {
				for _, way := range turns(i) {
					config := by[way]
					// AES is what the gate speaks, so that the ciphers are the same.
					took[way] = append(took[way], timed(b, "scp", append([]string{"-q", "-F", config, "-c", "aes128-gcm@openssh.com"}, args...)...))
					_ = os.Remove(path + ".copy")
				}
			}
			report(b, took, amount)
			b.ReportMetric((w.used(b)-used).Seconds()/3, "gate-CPU-s/GiB")
		})
	}
}

func BenchmarkOutput(b *testing.B) {
	_, by := ways(b, setup{})
	path := file(b, amount)
	took := map[string][]time.Duration{}
	for i := range 3 {
		for _, way := range turns(i) {
			cmd := exec.CommandContext(b.Context(), "ssh", "-F", by[way], "-c", "aes128-gcm@openssh.com", "host", "cat "+path)
			cmd.Stdout = io.Discard
			began := time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			took[way] = append(took[way], time.Since(began))
		}
	}
	report(b, took, amount)
}

// BenchmarkConnect is a whole ssh: connection, sign-in, command.
func BenchmarkConnect(b *testing.B) {
	_, by := ways(b, setup{})
	took := map[string][]time.Duration{}
	for i := range 10 {
		for _, way := range turns(i) {
			for range 5 {
				took[way] = append(took[way], timed(b, "ssh", "-F", by[way], "host", "true"))
			}
		}
	}
	report(b, took, 0)
}

// BenchmarkExec is a command on an open connection, by Go's client.
func BenchmarkExec(b *testing.B) {
	w, _ := ways(b, setup{})
	key, err := ssh.ParsePrivateKey(w.server.Key)
	if err != nil {
		b.Fatal(err)
	}
	direct, err := ssh.Dial("tcp", w.server.Address(), &ssh.ClientConfig{User: w.server.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey()}) //nolint:gosec // a measurement
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = direct.Close() }()
	clients := map[string]*ssh.Client{"direct": direct, "gate": w.client(b)}
	took := map[string][]time.Duration{}
	for i := range 10 {
		for _, way := range turns(i) {
			for n := range 51 {
				began := time.Now()
				s, err := clients[way].NewSession()
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Run("true"); err != nil {
					b.Fatal(err)
				}
				// The gate connects to the server for the first one.
				if n > 0 {
					took[way] = append(took[way], time.Since(began))
				}
			}
		}
	}
	report(b, took, 0)
}

// late passes connections on with a delay of 25 ms each way, and returns its port.
func late(b *testing.B, to string) int {
	b.Helper()
	port, err := ports.Take()
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	type piece struct {
		data []byte
		at   time.Time
	}
	pass := func(to, from net.Conn) {
		queue := make(chan piece, 4096)
		go func() {
			defer close(queue)
			for {
				buf := make([]byte, 32<<10)
				n, err := from.Read(buf)
				if n > 0 {
					queue <- piece{buf[:n], time.Now().Add(25 * time.Millisecond)}
				}
				if err != nil {
					return
				}
			}
		}()
		for p := range queue {
			<-time.After(time.Until(p.at))
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
		_ = to.(*net.TCPConn).CloseWrite()
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			go pass(far, near)
			go pass(near, far)
		}
	}()
	return port
}

// BenchmarkFar is output and input over 50 ms between the client and the server, or the gate.
func BenchmarkFar(b *testing.B) {
	w, by := ways(b, setup{})
	const size = 128 << 20
	path := file(b, size)
	at := map[string]int{"direct": late(b, w.server.Address()), "gate": late(b, net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port)))}
	for name, command := range map[string]string{"output": "cat " + path, "input": "wc -c"} {
		b.Run(name, func(b *testing.B) {
			took := map[string][]time.Duration{}
			for i := range 3 {
				for _, way := range turns(i) {
					cmd := exec.CommandContext(b.Context(), "ssh", "-F", by[way], "-c", "aes128-gcm@openssh.com", "-o", "Port="+strconv.Itoa(at[way]),
						"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "host", command)
					var errs bytes.Buffer
					cmd.Stdout, cmd.Stderr = io.Discard, &errs
					if name == "input" {
						from, err := os.Open(path)
						if err != nil {
							b.Fatal(err)
						}
						cmd.Stdin = from
					}
					began := time.Now()
					if err := cmd.Run(); err != nil {
						b.Fatalf("%v: %s", err, errs.String())
					}
					took[way] = append(took[way], time.Since(began))
				}
			}
			report(b, took, size)
		})
	}
}

// used is the processor time that the proxy has used.
func (w *world) used(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Process()))
	if err != nil {
		b.Fatal(err)
	}
	// Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second; the second may hold blanks.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// resident is the resident memory of the proxy, in bytes.
func (w *world) resident(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Process()))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n << 10
		}
	}
	b.Fatal("there is no VmRSS")
	return 0
}

// BenchmarkIdle is what open connections cost: those that have asked for nothing yet, and those
// in which a command waits for input.
func BenchmarkIdle(b *testing.B) {
	for name, tc := range map[string]struct {
		sessions int
		command  string
	}{"nothing": {1000, ""}, "command": {200, "cat"}} {
		b.Run(name, func(b *testing.B) {
			w, _ := ways(b, setup{})
			_ = w.client(b)
			before := w.resident(b)
			for done := 0; done < tc.sessions; {
				var batch sync.WaitGroup
				for range min(20, tc.sessions-done) {
					batch.Go(func() {
						c := w.client(b)
						if tc.command == "" {
							return
						}
						s, err := c.NewSession()
						if err != nil {
							b.Error(err)
							return
						}
						if _, err := s.StdinPipe(); err != nil {
							b.Error(err)
							return
						}
						if err := s.Start(tc.command); err != nil {
							b.Error(err)
						}
					})
					done++
				}
				batch.Wait()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(w.resident(b)-before)/float64(tc.sessions)/1024, "KiB/session")
		})
	}
}
