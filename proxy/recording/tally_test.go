package recording

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// FuzzTallyOf holds the count that goes by the beginning of lines to one that reads them.
func FuzzTallyOf(f *testing.F) {
	f.Add("select 1", "Denied", "p", true)
	f.Add(`","decision":"Denied"`, "Allowed", `,"kind":"held"`, false)
	f.Add(strings.Repeat("x", 300), "Approved", "\"decision\":\"Denied\"\n", true)
	f.Fuzz(func(t *testing.T, a, decision, b string, flag bool) {
		events := []Event{
			{Kind: KindStarted, Started: &Started{Session: a, Reason: b}},
			{Kind: KindConnected, Connected: &Connected{Engine: a}},
			{Kind: KindCommand, Command: &Command{ID: 1 << 60, Text: a, Parameters: []string{b}, Decision: decision, Message: b}},
			{Kind: KindCommand, Command: &Command{Text: b, Decision: "Denied"}},
			{Kind: KindHeld, Held: &Held{ID: 1, Text: a, Rule: b}},
			{Kind: KindResponse, Response: &Response{ID: 1, Error: a, Final: flag}},
			{Kind: KindEnded, Ended: &Ended{Reason: b}},
		}
		var raw []byte
		var want Tally
		for i := range events {
			e := &events[i]
			e.Sequence, e.Time, e.Connection = 1<<63, time.Unix(1<<33, 123456789).UTC(), 1<<31
			var err error
			if raw, err = appendEvent(raw, e); err != nil {
				t.Fatal(err)
			}
		}
		for line := range strings.Lines(string(raw)) {
			var e Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			want.count(&e)
		}
		if got := tallyOf(raw, false); got != want {
			t.Errorf("%+v, want %+v of\n%s", got, want, raw)
		}
		rest, wanted := append([]byte("the rest of an event\n"), raw...), want
		if got := tallyOf(rest, true); got != wanted {
			t.Errorf("behind a rest: %+v, want %+v", got, wanted)
		}
		cut := raw[:len(raw)-5]
		if got := tallyOf(cut, false); got != want {
			t.Errorf("an event that goes on: %+v, want %+v", got, want)
		}
	})
}
