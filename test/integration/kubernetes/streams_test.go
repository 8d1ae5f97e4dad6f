package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
)

// size is a terminal of one size.
type size struct{ given bool }

// Next implements remotecommand.TerminalSizeQueue.
func (s *size) Next() *remotecommand.TerminalSize {
	if s.given {
		return nil
	}
	s.given = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

// protocols are those of clients.
var protocols = map[string]func(c *rest.Config, u *url.URL) (remotecommand.Executor, error){
	"WebSocket v5": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutorForProtocols(c, http.MethodGet, u.String(), "v5.channel.k8s.io")
	},
	"WebSocket v4": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutorForProtocols(c, http.MethodGet, u.String(), "v4.channel.k8s.io")
	},
	"SPDY": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		transport, upgrader, err := spdy.RoundTripperFor(c)
		if err != nil {
			return nil, err
		}
		return remotecommand.NewSPDYExecutorForTransports(transport, upgrader, http.MethodPost, u)
	},
}

// recorded is what the recording holds of one command.
type recorded struct {
	Stdin, Resize, Stdout, Stderr string
	Ended                         bool // stdin
	Tag                           string
}

// tapes returns what the recording holds of each command, by its text.
func (g *gate) tapes(t *testing.T) map[string]*recorded {
	t.Helper()
	tapes, texts := map[string]*recorded{}, map[uint64]*recorded{}
	for _, e := range g.events(t) {
		switch {
		case e.Command != nil:
			r := &recorded{}
			tapes[e.Command.Text], texts[e.Command.ID] = r, r
		case e.Input != nil:
			r := texts[e.Input.ID]
			if e.Input.Stream == "resize" {
				r.Resize += string(e.Input.Data)
			} else {
				r.Stdin += string(e.Input.Data)
				r.Ended = r.Ended || e.Input.Final
			}
		case e.Output != nil:
			switch r := texts[e.Output.ID]; e.Output.Stream {
			case "stdout":
				r.Stdout += string(e.Output.Data)
			case "stderr":
				r.Stderr += string(e.Output.Data)
			}
		case e.Response != nil && e.Response.Final:
			texts[e.Response.ID].Tag = e.Response.Tag
		}
	}
	return tapes
}

