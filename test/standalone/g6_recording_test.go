package standalone

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/pgtest"

	"os/exec"
)

// session returns the one Session.
func (g *gate) session() *v1alpha1.Session {
	g.t.Helper()
	s := new(v1alpha1.Session)
	if err := yaml.UnmarshalStrict([]byte(g.read(g.only(".sessions"))), s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// anchor is what a Session says of its recording.
func (g *gate) anchor(s *v1alpha1.Session) recording.Anchor {
	r := s.Status.Recording
	return recording.Anchor{Segments: int(r.Segments), Digest: r.Digest, Ended: s.Status.EndedAt != nil, Recorder: r.Recorder, Number: uint64(r.Number), Store: r.Store}
}

// trust is the gate's authorities.
func (g *gate) trust() *recording.Trust {
	g.t.Helper()
	trust, err := recording.NewTrust([]byte(g.read(".tls/recording-ca.crt")))
	if err != nil {
		g.t.Fatal(err)
	}
	return trust
}

// replay reads and verifies a recording.
func (g *gate) replay(s *v1alpha1.Session) []recording.Event {
	g.t.Helper()
	var events []recording.Event
	anchor := g.anchor(s)
	anchor.Trust = g.trust()
	r, err := recording.Read(context.Background(), dir.New(g.path(".recordings")), s.Name, anchor, func(e recording.Entry) error {
		events = append(events, e.Event)
		return nil
	})
	if err != nil || !r.Intact() {
		g.t.Fatalf("the recording is not intact: %v %v", err, r.Problems)
	}
	return events
}

func commands(events []recording.Event) []recording.Command {
	var out []recording.Command
	for _, e := range events {
		if e.Command != nil {
			out = append(out, *e.Command)
		}
	}
	return out
}

// G6: every command that was forwarded is in a recording, also if the proxy is killed.
func TestG6KilledProxyLosesNoCommand(t *testing.T) {
	db := database(t)
	g := newGate(t, db).start()
	psql := g.open(g.uri())
	for i := range 40 {
		psql.send(fmt.Sprintf("select id, 'mark-%03d-' from orders where id = %d;", i, i%5+1))
	}
	psql.expect("mark-039-")
	// Killed while more is under way.
	psql.send(strings.Repeat("select 'tail-mark' from orders;\n", 200))
	g.signal(syscall.SIGKILL)
	g.output.reset()
	g.start()

	g.eventually("the recording is stored to its end", func() bool { return g.session().Status.Recording.State == v1alpha1.RecordingCut })
	s := g.session()
	if s.Status.EndReason != v1alpha1.ReasonCut || s.Status.EndedAt == nil {
		t.Errorf("status = %+v, want the reason Cut", s.Status)
	}
	recorded := commands(g.replay(s))
	log := db.Log(t)
	for i := range 40 {
		mark := fmt.Sprintf("'mark-%03d-'", i)
		if !strings.Contains(log, mark) {
			t.Errorf("%s did not reach the database", mark)
		}
		if !holds(recorded, mark) {
			t.Errorf("%s is not in the recording", mark)
		}
	}
	forwarded, kept := strings.Count(log, "'tail-mark'"), 0
	for _, c := range recorded {
		kept += strings.Count(c.Text, "'tail-mark'")
	}
	if kept < forwarded {
		t.Errorf("%d of the last commands reached the database, %d are in the recording", forwarded, kept)
	}
}

func holds(cs []recording.Command, text string) bool {
	for _, c := range cs {
		if strings.Contains(c.Text, text) && c.Decision == "Allowed" {
			return true
		}
	}
	return false
}

// The recording says who did what, what was decided and what came back.
func TestRecordingTellsTheStory(t *testing.T) {
	g := newGate(t, database(t)).start()
	psql := g.open(g.uri("application_name=report"))
	psql.send("select email from customers where id = 1;")
	psql.expect(".com")
	psql.send("drop database orders;")
	psql.expect("CDA-2001")
	request := g.hold(psql)
	g.approve(request, "dana", "dba")
	psql.expect("DELETE 5")
	psql.send("\\q")
	<-psql.exited
	g.signal(syscall.SIGTERM)

	s := g.session()
	if c := s.Status.Commands; c.Denied != 1 || c.Held != 1 || c.Forwarded < 2 || s.Status.Recording.State != v1alpha1.RecordingComplete || s.Status.EndReason != "ClientClosed" {
		t.Errorf("status = %+v", s.Status)
	}
	events := g.replay(s)
	started := events[0].Started
	if started == nil || started.Subject != "system:serviceaccount:shop:report-agent" || started.Reason != "monthly report, OPS-1423" || started.Store != "audit" {
		t.Errorf("it starts with %+v", started)
	}
	connected := events[1].Connected
	if connected == nil || connected.Database != "orders" || connected.Application != "report" || connected.Credential == "" {
		t.Errorf("connected: %+v", connected)
	}
	want := map[string]bool{}
	for _, e := range events {
		switch {
		case e.Command != nil && strings.HasPrefix(e.Command.Text, "drop"):
			want["denied"] = e.Command.Decision == "Denied" && e.Command.Code == "CDA-2001" && e.Command.Rule == "Baseline/postgres-drop-database"
		case e.Command != nil && strings.HasPrefix(e.Command.Text, "delete"):
			want["approved"] = e.Command.Decision == "Approved" && len(e.Command.Approvers) == 1 && e.Command.Approvers[0] == "dana" && strings.Contains(request, e.Command.Request)
		case e.Held != nil:
			want["held"] = true
		case e.Response != nil:
			for _, row := range e.Response.Rows {
				for _, v := range row {
					want["masked"] = want["masked"] || v != nil && strings.HasSuffix(*v, ".com") && strings.Contains(*v, "****")
				}
			}
		}
	}
	for _, what := range []string{"denied", "held", "approved", "masked"} {
		if !want[what] {
			t.Errorf("the recording does not show what was %s", what)
		}
	}
}

// Short connections of one client share a Session.
func TestShortConnectionsShareASession(t *testing.T) {
	g := newGate(t, database(t)).start()
	script := filepath.Join(t.TempDir(), "script.sql")
	if err := os.WriteFile(script, []byte("select count(*) from orders;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(pgtest.Bin(t, "pgbench"), "-n", "-C", "-t", "40", "-f", script, g.uri()).CombinedOutput()
	if err != nil {
		t.Fatalf("pgbench: %v\n%s", err, out)
	}
	g.signal(syscall.SIGTERM)
	found, _ := filepath.Glob(g.path(".sessions/*.yaml"))
	// One that comes before the gate is done with the last gets another.
	if len(found) > 20 {
		t.Fatalf("%d Sessions for 40 connections of one client", len(found))
	}
	total, numbers := 0, map[uint32]bool{}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := new(v1alpha1.Session)
		if err := yaml.UnmarshalStrict(b, s); err != nil {
			t.Fatal(err)
		}
		total += int(s.Status.Connections)
		for _, e := range g.replay(s) {
			if e.Connected != nil {
				numbers[e.Connection] = true
			}
		}
	}
	if total < 40 || len(numbers) < 40 {
		t.Errorf("%d connections are counted and %d recorded, want 40", total, len(numbers))
	}
}
