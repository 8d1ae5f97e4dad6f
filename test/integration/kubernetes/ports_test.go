package kubernetes

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // what the client library speaks
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// forwarders are how kubectl forwards ports.
var forwarders = map[string]string{"WebSocket": "true", "SPDY": "false"}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// echo is a server in the pod that answers with what it was sent once that has ended.
func echo(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				b, err := io.ReadAll(c)
				if err == nil {
					_, _ = c.Write(b)
				}
			}()
		}
	}()
	return portOf(t, l.Addr().String())
}

var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+) -> \d+`)

// forward has kubectl forward a port of the pod, and returns where.
func forward(t *testing.T, g *gate, port int) (address string, said *output, ended <-chan struct{}) {
	t.Helper()
	said = &output{}
	ended = g.begin(t, said, "port-forward", "pod/web", fmt.Sprintf(":%d", port))
	until(t, "kubectl forwards", func() bool {
		select {
		case <-ended:
			t.Fatalf("kubectl ended: %s", said.String())
		default:
		}
		return forwarding.MatchString(said.String())
	})
	return "127.0.0.1:" + forwarding.FindStringSubmatch(said.String())[1], said, ended
}

func permitted(ports ...int) string {
	var b strings.Builder
	b.WriteString("    ports: [")
	for i, p := range ports {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(p))
	}
	return b.String() + "]\n"
}

// Ports that the grant names are forwarded, byte for byte, and each connection is recorded.
func TestPortForward(t *testing.T) {
	for name, overWebSocket := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", overWebSocket)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "from within "+r.URL.Path) }))
			t.Cleanup(web.Close)
			server, other := portOf(t, web.Listener.Addr().String()), echo(t)
			g := start(t, "writer", permitted(server, other))
			address, _, _ := forward(t, g, server)
			var all sync.WaitGroup
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for i := range 20 {
				all.Go(func() {
					answer, err := client.Get(fmt.Sprintf("http://%s/%d", address, i))
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = answer.Body.Close() }()
					if b, err := io.ReadAll(answer.Body); err != nil || string(b) != fmt.Sprintf("from within /%d", i) {
						t.Errorf("%v %q", err, b)
					}
				})
			}
			all.Wait()
			toEcho, _, _ := forward(t, g, other)
			sent := make([]byte, 5<<20)
			if _, err := rand.Read(sent); err != nil {
				t.Fatal(err)
			}
			if got := exchange(t, toEcho, sent); sha256.Sum256(got) != sha256.Sum256(sent) {
				t.Errorf("%d bytes came back of %d", len(got), len(sent))
			}
			until(t, "the connections are left", func() bool { return node.running.Load() == 0 })
			g.stop(t)
			connections, bulk := 0, false
			for _, e := range g.events(t) {
				if e.Response != nil && strings.HasPrefix(e.Response.Tag, "connection ") {
					connections++
					bulk = bulk || strings.HasSuffix(e.Response.Tag, fmt.Sprintf(" to port %d: %d bytes sent, %d received", other, len(sent), len(sent)))
				}
			}
			if connections != 21 || !bulk {
				t.Errorf("%d connections are recorded, the large one %t", connections, bulk)
			}
		})
	}
}

// exchange sends all of b, says so, and returns what comes back.
func exchange(t *testing.T, address string, b []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() {
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return got
}

// A port that the grant does not name is not reached, and the client is told so.
func TestPortsBeyondAGrant(t *testing.T) {
	for name, overWebSocket := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", overWebSocket)
			other := echo(t)
			g := start(t, "writer", permitted(1))
			before := node.running.Load()
			address, said, _ := forward(t, g, other)
			if got := exchange(t, address, []byte("x")); len(got) > 0 {
				t.Errorf("%q came back", got)
			}
			until(t, "kubectl says why", func() bool {
				return strings.Contains(said.String(), fmt.Sprintf("CDA-1006: the grant does not permit port %d", other))
			})
			if n := node.running.Load() - before; n != 0 {
				t.Errorf("%d connections were made", n)
			}
			g.stop(t)
			refused := false
			for _, e := range g.events(t) {
				refused = refused || e.Response != nil && strings.HasSuffix(e.Response.Tag, " refused")
			}
			if !refused {
				t.Error("the refusal is not recorded")
			}
		})
	}
	g := start(t, "writer", "    exec: Raw\n")
	if out, err := g.kubectl("port-forward", "pod/web", ":80"); err == nil || !strings.Contains(out, "CDA-1006") {
		t.Errorf("without ports: %v, %s", err, out)
	}
	g = start(t, "writer", permitted(80))
	if out, err := g.kubectl("port-forward", "pod/host", ":80"); err == nil || !strings.Contains(out, "kubernetes-privileged-pods") {
		t.Errorf("a pod that escapes: %v, %s", err, out)
	}
}

// G2: a grant that is revoked ends what is forwarded.
func TestRevocationEndsPortForward(t *testing.T) {
	for name, overWebSocket := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", overWebSocket)
			port := echo(t)
			g := start(t, "writer", permitted(port))
			address, _, ended := forward(t, g, port)
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			until(t, "the connection is there", func() bool { return node.running.Load() == 1 })
			path := filepath.Join(g.dir, "gate.yaml")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, strings.Replace(string(b), "reason: a test", "reason: a test\n  desiredState: Revoked", 1))
			if got, _ := io.ReadAll(c); len(got) > 0 {
				t.Errorf("%q came", got)
			}
			<-ended
			until(t, "the connection is left", func() bool { return node.running.Load() == 0 })
		})
	}
}

// tunnel opens the connection of a port-forward, whose streams are the test's to make.
func tunnel(t *testing.T, g *gate) httpstream.Connection {
	t.Helper()
	transport, upgrader, err := spdy.RoundTripperFor(g.config)
	if err != nil {
		t.Fatal(err)
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, node.url(g, "portforward", ""))
	c, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Streams that are no pair of one connection are refused, and lead nowhere.
func TestForwardedStreamsOutOfOrder(t *testing.T) {
	port := strconv.Itoa(echo(t))
	g := start(t, "writer", permitted(portOf(t, "x:"+port)))
	type stream struct{ kind, id, port string }
	for name, streams := range map[string][]stream{
		"two of a kind":       {{"error", "1", port}, {"error", "1", port}},
		"a port that changes": {{"error", "1", port}, {"data", "1", "1"}},
		"a kind of its own":   {{"stdin", "1", port}},
		"no number":           {{"error", "", port}},
		"a long number":       {{"error", strings.Repeat("9", 33), port}},
		"a port with a sign":  {{"error", "1", "+" + port}, {"data", "1", "+" + port}},
		"a port with a space": {{"error", "1", port + " "}, {"data", "1", port + " "}},
		"a port as a list":    {{"error", "1", port + ",1"}, {"data", "1", port + ",1"}},
		"no port":             {{"error", "1", ""}, {"data", "1", ""}},
		"a port too large":    {{"error", "1", "6" + port + "0"}, {"data", "1", "6" + port + "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := tunnel(t, g)
			var last httpstream.Stream
			for _, h := range streams {
				s, err := c.CreateStream(http.Header{corev1.StreamType: {h.kind}, corev1.PortForwardRequestIDHeader: {h.id}, corev1.PortHeader: {h.port}})
				if err != nil {
					return // refused at once
				}
				last = s
			}
			_, _ = last.Write([]byte("x"))
			_ = last.Close()
			if b, _ := io.ReadAll(last); len(b) > 0 {
				t.Errorf("%q came", b)
			}
		})
	}
	if n := node.running.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	// The query that names ports is that of another protocol.
	if out, err := g.kubectl("get", "--raw", "/api/v1/namespaces/shop/pods/web/portforward?"+url.Values{"ports": {port}}.Encode()); err == nil || !strings.Contains(out, "CDA-2003") {
		t.Errorf("%v, %s", err, out)
	}
}
