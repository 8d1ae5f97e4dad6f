package export

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/recording"
)

var update = flag.Bool("update", false, "write the golden files anew")

// session is a session of one engine with a command of every kind.
func session(engine, client string, texts ...string) []recording.Event {
	events := []recording.Event{
		{Started: &recording.Started{Schema: 1, Session: "s-1", Namespace: "gate", Grant: "g", Target: "t", TargetUID: "u", Subject: "system:serviceaccount:shop:a", Reason: "r", Client: "10.0.0.1", Proxy: "p"}},
		{Connection: 1, Connected: &recording.Connected{Engine: engine, Client: client, Credential: "c", Database: "orders"}},
	}
	for i, text := range texts {
		id := uint64(i + 1)
		command := &recording.Command{ID: id, Text: text, Decision: "Allowed"}
		switch i {
		case 1:
			command.Decision, command.Code, command.Rule, command.Message = "Denied", "CDA-2001", "CommandRule/gate/x", "not on prod"
		case 2:
			events = append(events, recording.Event{Connection: 1, Held: &recording.Held{ID: id, Text: text, Rule: "CommandRule/gate/h", Request: "x7k2p"}})
			command.Decision, command.Rule, command.Request, command.Approvers = "Approved", "CommandRule/gate/h", "x7k2p", []string{"dora"}
		}
		events = append(events, recording.Event{Connection: 1, Command: command})
	}
	return append(events,
		recording.Event{Connection: 1, Response: &recording.Response{ID: 1, Rows: [][]*string{{nil}}}},
		recording.Event{Connection: 1, Response: &recording.Response{ID: 1, Final: true, Tag: "SELECT 1", RowCount: 1, ByteCount: 9}},
		recording.Event{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("not exported")}},
		recording.Event{Connection: 1, Response: &recording.Response{ID: 3, Final: true, SQLState: "42P01", Error: "no such thing"}},
		recording.Event{Connection: 1, Command: &recording.Command{ID: 9, Text: "the last", Decision: "Allowed"}},
		recording.Event{Connection: 1, Disconnected: &recording.Disconnected{Reason: "GrantRevoked"}},
		recording.Event{Ended: &recording.Ended{Reason: "GrantRevoked"}})
}

var sessions = map[string][]recording.Event{
	"postgres":   session("postgres", "10.0.0.1:5", "SELECT 1", "DROP TABLE x", "DELETE FROM x"),
	"ssh":        session("ssh", "[2001:db8::1]:6", "$ id", "$ rm -rf /", "$ reboot"),
	"kubernetes": session("kubernetes", "10.0.0.1:7", "GET /api/v1/pods", "DELETE /api/v1/namespaces/x", "POST /api/v1/namespaces/x/pods/p/exec?command=sh&tty=true"),
}

func records(t *testing.T, of func(func(any) error) *Writer, events []recording.Event) []map[string]any {
	t.Helper()
	var out []map[string]any
	w := of(func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		record := map[string]any{}
		out = append(out, record)
		return json.Unmarshal(text, &record)
	})
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for i, e := range events {
		e.Sequence, e.Time = uint64(i+1), at.Add(time.Duration(i)*time.Second)
		if err := w.Entry(recording.Entry{Event: e, Verified: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGoldens(t *testing.T) {
	for format, of := range map[string]func(func(any) error) *Writer{"ocsf": OCSF, "ecs": ECS} {
		for engine, events := range sessions {
			t.Run(format+" "+engine, func(t *testing.T) {
				got, err := json.MarshalIndent(records(t, of, events), "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(got), "not exported") {
					t.Error("output is exported")
				}
				path := filepath.Join("testdata", format+"-"+engine+".json")
				if *update {
					if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		}
	}
}

// TestOCSFHasWhatClassesRequire holds every event to the attributes that version 1.2.0 of the
// schema requires of its class.
func TestOCSFHasWhatClassesRequire(t *testing.T) {
	base := []string{"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata.product.vendor_name", "metadata.version"}
	controlled := []string{"action_id", "metadata.profiles"}
	required := map[float64][]string{
		6005: append(controlled, "actor.user.name", "src_endpoint.ip", "database.type_id", "database.name"),
		6003: {"actor.user.name", "src_endpoint.ip", "api.operation"},
		1007: append(controlled, "actor.user.name", "device.type_id", "process.uid"),
		4007: append(controlled, "src_endpoint.ip", "dst_endpoint.name"),
	}
	for engine, events := range sessions {
		for i, o := range records(t, OCSF, events) {
			class, ok := o["class_uid"].(float64)
			if !ok || required[class] == nil {
				t.Fatalf("%s %d: class %v", engine, i, o["class_uid"])
			}
			for _, path := range append(base, required[class]...) {
				if !has(o, path) {
					t.Errorf("%s %d: class %v lacks %s", engine, i, class, path)
				}
			}
			if o["type_uid"] != class*100+o["activity_id"].(float64) || o["category_uid"] != float64(int(class)/1000) {
				t.Errorf("%s %d: type %v, category %v, class %v", engine, i, o["type_uid"], o["category_uid"], class)
			}
			if class == 6005 && o["activity_id"] == 4.0 && !has(o, "query_info.query_string") {
				t.Errorf("%s %d: a query without its text", engine, i)
			}
		}
	}
}

func has(o map[string]any, path string) bool {
	name, rest, nested := strings.Cut(path, ".")
	v, ok := o[name]
	if !nested {
		return ok
	}
	inner, isObject := v.(map[string]any)
	return isObject && has(inner, rest)
}

// TestECSCategories holds event.type to what event.category expects of it.
func TestECSCategories(t *testing.T) {
	expected := map[string]string{
		"api": "access admin allowed change creation deletion denied end info start user", "database": "access change info error",
		"network": "access allowed connection denied end info protocol start", "process": "access change end info start", "session": "start end info",
	}
	for engine, events := range sessions {
		for i, o := range records(t, ECS, events) {
			event, ok := o["event"].(map[string]any)
			if !ok {
				t.Fatalf("%s %d: no event", engine, i)
			}
			var allowed []string
			for _, c := range event["category"].([]any) {
				if expected[fmt.Sprint(c)] == "" {
					t.Errorf("%s %d: category %v", engine, i, c)
				}
				allowed = append(allowed, strings.Fields(expected[fmt.Sprint(c)])...)
			}
			for _, kind := range event["type"].([]any) {
				if !slices.Contains(allowed, fmt.Sprint(kind)) {
					t.Errorf("%s %d: type %v of %v", engine, i, kind, event["category"])
				}
			}
		}
	}
}

// TestPendingIsBounded leaves more commands without an outcome than are remembered.
func TestPendingIsBounded(t *testing.T) {
	events := []recording.Event{{Started: &recording.Started{Session: "s"}}}
	for i := range 3 * maxPending {
		events = append(events, recording.Event{Command: &recording.Command{ID: uint64(i + 1), Text: "x", Decision: "Allowed"}})
	}
	if n := len(records(t, ECS, events)); n != 3*maxPending {
		t.Errorf("%d records of %d commands", n, 3*maxPending)
	}
}
