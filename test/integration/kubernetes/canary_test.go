package kubernetes

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/test/canary"
)

// TestG8Canaries writes and reads Secrets and tokens in the ways that kubectl has, and looks for
// them in every byte that the proxy leaves behind.
func TestG8Canaries(t *testing.T) {
	for _, secrets := range []string{"Denied", "Masked", "Readable"} {
		t.Run(secrets, func(t *testing.T) { plant(t, secrets) })
	}
}

func plant(t *testing.T, secrets string) {
	g := start(t, "writer", "    secrets: "+secrets+"\n", detectors)
	name := "canary-" + strings.ToLower(secrets)
	set := canary.Set{}
	seen := "this-may-be-seen-" + strings.ToLower(secrets)
	apply := func(file, body string) {
		path := filepath.Join(t.TempDir(), file)
		write(t, path, body)
		if out, err := g.kubectl("apply", "-n", "shop", "-f", path); err != nil {
			t.Logf("apply %s: %v\n%s", file, err, out)
		}
	}
	try := func(args ...string) string {
		out, err := g.kubectl(append(args, "-n", "shop")...)
		if err != nil {
			t.Logf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	try("create", "configmap", seen)
	if out := try("create", "secret", "generic", name, "--from-literal=k="+set.Plant("a created value")); strings.Contains(out, "created") != (secrets != "Denied") {
		t.Errorf("the Secret: %s", out)
	}
	apply("string.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: applied}\nstringData: {k: "+set.Plant("an applied value")+"}\n")
	apply("data.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: applied}\ndata: {k: "+encode(set.Plant("an applied value in base64"))+"}\n")
	apply("list.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: listed}, data: {k: "+encode(set.Plant("a value in a list"))+"}}\n")
	apply("invalid.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: Invalid_Name}\nstringData: {k: "+set.Plant("a value that is not valid")+"}\n")
	try("patch", "secret", name, "--type=json", "-p", `[{"op":"add","path":"/data/p","value":"`+encode(set.Plant("a patched value"))+`"}]`)
	try("patch", "secret", name, "-p", `{"stringData":{"q":"`+set.Plant("a merged value")+`"}}`)
	try("get", "secrets", "-o", "yaml")
	try("get", "secret", name, "-o", "json")
	try("get", "secret", name, "-w", "--request-timeout=1s")
	if token := strings.TrimSpace(try("create", "token", "default")); strings.Count(token, ".") == 2 {
		set.Add("a token of a ServiceAccount", strings.Split(token, ".")[2])
	}
	config, err := os.ReadFile(g.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(config)) {
		for _, name := range []string{"token: ", "client-key-data: "} {
			if _, secret, ok := strings.Cut(line, name); ok {
				secret = strings.Trim(strings.TrimSpace(secret), `"`)
				set.Add("the grant's "+name, secret[len(secret)/2:len(secret)/2+min(60, len(secret)/2)])
			}
		}
	}
	set.Add("the proxy's key at the API server", strings.Split(string(impersonator.KeyData), "\n")[1])

	places := map[string][]byte{}
	for name, content := range canary.Folder(t, g.dir, ".credentials", "gate.yaml", ".kube") {
		places["while it ran: "+name] = content
	}
	g.stop(t)
	for name, content := range canary.Folder(t, g.dir, ".credentials", "gate.yaml", ".kube") {
		places[name] = content
	}
	for name, content := range canary.Streams(t, filepath.Join(g.dir, ".recordings")) {
		places["stream: "+name] = content
	}
	places["log"] = []byte(g.said.String())
	for _, found := range set.Find(places) {
		t.Error(found)
	}
	if len(canary.Set{"it": seen}.Find(places)) == 0 {
		t.Error("what may be seen is not found: nothing was looked at")
	}
}
