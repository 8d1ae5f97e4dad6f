//go:build bench

// Package bench measures the gate against PostgreSQL itself, PgBouncer and a bare relay,
// in alternating runs of the same call, with TLS from the client in all of them. It
// prints figures and asserts on none: `make bench`.
package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/test/pgtest"
)

const (
	rounds  = 3
	seconds = 5
)

// way is one way from pgbench to the server.
type way struct {
	name   string
	env    []string
	pid    int // of the process in the middle; zero without one
	figure map[string][]float64
}

// start starts the server and everything that may stand before it.
func start(b *testing.B) (*pgtest.Server, []*way) {
	b.Helper()
	server := pgtest.Start(b, "log_statement = none", "log_min_messages = fatal")
	server.Exec(b, "postgres", "create role app login superuser password 'app'")
	server.Exec(b, "postgres", "create database bench owner app")
	initialise := exec.Command(pgtest.Bin(b, "pgbench"), "-i", "-q", "-s", "10", "bench")
	initialise.Env = append(os.Environ(), client(server.Port, "app", "app", server.CAFile)...)
	if out, err := initialise.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	server.Exec(b, "bench", "create table customers(id int primary key, ssn text)")

	return server, []*way{
		{name: "direct", env: client(server.Port, "app", "app", server.CAFile)},
		pgbouncer(b, server),
		relay(b, server),
		gate(b, server, "gate", ""),
		gate(b, server, "gate+masks", masks),
	}
}

func BenchmarkPgbench(b *testing.B) {
	_, ways := start(b)
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, clients := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/c=%d", mode, clients), func(b *testing.B) {
				measure(b, ways, "-S", "-n", "-M", mode, "-c", strconv.Itoa(clients), "-j", "2", "-T", strconv.Itoa(seconds))
			})
		}
	}
	for _, mode := range []string{"simple", "prepared"} {
		b.Run("tpcb/"+mode+"/c=8", func(b *testing.B) {
			measure(b, ways, "-n", "-M", mode, "-c", "8", "-j", "2", "-T", strconv.Itoa(seconds))
		})
	}
	b.Run("connect/c=4", func(b *testing.B) {
		measure(b, ways, "-S", "-n", "-C", "-c", "4", "-j", "2", "-T", strconv.Itoa(seconds))
	})
}

// measure runs pgbench over every way in turn, several rounds, and reports medians and the
// ratios of medians.
func measure(b *testing.B, ways []*way, args ...string) {
	for _, w := range ways {
		w.figure = map[string][]float64{}
	}
	for range rounds {
		for _, w := range ways {
			before := cpu(b, w.pid)
			tps, latency, transactions := pgbench(b, w, args...)
			w.figure["tps"] = append(w.figure["tps"], tps)
			w.figure["ms"] = append(w.figure["ms"], latency)
			if w.pid != 0 {
				w.figure["us_cpu"] = append(w.figure["us_cpu"], float64((cpu(b, w.pid)-before).Microseconds())/transactions)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, w := range ways {
		b.Logf("%-10s %8.0f tps  %7.3f ms  %6.1f µs CPU of the middle for each transaction", w.name, median(w.figure["tps"]), median(w.figure["ms"]), median(w.figure["us_cpu"]))
		b.ReportMetric(median(w.figure["tps"]), w.name+"_tps")
	}
	relay := ways[2].figure
	for _, g := range ways[3:] {
		line := g.name + ": throughput"
		for _, w := range ways[:3] {
			line += fmt.Sprintf(" %.2f of %s,", median(g.figure["tps"])/median(w.figure["tps"]), w.name)
		}
		b.Logf("%s CPU %.2f of relay, %.3f ms more than direct", line, median(g.figure["us_cpu"])/median(relay["us_cpu"]), median(g.figure["ms"])-median(ways[0].figure["ms"]))
	}
}

var (
	tpsLine     = regexp.MustCompile(`tps = ([0-9.]+)`)
	latencyLine = regexp.MustCompile(`latency average = ([0-9.]+) ms`)
	countLine   = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
)

func pgbench(b *testing.B, w *way, args ...string) (tps, latency, transactions float64) {
	b.Helper()
	cmd := exec.Command(pgtest.Bin(b, "pgbench"), append(args, "bench")...)
	cmd.Env = append(os.Environ(), w.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v\n%s", w.name, err, out)
	}
	number := func(re *regexp.Regexp) float64 {
		m := re.FindSubmatch(out)
		if m == nil {
			b.Fatalf("%s: no %v in\n%s", w.name, re, out)
		}
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v
	}
	return number(tpsLine), number(latencyLine), number(countLine)
}

// cpu is the CPU time of a process and its children, the parser's workers.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	if pid == 0 {
		return 0
	}
	total := ticks(b, pid)
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range children {
		list, _ := os.ReadFile(file)
		for _, child := range strings.Fields(string(list)) {
			id, _ := strconv.Atoi(child)
			total += ticks(b, id)
		}
	}
	return total
}

// ticks reads utime and stime, fields 14 and 15 of proc(5) stat, in hundredths of a second.
func ticks(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func client(port int, user, password, ca string) []string {
	return []string{"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(port), "PGUSER=" + user, "PGPASSWORD=" + password, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + ca}
}

// spawn starts a process that ends with the benchmark and returns it with its first line
// on standard output, if a line is wanted.
func spawn(b *testing.B, wantLine bool, who *syscall.Credential, name string, args ...string) (pid int, line string) {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	if wantLine {
		s := bufio.NewScanner(out)
		if !s.Scan() {
			b.Fatalf("%s printed nothing", name)
		}
		line = s.Text()
	}
	return cmd.Process.Pid, line
}

func build(b *testing.B, pkg string, flags ...string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), pkg)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	return out
}

func relay(b *testing.B, s *pgtest.Server) *way {
	pid, line := spawn(b, true, nil, build(b, "./relay"), "-upstream", fmt.Sprintf("127.0.0.1:%d", s.Port), "-cert", filepath.Join(s.Dir, "tls.crt"), "-key", filepath.Join(s.Dir, "tls.key"))
	port, _ := strconv.Atoi(line[strings.LastIndexByte(line, ':')+1:])
	return &way{name: "relay", env: client(port, "app", "app", s.CAFile), pid: pid}
}
