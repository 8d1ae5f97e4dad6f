package standalone

import (
	"os"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// A wrong manifest keeps the proxy from starting, with a sentence that says what is wrong.
func TestWrongManifest(t *testing.T) {
	db := database(t)
	for name, tc := range map[string]struct {
		do   func(*gate)
		want []string
	}{
		"unknown field":   {func(g *gate) { g.edit("40-masking.yaml", "predicates:", "predicate:") }, []string{"40-masking.yaml", "MaskingRule pii", `unknown field "spec.predicate"`}},
		"wrong value":     {func(g *gate) { g.edit("70-grant.yaml", "access: ReadOnly", "access: Everything") }, []string{"70-grant.yaml", "spec.postgres.access", "Everything"}},
		"CEL rule":        {func(g *gate) { g.edit("70-grant.yaml", "duration: 1h", "duration: 9000h") }, []string{"duration must be more than 0s and at most 8760h"}},
		"other namespace": {func(g *gate) { g.edit("70-grant.yaml", "namespace: shop-gate", "namespace: other-gate") }, []string{"one folder is one gate"}},
		"not YAML":        {func(g *gate) { g.write("x.yml", "a: [") }, []string{"x.yml"}},
		"twice":           {func(g *gate) { g.write("x.yaml", g.read("70-grant.yaml")) }, []string{"more than once"}},
		"no Target": {func(g *gate) {
			if err := os.Remove(g.path("30-target.yaml")); err != nil {
				t.Fatal(err)
			}
		}, []string{"namespace"}},
		"no folder": {func(g *gate) { g.dir += "/none" }, []string{"no such file or directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, db)
			tc.do(g)
			g.run()
			<-g.exited
			if g.cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("exit code %d", g.cmd.ProcessState.ExitCode())
			}
			for _, want := range tc.want {
				if !strings.Contains(g.output.String(), want) {
					t.Errorf("it does not say %q but:\n%s", want, g.output.String())
				}
			}
		})
	}
}

// A Target whose login is not to be used is shut, and the client is told why.
func TestConsent(t *testing.T) {
	db := database2(t)
	for name, tc := range map[string]struct {
		do   func(*gate)
		want string
	}{
		"no consent": {func(g *gate) {
			g.edit("10-login.yaml", "access.cardea.dev/target: orders-db", "access.cardea.dev/target: other")
		}, "consent"},
		"wrong type": {func(g *gate) { g.edit("10-login.yaml", "type: kubernetes.io/basic-auth", "type: Opaque") }, "kubernetes.io/basic-auth"},
		"no CA":      {func(g *gate) { os.Remove(g.path("21-ca.yaml")) }, "ConfigMap orders-ca"},
		"CA without PEM": {func(g *gate) {
			g.write("21-ca.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: orders-ca, namespace: shop-gate}\ndata: {ca.crt: x}\n")
		}, "no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, db)
			tc.do(g)
			g.start()
			before := connections(t, db)
			out, code := g.psql(g.uri(), "select 1")
			if code == 0 || !strings.Contains(out, tc.want) || strings.Contains(out, upstreamPassword) {
				t.Errorf("psql says, without %q:\n%s", tc.want, out)
			}
			if connections(t, db) != before {
				t.Error("the database was reached")
			}
			if !strings.Contains(g.output.String(), tc.want) {
				t.Error("the log does not say so")
			}
		})
	}
}

// Two proxies do not share a folder.
func TestSecondProxy(t *testing.T) {
	g := newGate(t, database(t)).start()
	before := g.credential("uri")
	second := &gate{t: t, dir: g.dir, db: g.db, port: pgtest.FreePort(t), metrics: pgtest.FreePort(t)}
	second.run()
	<-second.exited
	if second.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(second.output.String(), "another proxy runs from this folder") {
		t.Errorf("the second one says:\n%s", second.output.String())
	}
	if g.credential("uri") != before {
		t.Error("the second one changed the credential")
	}
}
