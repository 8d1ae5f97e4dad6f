package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"k8s.io/client-go/tools/remotecommand"
)

// detectors mask what looks like a secret.
const detectors = `apiVersion: access.cardea.dev/v1alpha1
kind: MaskingRule
metadata: {name: net, namespace: gate}
spec:
  targetSelector: {}
  detectors: [CreditCard, SSN, Email, IBAN, Token]`

// Built of parts, so that no scanner of sources takes them for real.
var (
	key    = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + strings.Repeat(strings.Repeat("aB3/", 16)+"\n", 300) + "-----END RSA " + "PRIVATE KEY-----"
	issued = "ghp_" + strings.Repeat("a1B2", 9)
	bearer = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N"
)

// values are what is masked, with what is shown of them.
var values = [][2]string{
	{"4111111111111111", "[card]"}, {"5500 0000 0000 0004", "[card]"}, {"123-45-6789", "[ssn]"}, {"ada.lovelace@example.com", "[email]"},
	{"DE89370400440532013000", "[iban]"}, {issued, "[token]"}, {bearer, "[token]"}, {key, "[token]"},
}

// text has every value, and so many of them that some lie over the borders of frames wherever
// these are.
func text(n int) (is, shown string) {
	var a, b strings.Builder
	for i := range n {
		v := values[i%len(values)]
		for w, v := range map[*strings.Builder]string{&a: v[0], &b: v[1]} {
			fmt.Fprintf(w, "%s line %d: %s, and on\n", strings.Repeat("x", i%7), i, v)
		}
	}
	return a.String(), b.String()
}

// holdNone looks for the values in every byte of a recording, and in what its parts make together.
func holdNone(t *testing.T, g *gate) {
	t.Helper()
	streams := map[string]*bytes.Buffer{}
	for _, e := range g.events(t) {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[string][]byte{"": line}
		if e.Input != nil {
			parts[fmt.Sprintf("%d %s", e.Input.ID, e.Input.Stream)] = e.Input.Data
		}
		if e.Output != nil {
			parts[fmt.Sprintf("%d %s", e.Output.ID, e.Output.Stream)] = e.Output.Data
		}
		for stream, p := range parts {
			if streams[stream] == nil {
				streams[stream] = &bytes.Buffer{}
			}
			streams[stream].Write(p)
		}
	}
	for stream, all := range streams {
		for _, v := range values {
			for _, v := range []string{v[0], v[0][:min(len(v[0])-1, 200)]} {
				if bytes.Contains(all.Bytes(), []byte(v)) {
					t.Errorf("the recording of %q holds %q", stream, v)
				}
			}
		}
	}
}

// G3: what detectors find in the output of commands is masked with every protocol, however it
// is cut into frames, and not in the recording. What goes in, goes in as it is.
func TestDetectorsInStreams(t *testing.T) {
	for protocol, executor := range protocols {
		if protocol == "WebSocket v4" {
			continue // cannot say that there is no more input
		}
		t.Run(protocol, func(t *testing.T) {
			g := start(t, "writer", "    exec: Raw\n", detectors)
			is, shown := text(400)
			kept := filepath.Join(t.TempDir(), "kept")
			for name, tc := range map[string]struct {
				subresource, query string
				out, errOut        string
			}{
				"stdout": {"exec", "command=cat", shown, ""},
				"stderr": {"exec", "command=sh&command=-c&command=" + url.QueryEscape("cat >&2"), "", shown},
				"attach": {"attach", "", shown, ""},
				"stdin":  {"exec", "command=sh&command=-c&command=" + url.QueryEscape("cat > "+kept), "", ""},
			} {
				t.Run(name, func(t *testing.T) {
					e, err := executor(g.config, node.url(g, tc.subresource, tc.query+"&stdin=true&stdout=true&stderr=true"))
					if err != nil {
						t.Fatal(err)
					}
					var out, errOut bytes.Buffer
					if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(is), Stdout: &out, Stderr: &errOut}); err != nil {
						t.Error(err)
					}
					if diff := cmp.Diff([]string{tc.out, tc.errOut}, []string{out.String(), errOut.String()}); diff != "" {
						t.Errorf("%.2000s", diff)
					}
				})
			}
			if b, err := os.ReadFile(kept); err != nil || string(b) != is {
				t.Errorf("%d bytes of %d went in, %v", len(b), len(is), err)
			}
			g.stop(t)
			var detected int64
			for _, e := range g.events(t) {
				if e.Response != nil {
					detected += e.Response.Detected
				}
			}
			if detected != 3*400 {
				t.Errorf("the recording counts %d values", detected)
			}
			holdNone(t, g)
		})
	}
}

// A value that comes byte by byte is masked, too.
func TestDetectorsInFragments(t *testing.T) {
	g := start(t, "writer", "    exec: Commands\n", detectors)
	c, _, err := dial(t, g, "command=cat&stdin=true&stdout=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []byte("card 4111111111111111, key " + issued) {
		if err := c.WriteMessage(websocket.BinaryMessage, []byte{0, b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WriteMessage(websocket.BinaryMessage, []byte{255, 0}); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for {
		_, m, err := c.ReadMessage()
		if err != nil {
			break
		}
		if m[0] == 1 {
			out = append(out, m[1:]...)
		}
	}
	if string(out) != "card [card], key [token]" {
		t.Errorf("%q", out)
	}
	holdNone(t, g)
}

// On a terminal what is held back is shown after a while, so that prompts appear. What is cut in
// two by that is still masked in the recording.
func TestDetectorsOnATerminal(t *testing.T) {
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := start(t, "writer", "    exec: Raw\n", detectors)
			p := open(t, g, protocol, "command=cat&stdin=true&stdout=true&tty=true")
			p.types("login")
			p.sees("login")
			p.types(" 4111111111111111\n")
			p.sees(" [card]\n")
			p.types("41111111")
			p.sees("41111111")
			p.types("11111111\n")
			p.sees("11111111\n")
			_ = p.keys.Close()
			holdNone(t, g)
		})
	}
}