// G6: what is forwarded of exec and attach is recorded, input included, with every protocol,
// with a terminal and without.
func TestStreams(t *testing.T) {
	for protocol, executor := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := start(t, "writer", "    exec: Raw\n")
			want := map[string]*recorded{}
			for name, tc := range map[string]struct {
				subresource, query, stdin string
				tty                       bool
				out, errOut               string
				code                      int
				tape                      recorded
			}{
				"exec":                {"exec", "command=echo&command=a%20b&stdout=true&stderr=true", "", false, "a b\n", "", 0, recorded{Stdout: "a b\n", Tag: "exit 0"}},
				"exec, both outputs":  {"exec", "command=sh&command=-c&command=echo%20o%3Becho%20e%3E%262%3Bexit%207&stdout=true&stderr=true", "", false, "o\n", "e\n", 7, recorded{Stdout: "o\n", Stderr: "e\n", Tag: "exit 7"}},
				"exec with stdin":     {"exec", "command=cat&stdin=true&stdout=true&stderr=true", "\x00\xff not UTF-8\n", false, "\x00\xff not UTF-8\n", "", 0, recorded{Stdin: "\x00\xff not UTF-8\n", Ended: true, Stdout: "\x00\xff not UTF-8\n", Tag: "exit 0"}},
				"exec in a terminal":  {"exec", "command=head&command=-n1&stdin=true&stdout=true&tty=true", "typed\n", true, "[80x24]typed\n", "", 0, recorded{Stdin: "\n" /* the terminal shows another thing first */, Ended: true, Resize: `{"Width":80,"Height":24}`, Stdout: "[80x24]typed\n", Tag: "exit 0"}},
				"a terminal, no echo": {"exec", "command=pwd&stdout=true&tty=true", "", true, "[80x24]" + directory(t) + "\n", "", 0, recorded{Resize: `{"Width":80,"Height":24}`, Stdout: "[80x24]" + directory(t) + "\n", Tag: "exit 0"}},
				"attach":              {"attach", "stdout=true&stderr=true", "", false, "the container\n", "", 0, recorded{Stdout: "the container\n", Tag: "exit 0"}},
				"attach with stdin":   {"attach", "stdin=true&stdout=true&stderr=true", "hello\n", false, "hello\n", "", 0, recorded{Stdin: "hello\n", Ended: true, Stdout: "hello\n", Tag: "exit 0"}},
			} {
				// v4 over WebSocket cannot say that there is no more input.
				if protocol == "WebSocket v4" && tc.tape.Ended && tc.query != "command=head&command=-n1&stdin=true&stdout=true&tty=true" {
					continue
				}
				t.Run(name, func(t *testing.T) {
					e, err := executor(g.config, node.url(g, tc.subresource, tc.query))
					if err != nil {
						t.Fatal(err)
					}
					var out, errOut bytes.Buffer
					o := remotecommand.StreamOptions{Stdout: &out, Tty: tc.tty}
					if !tc.tty {
						o.Stderr = &errOut
					} else {
						o.TerminalSizeQueue = &size{}
					}
					if tc.stdin != "" {
						o.Stdin = strings.NewReader(tc.stdin)
					}
					err = e.StreamWithContext(t.Context(), o)
					exited := utilexec.CodeExitError{}
					if errors.As(err, &exited) {
						err = nil
					}
					if err != nil || exited.Code != tc.code || out.String() != tc.out || errOut.String() != tc.errOut {
						t.Errorf("exit code %d, %v, stdout %q, stderr %q", exited.Code, err, &out, &errOut)
					}
				})
				tape := tc.tape
				// Whether a command that ends by itself takes the end of its input is a race.
				tape.Ended = false
				values, err := url.ParseQuery(tc.query)
				if err != nil {
					t.Fatal(err)
				}
				want["POST /api/v1/namespaces/shop/pods/web/"+tc.subresource+"?"+values.Encode()] = &tape
			}
			got := g.tapes(t)
			for text, tape := range want {
				if got[text] != nil {
					got[text].Ended = false
				}
				if diff := cmp.Diff(tape, got[text]); diff != "" {
					t.Errorf("the recording of %s (-want +got):\n%s", text, diff)
				}
			}
		})
	}
}

func directory(t *testing.T) string {
	t.Helper()
	d, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Half-closing stdin ends a command that reads to its end, and large data pass whole.
func TestStreamsOfSize(t *testing.T) {
	g := start(t, "writer", "    exec: Commands\n")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, protocol := range []string{"WebSocket v5", "SPDY"} {
		t.Run(protocol, func(t *testing.T) {
			e, err := protocols[protocol](g.config, node.url(g, "exec", "command=cat&stdin=true&stdout=true"))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: bytes.NewReader(data), Stdout: &out}); err != nil || !bytes.Equal(out.Bytes(), data) {
				t.Errorf("%v, %d bytes of %d", err, out.Len(), len(data))
			}
		})
	}
}

// dial opens exec of a command over WebSocket, its frames as small as can be.
func dial(t *testing.T, g *gate, query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	secure, err := rest.TLSConfigFor(g.config)
	if err != nil {
		t.Fatal(err)
	}
	d := websocket.Dialer{TLSClientConfig: secure, Subprotocols: []string{"v5.channel.k8s.io"}, WriteBufferSize: 1}
	u := node.url(g, "exec", query)
	u.Scheme = "wss"
	c, answer, err := d.DialContext(t.Context(), u.String(), header)
	if answer != nil {
		t.Cleanup(func() { _ = answer.Body.Close() })
	}
	if c != nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, answer, err
}

