//go:build bench

package kubernetes

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// Figures of docs/performance.md: the API server and the gate in turn, in one run.
const (
	manyPods = 5000
	amount   = 1 << 30
)

// ways are a cluster administrator at the API server, and the grant at the gate.
func ways(b *testing.B, permissions string, more ...string) (*gate, map[string]*rest.Config) {
	b.Helper()
	direct, err := cluster.Credential(apiserver.User{Name: "direct", Groups: []string{"system:masters"}})
	if err != nil {
		b.Fatal(err)
	}
	g := start(b, "writer", permissions, more...)
	for _, c := range []*rest.Config{direct, g.config} {
		c.QPS = -1
	}
	return g, map[string]*rest.Config{"direct": direct, "gate": g.config}
}

// compare runs something in turns both ways, and reports percentiles of milliseconds.
func compare(b *testing.B, rounds, each int, by map[string]*rest.Config, do func(c *kubernetes.Clientset, config *rest.Config) (time.Duration, error)) {
	b.Helper()
	took, clients := map[string][]time.Duration{}, map[string]*kubernetes.Clientset{}
	for way, config := range by {
		c, err := kubernetes.NewForConfig(config)
		if err != nil {
			b.Fatal(err)
		}
		clients[way] = c
	}
	for range rounds {
		for way, config := range by {
			for range each {
				d, err := do(clients[way], config)
				if err != nil {
					b.Fatal(err)
				}
				took[way] = append(took[way], d)
			}
		}
	}
	for way, all := range took {
		slices.Sort(all)
		for name, at := range map[string]int{"p50": len(all) / 2, "p99": len(all) * 99 / 100} {
			b.ReportMetric(float64(all[at].Microseconds())/1000, "ms-"+name+"-"+way)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

func BenchmarkGet(b *testing.B) {
	_, by := ways(b, "")
	compare(b, 5, 200, by, func(c *kubernetes.Clientset, _ *rest.Config) (time.Duration, error) {
		return timed(func() error {
			_, err := c.CoreV1().Pods("shop").Get(b.Context(), "web", metav1.GetOptions{})
			return err
		})
	})
}

func BenchmarkList(b *testing.B) {
	_, by := ways(b, "")
	var makers sync.WaitGroup
	for i := range 8 {
		makers.Go(func() {
			for n := i; n < manyPods; n += 8 {
				p := pod("many-"+strconv.Itoa(n), func(s *corev1.PodSpec) { s.NodeName = "" })
				p.Labels = map[string]string{"many": "pods"}
				if err := admin.Create(b.Context(), p); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	makers.Wait()
	defer func() {
		if err := admin.DeleteAllOf(context.WithoutCancel(b.Context()), &corev1.Pod{}, client.InNamespace("shop"), client.MatchingLabels{"many": "pods"}); err != nil {
			b.Error(err)
		}
	}()
	compare(b, 5, 4, by, func(c *kubernetes.Clientset, _ *rest.Config) (time.Duration, error) {
		return timed(func() error {
			l, err := c.CoreV1().Pods("shop").List(b.Context(), metav1.ListOptions{})
			if err == nil && len(l.Items) < manyPods {
				err = fmt.Errorf("%d pods", len(l.Items))
			}
			return err
		})
	})
}

// A change is shown by a watch.
func BenchmarkWatch(b *testing.B) {
	_, by := ways(b, "")
	n := 0
	compare(b, 5, 40, by, func(c *kubernetes.Clientset, _ *rest.Config) (time.Duration, error) {
		n++
		name := "seen-" + strconv.Itoa(n)
		w, err := c.CoreV1().ConfigMaps("shop").Watch(b.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			return 0, err
		}
		defer w.Stop()
		began := time.Now()
		if err := admin.Create(b.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}); err != nil {
			return 0, err
		}
		<-w.ResultChan()
		return time.Since(began), nil
	})
}

func execute(b *testing.B, config *rest.Config, protocol, query string, stdin io.Reader, stdout, stderr io.Writer) error {
	b.Helper()
	e, err := protocols[protocol](config, node.url(&gate{config: config}, "exec", query))
	if err != nil {
		return err
	}
	return e.StreamWithContext(b.Context(), remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

func BenchmarkExec(b *testing.B) {
	for protocol := range protocols {
		b.Run(protocol, func(b *testing.B) {
			_, by := ways(b, "    exec: Commands\n")
			compare(b, 5, 40, by, func(_ *kubernetes.Clientset, c *rest.Config) (time.Duration, error) {
				return timed(func() error { return execute(b, c, protocol, "command=true&stdout=true", nil, io.Discard, nil) })
			})
		})
	}
}

// A GiB out of a container and into one, as kubectl cp copies it, and of logs. What is copied
// is a file that cannot be compressed.
func BenchmarkGiB(b *testing.B) {
	folder := b.TempDir()
	f, err := os.Create(filepath.Join(folder, "file"))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{}), amount); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func(c *kubernetes.Clientset, config *rest.Config) error{
		"out": func(_ *kubernetes.Clientset, c *rest.Config) error {
			counted := &count{}
			err := execute(b, c, "WebSocket v5", "command=tar&command=cf&command=-&command=-C&command="+url.QueryEscape(folder)+"&command=file&stdout=true", nil, counted, nil)
			return counted.atLeast(amount, err)
		},
		"in": func(_ *kubernetes.Clientset, c *rest.Config) error {
			// Into memory: disks are not measured.
			into, err := os.MkdirTemp("/dev/shm", "cardea-bench-")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(into) }()
			from, to := io.Pipe()
			go func() { _ = to.CloseWithError(archive(to, f.Name())) }()
			return execute(b, c, "WebSocket v5", "command=tar&command=-xmf&command=-&command=-C&command="+url.QueryEscape(into)+"&stdin=true&stderr=true", from, nil, io.Discard)
		},
		"logs": func(c *kubernetes.Clientset, _ *rest.Config) error {
			r, err := c.CoreV1().Pods("shop").GetLogs("web", &corev1.PodLogOptions{}).Stream(b.Context())
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			n, err := io.Copy(io.Discard, r)
			if err == nil && n != amount {
				err = fmt.Errorf("%d bytes", n)
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			g, by := ways(b, "    exec: Commands\n")
			before := g.cpu(b)
			compare(b, 3, 1, by, func(c *kubernetes.Clientset, config *rest.Config) (time.Duration, error) {
				return timed(func() error { return do(c, config) })
			})
			b.ReportMetric((g.cpu(b)-before).Seconds()/3, "CPU-s-gate")
			b.ReportMetric(g.peak(b), "MiB-peak")
		})
	}
}

// archive writes a tar archive of one file.
func archive(to io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	w := tar.NewWriter(to)
	if err := w.WriteHeader(&tar.Header{Name: "file", Size: amount, Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		return err
	}
	return w.Close()
}

// count counts what it is written.
type count struct{ n int64 }

// Write implements io.Writer.
func (c *count) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func (c *count) atLeast(n int64, err error) error {
	if err == nil && c.n < n {
		return fmt.Errorf("%d bytes", c.n)
	}
	return err
}

// Memory of the proxy for each open session.
func BenchmarkOpenSessions(b *testing.B) {
	for protocol := range protocols {
		b.Run(protocol, func(b *testing.B) { openSessions(b, protocol) })
	}
}

// openSessions opens them in batches: the gate takes 256 that sign in at a time from one source.
func openSessions(b *testing.B, protocol string) {
	const sessions, atOnce = 500, 20
	g, by := ways(b, "    exec: Commands\n")
	before := g.memory(b, "VmRSS")
	ctx, cancel := context.WithCancel(b.Context())
	var open sync.WaitGroup
	for i := range sessions {
		if i%atOnce == 0 {
			until(b, "those before are open", func() bool { return node.running.Load() == int64(i) })
		}
		open.Go(func() {
			e, err := protocols[protocol](by["gate"], node.url(g, "exec", "command=cat&stdin=true&stdout=true"))
			if err != nil {
				b.Error(err)
				return
			}
			from, to := io.Pipe()
			defer func() { _ = to.Close() }()
			_ = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: from, Stdout: io.Discard})
		})
	}
	until(b, "all are open", func() bool { return node.running.Load() == sessions })
	b.ReportMetric((g.memory(b, "VmRSS")-before)*1024/sessions, "KiB/session")
	b.ReportMetric(0, "ns/op")
	cancel()
	open.Wait()
	until(b, "all have ended", func() bool { return node.running.Load() == 0 })
}

// cpu is how much time the proxy has used.
func (g *gate) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	// Behind the name, proc_pid_stat(5) has utime and stime as fields 14 and 15, in ticks.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
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

// memory returns a line of the proxy's status, in MiB.
func (g *gate) memory(b *testing.B, line string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatalf("the status has no %s", line)
	return 0
}

func (g *gate) peak(b *testing.B) float64 { return g.memory(b, "VmHWM") }
