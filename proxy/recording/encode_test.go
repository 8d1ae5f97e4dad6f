package recording

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzAppendEvent(f *testing.F) {
	f.Add("select 1", "a\x00\"\\\n\r\t\x7f", "\xff\xfe\xc3\x28\u2028<&>", int64(-3), uint64(7), true)
	f.Add("", "", "", int64(0), uint64(0), false)
	f.Add("\xed\xa0\x80", "\u0000\u001f", "\U0001F600\xf0\x9f", int64(1), uint64(1)<<63, true)
	f.Fuzz(func(t *testing.T, a, b, c string, n int64, id uint64, flag bool) {
		at := time.Unix(1_700_000_000+n%1_000_000_000, n%1_000_000_000).UTC()
		events := map[string]Event{
			"command": {Kind: KindCommand, Command: &Command{ID: id, Text: a, Parameters: []string{b, c}, Digest: c, Decision: b, Code: a,
				Rule: b, Message: c, Audit: []string{a}, Request: b, Approvers: []string{c, a}}},
			"response": {Kind: KindResponse, Response: &Response{ID: id, Columns: []string{a, b}, Rows: [][]*string{{&a, nil, &c}, {}, nil},
				Masked: []int{int(n), 1}, Final: flag, Tag: b, RowCount: n, ByteCount: -n, Truncated: flag, Detected: n, SQLState: a, Error: c, Unknown: flag}},
			"empty response": {Kind: KindResponse, Response: &Response{}},
			"empty command":  {Kind: KindCommand, Command: &Command{}},
			"input":          {Kind: KindInput, Input: &Input{ID: id, Stream: a, Data: []byte(b), Final: flag, ByteCount: n, Truncated: flag}},
			"output":         {Kind: KindOutput, Output: &Output{ID: id, Stream: c, Data: []byte(a), Truncated: flag}},
			"held":           {Kind: KindHeld, Held: &Held{ID: id, Text: a, Rule: b, Request: c}},
			"started":        {Kind: KindStarted, Started: &Started{Schema: 1, Session: a, Reason: b, Client: c}},
			"connected":      {Kind: KindConnected, Connected: &Connected{Engine: a, Client: b}},
			"disconnected":   {Kind: KindDisconnected, Disconnected: &Disconnected{Reason: a}},
			"ended":          {Kind: KindEnded, Ended: &Ended{Reason: c, Recovered: flag}},
		}
		for name, e := range events {
			e.Sequence, e.Time, e.Connection = id, at, uint32(n)
			line, err := appendEvent(nil, &e)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if i := bytes.IndexByte(line, '\n'); i != len(line)-1 {
				t.Fatalf("%s: a newline at %d of %d", name, i, len(line))
			}
			want, err := json.Marshal(&e)
			if err != nil {
				t.Fatal(err)
			}
			var got, wanted any
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%s: %v in %q", name, err, line)
			}
			if err := json.Unmarshal(want, &wanted); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(wanted, got); d != "" {
				t.Fatalf("%s: not what encoding/json writes (-want +got):\n%s", name, d)
			}
		}
	})
}

// A field that is added must be written.
func TestAppendEventWritesEveryField(t *testing.T) {
	for _, e := range []Event{{Kind: KindCommand, Command: &Command{}}, {Kind: KindResponse, Response: &Response{}},
		{Kind: KindInput, Input: &Input{}}, {Kind: KindOutput, Output: &Output{}}} {
		content := reflect.ValueOf(contentOf(&e)).Elem()
		for i := range content.NumField() {
			if f := content.Field(i); !fill(f) {
				t.Fatalf("%s is of a type that the test does not know", content.Type().Field(i).Name)
			}
		}
		line, err := appendEvent(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		var got Event
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(contentOf(&e), contentOf(&got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e.Kind, diff)
		}
	}
}

func contentOf(e *Event) any {
	switch e.Kind {
	case KindCommand:
		return e.Command
	case KindInput:
		return e.Input
	case KindOutput:
		return e.Output
	default:
		return e.Response
	}
}

func fill(f reflect.Value) bool {
	text := "x"
	switch f.Interface().(type) {
	case string:
		f.SetString(text)
	case bool:
		f.SetBool(true)
	case int64:
		f.SetInt(7)
	case uint64:
		f.SetUint(7)
	case []string:
		f.Set(reflect.ValueOf([]string{text}))
	case []byte:
		f.SetBytes([]byte(text))
	case []int:
		f.Set(reflect.ValueOf([]int{7}))
	case [][]*string:
		f.Set(reflect.ValueOf([][]*string{{&text}}))
	default:
		return false
	}
	return true
}

func TestAppendEventRefusesEmptyKind(t *testing.T) {
	for name, e := range map[string]Event{
		"no kind":       {Command: &Command{}},
		"no content":    {Kind: KindResponse},
		"other content": {Kind: KindCommand, Response: &Response{}},
		"unknown kind":  {Kind: "x", Ended: &Ended{}},
	} {
		t.Run(name, func(t *testing.T) {
			if line, err := appendEvent(nil, &e); err == nil {
				t.Errorf("wrote %s", line)
			}
		})
	}
}