// kubectl-rexec #218: a message in many frames is one message, to whom it passes and in the
// recording.
func TestFragments(t *testing.T) {
	g := start(t, "writer", "    exec: Commands\n")
	c, _, err := dial(t, g, "command=cat&stdin=true&stdout=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"\x00\x04\x01\x03\xff\x00many frames\n", "", "\x00", "\x07nobody's", "\x00and a second", "\xff\x00"} {
		if err := c.WriteMessage(websocket.BinaryMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	sent := "\x04\x01\x03\xff\x00many frames\nand a second"
	var out []byte
	status := ""
	for {
		_, m, err := c.ReadMessage()
		if err != nil {
			break
		}
		switch m[0] {
		case 1:
			out = append(out, m[1:]...)
		case 3:
			status += string(m[1:])
		}
	}
	if string(out) != sent || !strings.Contains(status, "Success") {
		t.Errorf("stdout %q, status %s", out, status)
	}
	tape := g.tapes(t)["POST /api/v1/namespaces/shop/pods/web/exec?command=cat&stdin=true&stdout=true"]
	if diff := cmp.Diff(&recorded{Stdin: sent, Ended: true, Stdout: sent, Tag: "exit 0"}, tape); diff != "" {
		t.Errorf("the recording (-want +got):\n%s", diff)
	}
}

// G1, G4: what is refused reaches no kubelet, by whatever method and with whatever headers.
func TestStreamsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		role, exec, query string
		header            http.Header
		status            int
		want              string // part of the answer, or of what the stream ends with
	}{
		"exec that is not granted":    {"writer", "Denied", "command=id&stdout=true", nil, 403, "CDA-1006"},
		"a terminal among commands":   {"writer", "Commands", "command=id&stdout=true&tty=true", nil, 403, "exec with a terminal"},
		"no command":                  {"writer", "Raw", "stdout=true", nil, 403, "CDA-2003"},
		"a parameter nobody knows":    {"writer", "Raw", "command=id&stdout=true&x=y", nil, 403, "CDA-2003"},
		"a boolean in doubt":          {"writer", "Raw", "command=id&stdout=true&tty=maybe", nil, 403, "CDA-2003"},
		"a container in another path": {"writer", "Raw", "command=id&stdout=true&container=..%2fx", nil, 403, "CDA-2003"},
		"exec by GET with get alone":  {"reader", "Raw", "command=id&stdout=true", nil, 101, "cannot create resource"},
		"another user":                {"reader", "Raw", "command=id&stdout=true", http.Header{"Impersonate-User": {"system:admin"}, "Impersonate-Group": {"system:masters"}, "X-Remote-Group": {"system:masters"}}, 101, "cannot create resource"},
		"another page in the browser": {"writer", "Raw", "command=id&stdout=true", http.Header{"Origin": {"https://example.org"}}, 403, "Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, tc.role, "    exec: "+tc.exec+"\n")
			before := node.reached.Load()
			c, answer, err := dial(t, g, tc.query, tc.header)
			if answer == nil || answer.StatusCode != tc.status {
				t.Fatalf("answer %+v, %v", answer, err)
			}
			var said []byte
			if c == nil {
				said, _ = io.ReadAll(answer.Body)
			}
			for c != nil {
				_, m, err := c.ReadMessage()
				if err != nil {
					break
				}
				said = append(said, m...)
			}
			if !strings.Contains(string(said), tc.want) {
				t.Errorf("the client is told %s", said)
			}
			if n := node.reached.Load() - before; n != 0 {
				t.Errorf("%d requests reached the kubelet", n)
			}
		})
	}
}

