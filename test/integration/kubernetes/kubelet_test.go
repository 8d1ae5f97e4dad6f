package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// node is the kubelet of the test's cluster.
var node *kubelet

// kubelet serves exec and attach as kubelets and container runtimes do, with their own
// library. Its containers are processes of this machine.
type kubelet struct {
	*httptest.Server
	// reached counts what came through; running is how many commands run now.
	reached, running atomic.Int64
	// asked is what it was last asked for.
	asked atomic.Pointer[url.URL]
	// line makes containers that are attached to end with their first line.
	line atomic.Bool
	// log is what containers log; nil for a GiB.
	log atomic.Pointer[func(w io.Writer, options url.Values)]
}

func newKubelet() *kubelet {
	k := &kubelet{}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", k.attach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.portForward)
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", k.logs)
	k.Server = httptest.NewTLSServer(mux)
	return k
}

// join makes the node and a pod on it.
func (k *kubelet) join(ctx context.Context) error {
	u, err := url.Parse(k.URL)
	if err != nil {
		return err
	}
	port, err := strconv.ParseInt(u.Port(), 10, 32)
	if err != nil {
		return err
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	if err := admin.Create(ctx, n); err != nil {
		return err
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: u.Hostname()}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
	if err := admin.Status().Update(ctx, n); err != nil {
		return err
	}
	for _, p := range []*corev1.Pod{pod("web", nil), pod("host", func(s *corev1.PodSpec) { s.HostPID = true })} {
		if err := admin.Create(ctx, p); err != nil {
			return err
		}
		p.Status.Phase = corev1.PodRunning
		if err := admin.Status().Update(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func pod(name string, change func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "main", Image: "main", Stdin: true, TTY: true}}}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

const patient = time.Hour

func (k *kubelet) exec(w http.ResponseWriter, r *http.Request) {
	k.reached.Add(1)
	k.asked.Store(r.URL)
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, k, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], o, patient, patient, []string{remotecommand.StreamProtocolV4Name})
}

func (k *kubelet) attach(w http.ResponseWriter, r *http.Request) {
	k.reached.Add(1)
	k.asked.Store(r.URL)
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, k, r.PathValue("pod"), "", r.PathValue("container"), o, patient, patient, []string{remotecommand.StreamProtocolV4Name})
}

func (k *kubelet) logs(w http.ResponseWriter, r *http.Request) {
	k.reached.Add(1)
	if log := k.log.Load(); log != nil {
		(*log)(flushing{w}, r.URL.Query())
		return
	}
	line := []byte(strings.Repeat("a line of a container's log, as long as many are\n", 1<<8))
	for left := 1 << 30; left > 0; left -= len(line) {
		line = line[:min(len(line), left)]
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}

// flushing sends each part by itself.
type flushing struct{ http.ResponseWriter }

// Write implements io.Writer.
func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

func (k *kubelet) portForward(w http.ResponseWriter, r *http.Request) {
	k.reached.Add(1)
	o, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, k, r.PathValue("pod"), "", o, patient, patient, portforward.SupportedProtocols)
}

// PortForward implements portforward.PortForwarder: the pod's network is this machine's.
func (k *kubelet) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	k.running.Add(1)
	defer k.running.Add(-1)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("failed to connect to port %d", port)
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.Copy(conn, stream)
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, conn)
	return err
}

// AttachContainer implements remotecommand.Attacher: what the container does is to echo.
func (k *kubelet) AttachContainer(ctx context.Context, name, uid, container string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	command := []string{"cat"}
	if k.line.Load() {
		command = []string{"head", "-n1"}
	}
	if in == nil {
		command = []string{"echo", "the container"}
	}
	return k.ExecInContainer(ctx, name, uid, container, command, in, out, errOut, tty, resize, 0)
}

// ExecInContainer implements remotecommand.Executor. A terminal's first size stands before
// the output.
func (k *kubelet) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	k.running.Add(1)
	defer k.running.Add(-1)
	if tty {
		size := <-resize
		if _, err := fmt.Fprintf(out, "[%dx%d]", size.Width, size.Height); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // as container runtimes do
	cmd.Stdout, cmd.Stderr = out, errOut
	if tty {
		cmd.Stderr = out
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer func() { _ = stdin.Close() }()
		if in != nil {
			_, _ = io.Copy(stdin, in)
		}
	}()
	err = cmd.Wait()
	failed := new(exec.ExitError)
	if errors.As(err, &failed) {
		code := failed.ExitCode()
		if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		return utilexec.CodeExitError{Err: err, Code: code}
	}
	return err
}

func (k *kubelet) url(g *gate, subresource, query string) *url.URL {
	u, err := url.Parse(strings.TrimSuffix(g.config.Host, "/") + "/api/v1/namespaces/shop/pods/web/" + subresource + "?" + query)
	if err != nil {
		panic(err)
	}
	return u
}
