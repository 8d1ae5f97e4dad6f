package standalone

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// G3, G8: no masked value and no credential is anywhere but where it has to be: not in
// recordings, Sessions, ApprovalRequests, logs, metrics, state or spool.
func TestG8NothingSecretAtRest(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri())
	psql.send("select * from customers;")
	psql.expect("6789")
	// Refused, but written down: the literal could be the value that was looked for.
	psql.send("select id from customers where ssn = '123-45-6789';")
	psql.expect("CDA-2004")
	psql.send("alter role app password 'planted-in-a-statement';")
	psql.expect("ERROR")
	psql.send("delete from customers; -- planted-in-a-comment ssn 987-65-4321")
	psql.expect("CDA-")
	g.psql(strings.Replace(g.uri(), g.credential("password"), "planted-wrong-password", 1), "select 1")
	g.hold(psql)

	metrics := g.get("/metrics")
	for _, want := range []string{"cardea_proxy_sessions 1", `cardea_proxy_commands_total{decision="Denied"}`, `cardea_proxy_refusals_total{code="CDA-2004"}`, "cardea_proxy_policy_age_seconds"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s:\n%s", want, metrics)
		}
	}
	if g.get("/healthz") != "ok\n" || g.get("/readyz") != "ok\n" {
		t.Error("the proxy is not healthy and ready")
	}
	live := g.files(".credentials", "10-login.yaml")
	password := g.credential("password")
	privateKey := strings.Split(g.credential("tls.key"), "\n")[1]
	_ = psql.cmd.Process.Kill()
	g.signal(syscall.SIGTERM)
	planted := map[string]string{
		"the upstream password":   upstreamPassword,
		"the client's password":   password,
		"its private key":         privateKey,
		"a masked value":          "123-45-6789",
		"another":                 "987-65-4321",
		"a masked address":        "ada@example.com",
		"a password in a command": "planted-in-a-statement",
		"a wrong password":        "planted-wrong-password",
	}
	places := map[string][]byte{"log": []byte(g.output.String()), "metrics": []byte(metrics)}
	for name, content := range live {
		places["while it ran: "+name] = content
	}
	for name, content := range g.files(".credentials", "10-login.yaml") {
		places[name] = content
	}
	for place, content := range places {
		if strings.HasSuffix(place, ".zst") {
			content = expand(t, content)
		}
		for what, secret := range planted {
			if bytes.Contains(content, []byte(secret)) || bytes.Contains(content, []byte(base64.StdEncoding.EncodeToString([]byte(secret)))) {
				t.Errorf("%s holds %s", place, what)
			}
		}
	}
}

func expand(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (g *gate) get(path string) string {
	g.t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", g.metrics, path))
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}