// In a gated shell, what commands print is masked, and what is typed is in its recording.
func TestDetectorsInAGatedShell(t *testing.T) {
	g := start(t, "writer", "    exec: Gated\n", detectors)
	file := filepath.Join(t.TempDir(), "values")
	is, shown := text(len(values))
	write(t, file, is+"ada@example.com")
	p := open(t, g, "WebSocket v5", "command=sh&stdin=true&stdout=true&tty=true")
	p.sees("$ ")
	p.types("cat " + file + "\r")
	p.sees("\r\n" + strings.ReplaceAll(shown, "\n", "\r\n") + "[email]")
	p.sees("$ ")
	p.types("exit\r")
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	holdNone(t, g)
}

// G3: so is what detectors find in logs, also while they are followed.
func TestDetectorsInLogs(t *testing.T) {
	is, shown := text(60)
	more := make(chan struct{})
	logs := func(w io.Writer, o url.Values) {
		rest := is
		if limit, err := strconv.Atoi(o.Get("limitBytes")); err == nil {
			rest = rest[:limit]
		}
		for n := 1; len(rest) > 0; n = n%97 + 1 {
			part := rest[:min(n, len(rest))]
			rest = rest[len(part):]
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
		}
		if o.Get("follow") == "true" {
			_, _ = io.WriteString(w, "41111111")
			<-more
			_, _ = io.WriteString(w, "11111111\nlast")
		}
	}
	node.log.Store(&logs)
	t.Cleanup(func() { node.log.Store(nil) })
	g := start(t, "writer", "", detectors)
	for name, args := range map[string][]string{"plain": {}, "with timestamps": {"--timestamps"}, "previous": {"--previous"}} {
		if out, err := g.kubectl(append([]string{"logs", "web"}, args...)...); err != nil || out != shown {
			t.Errorf("%s: %v %.2000s", name, err, cmp.Diff(shown, out))
		}
	}
	// The log ends where the client wants, and that may be before the last byte of a value.
	at := strings.Index(is, "4111111111111111")
	for limit := at; limit <= at+16; limit++ {
		if out, err := g.kubectl("logs", "web", fmt.Sprintf("--limit-bytes=%d", limit)); err != nil || strings.Contains(out, "4111") {
			t.Errorf("%v %q", err, out)
		}
	}
	var followed output
	ended := g.begin(t, &followed, "logs", "-f", "web")
	until(t, "the log is shown", func() bool { return strings.HasPrefix(followed.String(), shown) })
	close(more)
	<-ended
	if diff := cmp.Diff(shown+"[card]\nlast", followed.String()); diff != "" {
		t.Errorf("%.2000s", diff)
	}
	holdNone(t, g)
}

// Files are copied out of a pod where they hold nothing that is masked: an archive cannot be.
func TestDetectorsInCopies(t *testing.T) {
	for name, overWebSocket := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", overWebSocket)
			g := start(t, "writer", "    exec: Commands\n", detectors)
			local, remote := t.TempDir(), t.TempDir()
			is, _ := text(20)
			write(t, filepath.Join(remote, "clean"), strings.Repeat("no value\n", 100_000))
			write(t, filepath.Join(remote, "values"), strings.Repeat("no value\n", 100_000)+is)
			write(t, filepath.Join(local, "values"), is)
			for _, args := range [][]string{{"web:" + remote + "/clean", local + "/clean"}, {local + "/values", "web:" + remote + "/in"}} {
				if out, err := g.kubectl("cp", args[0], args[1]); err != nil {
					t.Errorf("%v: %v %s", args, err, out)
				}
			}
			if b, err := os.ReadFile(filepath.Join(remote, "in")); err != nil || string(b) != is {
				t.Errorf("%d bytes went in, %v", len(b), err)
			}
			if b, err := os.ReadFile(filepath.Join(local, "clean")); err != nil || len(b) != 900_000 {
				t.Errorf("%d bytes came out, %v", len(b), err)
			}
			out, err := g.kubectl("cp", "web:"+remote+"/values", local+"/out")
			if err == nil || !strings.Contains(out, "CDA-2004") || !strings.Contains(out, "archive cannot be masked") {
				t.Errorf("%v %s", err, out)
			}
			if b, _ := os.ReadFile(filepath.Join(local, "out")); strings.Contains(string(b), values[0][0]) {
				t.Errorf("a value came out")
			}
			holdNone(t, g)
		})
	}
}

// What cannot be masked is refused, and reaches nobody.
func TestDetectorsRefusePorts(t *testing.T) {
	for name, overWebSocket := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", overWebSocket)
			server := echo(t)
			g := start(t, "writer", permitted(server), detectors)
			before := node.reached.Load()
			out, err := g.kubectl("port-forward", "pod/web", fmt.Sprintf(":%d", server))
			if err == nil || !strings.Contains(out, "CDA-2004") || !strings.Contains(out, "forwarded port cannot be masked") {
				t.Errorf("%v %s", err, out)
			}
			if n := node.reached.Load() - before; n != 0 {
				t.Errorf("%d requests reached the kubelet", n)
			}
		})
	}
}
