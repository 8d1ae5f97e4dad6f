package kubernetes

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/remotecommand"
)

// G6: with input and without, with a terminal and without, by exec and by attach, over each
// protocol, the kubelet is asked for what the client asked for and nothing else, and what
// passes is recorded. kubectl-rexec #180: input without a terminal is recorded too.
func TestStreamsMatrix(t *testing.T) {
	// v4 over WebSocket cannot say that there is no more input.
	node.line.Store(true)
	defer node.line.Store(false)
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := start(t, "writer", "    exec: Raw\n")
			want := map[string]*recorded{}
			for _, subresource := range []string{"exec", "attach"} {
				for _, stdin := range []bool{false, true} {
					for _, tty := range []bool{false, true} {
						text, tape := streamOnce(t, g, protocol, subresource, stdin, tty)
						want[text] = tape
					}
				}
			}
			got := g.tapes(t)
			for text, tape := range want {
				if got[text] != nil {
					// Whether a command that ends by itself takes the end of its input is a race.
					got[text].Ended = false
				}
				if diff := cmp.Diff(tape, got[text]); diff != "" {
					t.Errorf("the recording of %s (-want +got):\n%s", text, diff)
				}
			}
		})
	}
}

// streamOnce runs one command, and returns what the recording must hold of it.
func streamOnce(t *testing.T, g *gate, protocol, subresource string, stdin, tty bool) (string, *recorded) {
	t.Helper()
	query, forwarded := url.Values{"stdout": {"true"}}, url.Values{"output": {"1"}}
	tape := &recorded{Tag: "exit 0"}
	o := remotecommand.StreamOptions{Tty: tty}
	tape.Stdout = "the container\n"
	if subresource == "exec" {
		query["command"] = []string{"echo", "the container"}
	}
	if stdin {
		query.Set("stdin", "true")
		forwarded.Set("input", "1")
		o.Stdin = strings.NewReader("typed\n")
		tape.Stdin, tape.Stdout = "typed\n", "typed\n"
		if subresource == "exec" {
			query["command"] = []string{"head", "-n1"}
		}
	}
	if command := query["command"]; command != nil {
		forwarded["command"] = command
	}
	var out, errOut bytes.Buffer
	o.Stdout = &out
	if tty {
		query.Set("tty", "true")
		forwarded.Set("tty", "1")
		o.TerminalSizeQueue = &size{}
		// The terminal shows something else before what is typed, which so is no text.
		tape.Stdin = strings.TrimPrefix(tape.Stdin, "typed")
		tape.Resize, tape.Stdout = `{"Width":80,"Height":24}`, "[80x24]"+tape.Stdout
	} else {
		query.Set("stderr", "true")
		forwarded.Set("error", "1")
		o.Stderr = &errOut
	}
	name := fmt.Sprintf("%s, stdin %t, tty %t", subresource, stdin, tty)
	e, err := protocols[protocol](g.config, node.url(g, subresource, query.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	before := node.reached.Load()
	if err := e.StreamWithContext(t.Context(), o); err != nil || out.String() != tape.Stdout || errOut.Len() > 0 {
		t.Errorf("%s: %v, stdout %q, stderr %q", name, err, &out, &errOut)
	}
	if n := node.reached.Load() - before; n != 1 {
		t.Fatalf("%s: %d requests reached the kubelet", name, n)
	}
	if asked := node.asked.Load(); asked.Path != "/"+subresource+"/shop/web/main" {
		t.Errorf("%s: the kubelet was asked for %s", name, asked.Path)
	} else if diff := cmp.Diff(forwarded, asked.Query()); diff != "" {
		t.Errorf("%s: what was forwarded (-want +got):\n%s", name, diff)
	}
	return "POST /api/v1/namespaces/shop/pods/web/" + subresource + "?" + query.Encode(), tape
}
