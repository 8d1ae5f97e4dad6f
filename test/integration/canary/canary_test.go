package canary

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/test/canary"
	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
	"github.com/cardea-dev/cardea/test/ports"
	"github.com/cardea-dev/cardea/test/sshtest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// seen is written by every engine, and is no secret: it has to be found, or nothing was looked at.
const seen = "thisMayBeSeen17"

// world is a gate before a database and a host.
type world struct {
	*gatetest.Gate
	set      canary.Set
	database *pgtest.Server
	host     *sshtest.Server
	metrics  int
	ssh      int
}

func yaml(text string) string { return strings.TrimPrefix(text, "\n") }

func start(t *testing.T) *world {
	t.Helper()
	w := &world{set: canary.Set{}, database: pgtest.Start(t), host: sshtest.Start(t, sshtest.Options{})}
	login := w.set.Plant("the upstream password")
	w.database.Exec(t, "postgres", fmt.Sprintf("create role app login password '%s'", login))
	w.database.Exec(t, "postgres", "create database shop owner app")
	numbers := make([]int, 3)
	for i := range numbers {
		port, err := ports.Take()
		if err != nil {
			t.Fatal(err)
		}
		numbers[i] = port
	}
	w.metrics, w.ssh = numbers[1], numbers[2]
	ca, err := os.ReadFile(w.database.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	indented := func(b []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\n    ") }
	manifests := strings.NewReplacer("CA_PEM", indented(ca), "USER_CA", indented(w.host.UserCA), "PASSWORD", login, "PG_PORT", strconv.Itoa(w.database.Port),
		"HOST_PORT", strconv.Itoa(w.host.Port), "HOST_KEY", strings.TrimSpace(w.host.HostKey), "LOGIN", w.host.Login).Replace(yaml(`
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: gate}
data:
  ca.crt: |
    CA_PEM
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: gate, labels: {access.cardea.dev/target: db}}
type: kubernetes.io/basic-auth
stringData: {username: app, password: PASSWORD}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: gate, labels: {access.cardea.dev/target: host}}
type: kubernetes.io/ssh-auth
stringData:
  ssh-privatekey: |
    USER_CA
---
apiVersion: access.cardea.dev/v1alpha1
kind: Target
metadata: {name: db, namespace: gate}
spec:
  postgres:
    host: localhost
    port: PG_PORT
    tls: {mode: VerifyFull, caRef: {kind: ConfigMap, name: ca, key: ca.crt}}
    login: {secretRef: {name: login}}
---
apiVersion: access.cardea.dev/v1alpha1
kind: Target
metadata: {name: host, namespace: gate}
spec:
  ssh:
    host: 127.0.0.1
    port: HOST_PORT
    logins: [LOGIN]
    hostKeys: ["HOST_KEY"]
    userCA: {secretRef: {name: key}}
---
apiVersion: access.cardea.dev/v1alpha1
kind: MaskingRule
metadata: {name: columns, namespace: gate}
spec:
  targetSelector: {}
  columns: [{names: ["*.*.secret"], function: {redact: {}}}]
  predicates: Equality
  detectors: [CreditCard, SSN, Email, IBAN, Token]
---
apiVersion: access.cardea.dev/v1alpha1
kind: CommandRule
metadata: {name: held, namespace: gate}
spec:
  targetSelector: {}
  match: [{sql: {statements: [Delete]}}]
  action: RequireApproval
  approval: {required: 1, approvers: [{kind: User, name: ops}], timeout: 5m, whilePending: Reject, inTransaction: Reject}
---
apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: client, namespace: gate}
spec:
  subject: {kind: User, name: tester}
  targetRef: {name: db}
  duration: 4h
  reason: a test
  postgres: {databases: ["*"], access: ReadWrite}
---
apiVersion: access.cardea.dev/v1alpha1
kind: AccessGrant
metadata: {name: shell, namespace: gate}
spec:
  subject: {kind: User, name: tester}
  targetRef: {name: host}
  duration: 4h
  reason: a test
  ssh: {logins: [LOGIN], channels: [Exec, Shell], terminal: Raw}
`))
	w.Gate = gatetest.StartWith(t, "client", manifests, "--postgres-port", strconv.Itoa(numbers[0]), "--metrics-port", strconv.Itoa(w.metrics), "--ssh-port", strconv.Itoa(w.ssh))
	w.Port, w.CAFile = numbers[0], w.Credential("ca.crt")
	w.Password = w.set.Add("the client's password", w.file(t, "client", "password"))
	w.set.Add("the client's private key", keyLine(w.file(t, "client", "tls.key")))
	eventually(t, "the credential of the second grant", func() bool {
		_, err := os.Stat(filepath.Join(w.Dir, ".credentials", "shell", "id_ed25519"))
		return err == nil
	})
	w.set.Add("the private key of the SSH client", keyLine(w.file(t, "shell", "id_ed25519")))
	w.set.Add("the private key of the authority for the host", keyLine(string(w.host.UserCA)))
	return w
}

// keyLine is a line of a private key that no other has: the last whole one.
func keyLine(pem string) string {
	lines := strings.Split(strings.TrimSpace(pem), "\n")
	return lines[len(lines)-3]
}

func (w *world) file(t *testing.T, grant, key string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Dir, ".credentials", grant, key))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(2 * time.Minute)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// token is what the detector of tokens finds. Built of parts, so that no scanner of sources takes
// it for real.
func token(set canary.Set, what string) string {
	return set.Add(what, "gh"+"p_"+(set.Plant(what+", the rest") + strings.Repeat("x", 36))[:36])
}

// TestG8Canaries sends secrets in every way that there is, and looks for them in the store, the
// spool, Sessions, ApprovalRequests, the log and the metrics, while the proxy runs and after it.
func TestG8Canaries(t *testing.T) {
	w := start(t)
	w.postgres(t)
	w.hosts(t)

	skip := []string{".credentials", "gate.yaml"}
	places := map[string][]byte{}
	for name, content := range canary.Folder(t, w.Dir, skip...) {
		places["while it ran: "+name] = content
	}
	places["metrics"] = w.get(t, "/metrics")
	w.Stop(t)
	for name, content := range canary.Folder(t, w.Dir, skip...) {
		places[name] = content
	}
	for name, content := range canary.Streams(t, filepath.Join(w.Dir, ".recordings")) {
		places["stream: "+name] = content
	}
	places["log"] = []byte(w.Said())
	for _, found := range w.set.Find(places) {
		t.Error(found)
	}
	for _, engine := range []string{"client-", "shell-"} {
		if n := len((canary.Set{"it": seen}).Find(part(places, engine))); n == 0 {
			t.Errorf("what may be seen is not found in the recordings of %s", engine)
		}
	}
	if !bytes.Contains(places["metrics"], []byte("cardea_proxy_commands_total")) || len(places["log"]) == 0 {
		t.Error("there are no metrics or no log")
	}
}

func part(places map[string][]byte, name string) map[string][]byte {
	out := map[string][]byte{}
	for place, content := range places {
		if strings.Contains(place, ".recordings/"+name) || strings.Contains(place, "stream: "+name) {
			out[place] = content
		}
	}
	return out
}

func (w *world) get(t *testing.T, path string) []byte {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", w.metrics, path))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// postgres plants in rows, literals, parameters, passwords, errors, notices, COPY and comments.
func (w *world) postgres(t *testing.T) {
	t.Helper()
	p := w.set.Plant
	stored, other := p("a masked value"), p("a masked value of another row")
	w.database.Exec(t, "shop", fmt.Sprintf(`
		create table people (id int primary key, name text, secret text unique, note text, check (secret <> 'no'));
		insert into people values (1, '%s', '%s', 'mail %s'), (2, 'b', '%s', 'c');
		create table empty (id int, secret text not null);
		create function complain() returns trigger language plpgsql as $$ begin raise notice 'the mail %%', new.note; return new; end $$;
		create trigger complain before update on people for each row execute function complain();
		alter table people owner to app; alter table empty owner to app; create table strict (secret int); alter table strict owner to app`,
		seen, stored, token(w.set, "a token in another column"), other))
	u := url.URL{Scheme: "postgresql", User: url.UserPassword("client", w.Password), Host: fmt.Sprintf("127.0.0.1:%d", w.Port), Path: "/shop"}
	u.RawQuery = "sslmode=verify-full&sslrootcert=" + w.CAFile
	statements := map[string]string{
		"rows":          "select * from people",
		"a literal":     "select id from people where secret = '" + p("a literal in WHERE") + "'",
		"a real value":  "select id from people where secret = '" + stored + "'",
		"refused":       "select id from people where secret like '" + p("a literal in a refused statement") + "%'",
		"a list":        "select id from people where secret in ('" + p("a literal in a list") + "', 'x')",
		"inserted":      "insert into people values (3, 'c', '" + p("an inserted value") + "', '')",
		"twice":         "insert into people values (4, 'd', '" + stored + "', '')",
		"no such check": "insert into people values (5, 'e', null, '" + token(w.set, "a token in a row that fails") + "'), (5, 'e', '" + p("a value in a row that fails") + "', '')",
		"updated":       "update people set secret = '" + p("an updated value") + "' where id = 2",
		"not null":      "insert into empty values (1, null), (2, '" + p("a value beside a NULL") + "')",
		"a wrong type":  "insert into strict values ('" + p("a value of a wrong type") + "')",
		"deleted":       "delete from people where secret = '" + p("a literal in a held statement") + "'",
		// A comment in a statement that meets no masked column is kept, as its other literals are.
		"held comment":         "delete from people where secret = 'x' -- " + p("a comment in a held statement with a masked column"),
		"commented":            "select id /* " + p("a comment in a statement with a masked column") + " */ from people where secret = 'x'",
		"a password":           "alter role app password '" + p("a password") + "'",
		"a role":               "create role r login password '" + p("a password of a new role") + "'",
		"not understood":       "select * from people where secret = '" + p("a literal in what is no SQL") + "' wher (",
		"several":              "select 1; select id from people where secret = '" + p("a literal in one of several statements") + "'",
		"prepared":             "prepare s as select id from people where secret = '" + p("a literal that is prepared") + "'",
		"explained":            "explain select id from people where secret = '" + p("a literal in EXPLAIN") + "'",
		"dollars":              "select id from people where secret = $x$" + p("a literal in dollars") + "$x$",
		"escaped":              `select id from people where secret = E'` + p("a literal with escapes") + `\n'`,
		"a cursor":             "declare c cursor for select id from people where secret = '" + p("a literal in a cursor") + "'",
		"a view":               "create temporary view v as select id from people where secret = '" + p("a literal in a view") + "'",
		"a code block":         "do $$ begin perform id from people where secret = '" + p("a literal in a code block") + "'; end $$",
		"a cast":               "select secret::int from people",
		"a name":               "select id from people where " + seen + " = 1",
		"a server, a password": "create server s foreign data wrapper w options (password '" + p("a password in an option") + "')",
		"a connection":         "create subscription s connection 'host=x password=" + p("a password in a connection string") + "' publication p",
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		config, err := pgx.ParseConfig(u.String())
		if err != nil {
			t.Fatal(err)
		}
		config.DefaultQueryExecMode = mode
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range statements {
			rows, err := conn.Query(t.Context(), statement)
			if err == nil {
				for rows.Next() {
					_, _ = rows.Values()
				}
				rows.Close()
			}
			if conn.IsClosed() {
				if conn, err = pgx.ConnectConfig(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
		}
		if mode == pgx.QueryExecModeExec {
			_, _ = conn.Exec(t.Context(), "select id from people where secret = $1", p("a parameter"))
			_, _ = conn.Exec(t.Context(), "insert into people values ($1, 'x', $2, '')", 77, p("an inserted parameter"))
			_, _ = conn.Exec(t.Context(), "select id from people where id = $1::int", p("a parameter of a wrong type for id, with secret"))
		}
		_ = conn.Close(t.Context())
	}
	delete(w.set, "a parameter of a wrong type for id, with secret") // it meets no masked column
	w.psql(t, "copy people (id, name, secret, note) from stdin;\n90\tx\t"+p("a value in COPY")+"\ty\n\\.\ncopy people to stdout;\n\\x\nselect * from people;\n")
	wrong := u
	wrong.User = url.UserPassword("client", p("a wrong password"))
	if c, err := pgx.Connect(t.Context(), wrong.String()); err == nil {
		_ = c.Close(t.Context())
		t.Error("a wrong password signs in")
	}
}

func (w *world) psql(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pgtest.Bin(t, "psql"), "-X")
	cmd.Env, cmd.Stdin = w.Environment("shop"), strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if exited := new(exec.ExitError); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	for what, secret := range w.set {
		if bytes.Contains(out, []byte(secret)) {
			t.Errorf("psql shows %s:\n%s", what, out)
		}
	}
}

// hosts plants in what commands print, whole and in parts, in input, on terminals and in files.
func (w *world) hosts(t *testing.T) {
	t.Helper()
	files := map[string]string{}
	for what, command := range map[string]string{
		"printed":             "cat FILE",
		"printed to stderr":   "cat FILE >&2",
		"printed in parts":    "while IFS= read -rn7 c; do printf %s \"$c\"; sleep 0.02; done < FILE; echo",
		"printed without end": "printf %s \"$(cat FILE)\"",
	} {
		path := filepath.Join(w.host.Dir, strings.ReplaceAll(what, " ", "-"))
		if err := os.WriteFile(path, []byte(token(w.set, "a token "+what)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files[what] = strings.ReplaceAll(command, "FILE", path)
	}
	for what, command := range files {
		out := w.run(t, "", "host", "echo "+seen+"; "+command)
		if strings.Contains(out, w.set["a token "+what]) {
			t.Errorf("shown: what is %s", what)
		}
	}
	w.run(t, "the token is "+token(w.set, "a token in the input")+" indeed\n", "host", "cat >/dev/null")
	w.run(t, "4111"+"111111111111\n", "host", "cat")
	w.set.Add("a card number in the input", "4111"+"111111111111")
	w.terminal(t, files["printed"])
}

func (w *world) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ssh", append([]string{"-F", filepath.Join(w.Dir, ".credentials", "shell", "config"), "-o", "ConnectTimeout=60"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if exited := new(exec.ExitError); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return string(out)
}

// terminal types a command, and a token letter by letter.
func (w *world) terminal(t *testing.T, command string) {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(w.file(t, "shell", "id_ed25519") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := base64.StdEncoding.DecodeString(strings.Fields(w.file(t, "shell", "id_ed25519-cert.pub"))[1])
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		t.Fatal(err)
	}
	certificate, ok := public.(*ssh.Certificate)
	if !ok {
		t.Fatalf("a certificate that is a %s", public.Type())
	}
	signer, err := ssh.NewCertSigner(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.ssh), &ssh.ClientConfig{User: w.host.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: time.Minute}) //nolint:gosec // the test is about the other side
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.Stdout = &out // a terminal has no other
	keys, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{command + "\r", "# " + token(w.set, "a token that is typed") + "\r", "exit\r"} {
		for i := range len(typed) {
			if _, err := io.WriteString(keys, typed[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = s.Wait()
}
