package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// restricted removes what pg_dump writes anew each time.
func restricted(dump string) string {
	var out []string
	for _, line := range strings.Split(dump, "\n") {
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func TestPgDump(t *testing.T) {
	s := start(t)
	dump := pgtest.Bin(t, "pg_dump")
	want := restricted(run(t, direct(s), "", dump))
	gates(t, s, func(t *testing.T, g *gatetest.Gate, isMasked bool) {
		if isMasked {
			out, errs, err := try(t, g.Environment(database), "", dump)
			if err == nil || !strings.Contains(errs, "CDA-") || !strings.Contains(errs, "masked") {
				t.Errorf("pg_dump of a target with masks: %v\n%s", err, errs)
			}
			noCanary(t, out+errs)
			return
		}
		if d := cmp.Diff(want, restricted(run(t, g.Environment(database), "", dump))); d != "" {
			t.Errorf("the dump differs:\n%s", d)
		}
		archive := filepath.Join(t.TempDir(), "shop.dump")
		run(t, g.Environment(database), "", dump, "-Fc", "-f", archive)
		s.Exec(t, "postgres", "create database restored owner app")
		restored := append(direct(s), "PGDATABASE=restored")
		run(t, restored, "", pgtest.Bin(t, "pg_restore"), "-d", "restored", "--no-comments", archive)
		rows := restricted(run(t, direct(s), "", dump, "--data-only"))
		if d := cmp.Diff(rows, restricted(run(t, restored, "", dump, "--data-only"))); d != "" {
			t.Errorf("what was restored differs:\n%s", d)
		}
		nothingRefused(t, g)
	})
}

func TestPgbench(t *testing.T) {
	s := start(t)
	bench := pgtest.Bin(t, "pgbench")
	gates(t, s, func(t *testing.T, g *gatetest.Gate, isMasked bool) {
		environment := g.Environment(database)
		if isMasked {
			// Tables cannot be made on a target with masks.
			environment = direct(s)
		}
		// Server-side generation ("G") and client-side ("g"), foreign keys and partitions.
		run(t, environment, "", bench, "-i", "-q", "-I", "dtgvpf")
		run(t, environment, "", bench, "-i", "-q", "-I", "dtGvp", "--partitions=2")
		for _, mode := range []string{"simple", "extended", "prepared"} {
			for _, script := range []string{"tpcb-like", "simple-update", "select-only"} {
				out := run(t, g.Environment(database), "", bench, "-n", "-M", mode, "-b", script, "-c", "2", "-t", "10")
				if !strings.Contains(out, "number of transactions actually processed: 20/20") || strings.Contains(out, "aborted") {
					t.Errorf("%s %s:\n%s", mode, script, out)
				}
			}
		}
		pipeline := filepath.Join(t.TempDir(), "pipeline.sql")
		if err := os.WriteFile(pipeline, []byte("\\startpipeline\nselect 1;\nselect 2;\nselect 3;\n\\endpipeline\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out := run(t, g.Environment(database), "", bench, "-n", "-M", "prepared", "-f", pipeline, "-c", "1", "-t", "5")
		if !strings.Contains(out, "5/5") {
			t.Errorf("a pipeline:\n%s", out)
		}
		nothingRefused(t, g)
	})
}

// The ways in which libpq is told how to connect.
func TestConnectionSettings(t *testing.T) {
	s := start(t)
	g := gatetest.Start(t, gatetest.Options{Server: s, User: "app", Password: password, Access: "ReadOnly"})
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	address := fmt.Sprintf("host=127.0.0.1\nport=%d\ndbname=%s\n", g.Port, database)
	service := write("services", "[gate]\n"+address+"user="+g.Grant+"\nsslmode=verify-full\nsslrootcert="+g.CAFile+"\n")
	passwords := write("passwords", fmt.Sprintf("127.0.0.1:%d:*:%s:%s\n", g.Port, g.Grant, g.Password))
	plain := append(os.Environ(), "LC_ALL=C.UTF-8")
	psql := pgtest.Bin(t, "psql")
	for name, c := range map[string]struct {
		environment []string
		uri         string
		want        string // what psql says if it is refused
	}{
		"verify-full":               {plain, g.URI(database), ""},
		"channel binding required":  {plain, g.URI(database, "channel_binding=require"), ""},
		"channel binding disabled":  {plain, g.URI(database, "channel_binding=disable"), ""},
		"by localhost":              {plain, strings.Replace(g.URI(database), "127.0.0.1", "localhost", 1), ""},
		"service file":              {slices.Concat(plain, []string{"PGSERVICEFILE=" + service, "PGPASSFILE=" + passwords}), "service=gate", ""},
		"client certificate":        {plain, g.URI(database, "sslcert="+g.CertFile, "sslkey="+g.KeyFile), ""},
		"sslmode=require":           {plain, strings.Replace(g.URI(database), "verify-full", "require", 1), ""},
		"sslmode=prefer":            {plain, strings.Replace(g.URI(database), "verify-full", "prefer", 1), ""},
		"TLS 1.2":                   {plain, g.URI(database, "ssl_max_protocol_version=TLSv1.2"), ""},
		"GSS encryption asked for":  {plain, g.URI(database, "gssencmode=prefer"), ""},
		"several hosts":             {plain, strings.Replace(g.URI(database), "@127.0.0.1", "@127.0.0.1:1,127.0.0.1", 1), ""},
		"read-write session wanted": {plain, g.URI(database, "target_session_attrs=read-write"), ""},
		"keepalives and time-outs":  {plain, g.URI(database, "keepalives_idle=5", "tcp_user_timeout=10000", "connect_timeout=10", "application_name=report"), ""},
		"no TLS":                    {plain, strings.Replace(g.URI(database), "verify-full", "disable", 1), "TLS"},
		"another authority":         {plain, strings.Replace(g.URI(database), g.CAFile, s.CAFile, 1), "certificate verify failed"},
		"a wrong password":          {slices.Concat(plain, []string{"PGPASSWORD=wrong"}), strings.Replace(g.URI(database), ":"+g.Password, "", 1), "CDA-1001"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, err := try(t, c.environment, "", psql, "-XAt", c.uri, "-c", "select note from orders where id = 3")
			switch {
			case c.want == "" && (err != nil || out != "note 3\n"):
				t.Errorf("%v: %q %q", err, out, errs)
			case c.want != "" && (err == nil || !strings.Contains(errs, c.want)):
				t.Errorf("%v: %q %q, want %q", err, out, errs, c.want)
			}
		})
	}
	t.Run("pg_isready", func(t *testing.T) {
		if out := run(t, g.Environment(database), "", pgtest.Bin(t, "pg_isready")); !strings.Contains(out, "accepting connections") {
			t.Error(out)
		}
	})
	t.Run("a grant that only reads", func(t *testing.T) {
		_, errs, err := try(t, g.Environment(database), "", pgtest.Bin(t, "pgbench"), "-i")
		if err == nil || !strings.Contains(errs, "CDA-2002") {
			t.Errorf("%v: %s", err, errs)
		}
	})
}