// G2: a grant that is revoked ends exec, and the client is told why.
func TestRevocationEndsExec(t *testing.T) {
	for protocol, executor := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := start(t, "writer", "    exec: Commands\n")
			e, err := executor(g.config, node.url(g, "exec", "command=sh&command=-c&command=echo%20up%3Bcat&stdin=true&stdout=true"))
			if err != nil {
				t.Fatal(err)
			}
			from, to := io.Pipe()
			defer func() { _ = to.Close() }()
			ended := make(chan error, 1)
			hear, say := io.Pipe()
			go func() {
				err := e.StreamWithContext(context.WithoutCancel(t.Context()), remotecommand.StreamOptions{Stdin: from, Stdout: say})
				_ = say.Close()
				ended <- err
			}()
			if _, err := io.ReadFull(hear, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(g.dir, "gate.yaml")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, strings.Replace(string(b), "reason: a test", "reason: a test\n  desiredState: Revoked", 1))
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "CDA-1004") {
				t.Errorf("exec ended with %v", err)
			}
			until(t, "the command is left", func() bool { return node.running.Load() == 0 })
		})
	}
}

// Pods that reach out of their containers are neither entered nor made.
func TestPodsThatEscape(t *testing.T) {
	g := start(t, "writer", "    exec: Raw\n")
	before := node.reached.Load()
	manifest := filepath.Join(g.dir, "pod.json")
	write(t, manifest, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"new","namespace":"shop"},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i"}]}}`)
	for name, args := range map[string][]string{
		"exec": {"exec", "host", "--", "id"}, "attach": {"attach", "host"}, "create": {"create", "-f", manifest, "--validate=false"},
		"apply": {"apply", "--server-side", "-f", manifest, "--validate=false"}, "run": {"run", "new", "--image=i", `--overrides={"spec":{"hostIPC":true}}`},
	} {
		if out, err := g.kubectl(args...); err == nil || !strings.Contains(out, "kubernetes-privileged-pods") || !strings.Contains(out, "Here: host") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	if n := node.reached.Load() - before; n != 0 {
		t.Errorf("%d requests reached the kubelet", n)
	}
	if out, err := g.kubectl("run", "new", "--image=i", "--dry-run=server"); err != nil {
		t.Errorf("a pod like others: %v, %s", err, out)
	}
}

// G5: exec is held until somebody decides, the person at the client is told, and what was
// denied does not run.
func TestExecHeld(t *testing.T) {
	rule := `apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: ask, namespace: gate}
spec:
  targetSelector: {}
  match: [{shell: {commands: ["echo **"]}}]
  action: RequireApproval
  approval: {required: 1, approvers: [{kind: Group, name: ops}], timeout: 10m, whilePending: Wait}`
	for decision, want := range map[string]string{"Approved": "held no more\n", "Denied": "CDA-3002"} {
		for _, overWebSocket := range []string{"true", "false"} {
			t.Run(decision+", "+overWebSocket, func(t *testing.T) {
				g := start(t, "writer", "    exec: Commands\n", rule)
				t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", overWebSocket)
				before := node.reached.Load()
				var out output
				ended := g.begin(t, &out, "exec", "web", "--", "sh", "-c", "echo held no more")
				until(t, "the person is told", func() bool { return strings.Contains(out.String(), "cardea: held for approval until ") })
				if n := node.reached.Load() - before; n != 0 {
					t.Errorf("%d requests reached the kubelet", n)
				}
				requests, err := filepath.Glob(filepath.Join(g.dir, ".approvals", "*.yaml"))
				if err != nil || len(requests) != 1 {
					t.Fatalf("requests %v, %v", requests, err)
				}
				b, err := os.ReadFile(requests[0])
				if err != nil || !strings.Contains(string(b), "echo held no more") {
					t.Fatalf("%v, the request is\n%s", err, b)
				}
				write(t, requests[0], strings.Replace(string(b), "status:\n", "status:\n  decisions:\n  - {approver: olga, groups: [ops], decision: "+decision+"}\n", 1))
				<-ended
				if !strings.Contains(out.String(), want) || node.reached.Load()-before > 0 != (decision == "Approved") {
					t.Errorf("kubectl said\n%s", out.String())
				}
				if again, err := filepath.Glob(filepath.Join(g.dir, ".approvals", "*.yaml")); err != nil || len(again) != 1 {
					t.Errorf("requests %v, %v", again, err)
				}
			})
		}
	}
}
