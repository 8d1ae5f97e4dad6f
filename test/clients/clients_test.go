package clients

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// patience is how long a client may take.
const patience = 5 * time.Minute

// database is where the clients work, and password that of the login app, which owns it.
const (
	database = "shop"
	password = "upstream"
)

// masked are the columns masked on the target with masks, canary what is in all of them.
var masked = []string{"public.customers.email", "*.*.ssn"}

const canary = "canary"

// start starts a server with the clients' database, which the login app owns.
func start(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.Start(t, "log_statement = none", "jit = off")
	s.Exec(t, "postgres", "create role app login createrole password '"+password+"'")
	s.Exec(t, "postgres", "create database "+database+" owner app")
	b, err := os.ReadFile("testdata/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	s.Exec(t, database, "set role app; "+string(b))
	return s
}

// gates starts a gate without masks and one with masks before one server, and runs f with
// each.
func gates(t *testing.T, s *pgtest.Server, f func(t *testing.T, g *gatetest.Gate, isMasked bool)) {
	t.Helper()
	for name, columns := range map[string][]string{"unmasked": nil, "masked": masked} {
		t.Run(name, func(t *testing.T) {
			g := gatetest.Start(t, gatetest.Options{Server: s, User: "app", Password: password, Access: "Full", Masked: columns})
			f(t, g, columns != nil)
		})
	}
}

// direct is the environment in which clients reach the server without the gate.
func direct(s *pgtest.Server) []string {
	g := gatetest.Gate{Port: s.Port, Grant: "app", Password: password, CAFile: s.CAFile}
	return g.Environment(database)
}

// run runs a program and returns what it printed; it must end with code 0.
func run(t *testing.T, environment []string, stdin, name string, args ...string) string {
	t.Helper()
	out, errs, err := try(t, environment, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(name), err, out, errs)
	}
	return out + errs
}

// try runs a program and returns what it printed, and how it ended.
func try(t *testing.T, environment []string, stdin, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdin = environment, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s does not end: %s%s", name, out.String(), errs.String())
	}
	return out.String(), errs.String(), err
}

// need fails, or skips where that is allowed, unless a program or file is there. It returns
// its path.
func need(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) > 0 {
			return found[0]
		}
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	missing(t, strings.Join(patterns, " or "))
	return ""
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CARDEA_SKIP_MISSING_CLIENTS") != "" {
		t.Skipf("%s is missing; hack/preflight.sh installs it", what)
	}
	t.Fatalf("%s is missing: hack/preflight.sh installs it, CARDEA_SKIP_MISSING_CLIENTS=1 leaves it out", what)
}

// noCanary fails if a client saw a masked value.
func noCanary(t *testing.T, out string) {
	t.Helper()
	if strings.Contains(out, canary) {
		t.Errorf("a masked value was seen:\n%s", out)
	}
}

// nothingRefused fails if the gate refused a command.
func nothingRefused(t *testing.T, g *gatetest.Gate) {
	t.Helper()
	for _, c := range g.Refused(t) {
		t.Errorf("refused with %s %s: %s", c.Code, c.Message, c.Text)
	}
}
