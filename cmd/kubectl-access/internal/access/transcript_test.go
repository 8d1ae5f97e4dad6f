package access

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/recording"
)

func entry(e recording.Event) recording.Entry {
	e.Time = time.Date(2026, 11, 22, 12, 0, 1, 234e6, time.UTC)
	return recording.Entry{Event: e, Verified: true}
}

func row(values ...string) []*string {
	r := make([]*string, len(values))
	for i, v := range values {
		if v != "\x00" {
			r[i] = &v
		}
	}
	return r
}

func TestTranscript(t *testing.T) {
	cases := map[string]struct {
		entries []recording.Entry
		screen  screen
		want    string
	}{
		"a session begins": {
			entries: []recording.Entry{
				entry(recording.Event{Started: &recording.Started{Session: "s", Subject: "system:serviceaccount:shop:a", Target: "orders-db", Grant: "g",
					Namespace: "shop-gate", Reason: "report\n12:00:00  [1] #9 Allowed", Client: "10.0.0.1", Proxy: "p"}}),
				entry(recording.Event{Connection: 1, Connected: &recording.Connected{Engine: "postgres", Client: "10.0.0.1:5", Credential: "c", Database: "orders",
					Application: "psql\x1b[2J"}}),
			},
			want: `
Session s
  started    2026-11-22T12:00:01Z
  subject    system:serviceaccount:shop:a
  target     orders-db
  grant      g
  namespace  shop-gate
  reason     report\n12:00:00  [1] #9 Allowed
  client     10.0.0.1
  proxy      p

12:00:01.234  [1] connected  from 10.0.0.1:5 to postgres, credential c, database orders, application psql\x1b[2J
`},
		"a statement cannot pass for a line of the transcript": {
			entries: []recording.Entry{entry(recording.Event{Connection: 1, Command: &recording.Command{ID: 1, Decision: "Allowed",
				Text: "SELECT 1\n12:00:02.000  [1] #2 Allowed\r\x1b[1A", Parameters: []string{"a\nb"}, Digest: "00ff"}})},
			want: `
12:00:01.234  [1] #1 Allowed
    | SELECT 1
    | 12:00:02.000  [1] #2 Allowed\r\x1b[1A
    | $1 = a\nb
      redacted; SHA-256 of the command: 00ff
`},
		"denied, held and approved": {
			entries: []recording.Entry{
				entry(recording.Event{Command: &recording.Command{ID: 1, Decision: "Denied", Text: "DROP DATABASE x", Code: "CDA-2001", Rule: "CommandRule/r", Message: "no"}}),
				entry(recording.Event{Held: &recording.Held{ID: 2, Text: "DELETE FROM o", Rule: "CommandRule/d", Request: "x7k2p"}}),
				entry(recording.Event{Command: &recording.Command{ID: 2, Decision: "Approved", Text: "DELETE FROM o", Rule: "CommandRule/d", Request: "x7k2p",
					Approvers: []string{"dora", "dan"}, Audit: []string{"CommandRule/a"}}}),
			},
			want: `
12:00:01.234  #1 Denied  CDA-2001, by CommandRule/r
    | DROP DATABASE x
      no
12:00:01.234  #2 Held  by CommandRule/d, request x7k2p
    | DELETE FROM o
12:00:01.234  #2 Approved  by CommandRule/d, request x7k2p, approved by dora, dan, audit CommandRule/a
    | DELETE FROM o
`},
		"rows in parts": {
			entries: []recording.Entry{
				entry(recording.Event{Response: &recording.Response{ID: 1, Columns: []string{"id", "email"}, Masked: []int{1}, Rows: [][]*string{row("1", "****.com"), row("22", "\x00")}}}),
				entry(recording.Event{Response: &recording.Response{ID: 1, Rows: [][]*string{row("3", "a|b\n\x1b[2J")}, Final: true, Tag: "SELECT 3", RowCount: 3,
					ByteCount: 40, Truncated: true}}),
			},
			want: `
12:00:01.234  #1 -> more to come
     id | email*
    ----+----------
     1  | ****.com
     22 | NULL
    * masked
12:00:01.234  #1 -> SELECT 3, 3 rows, 40 bytes
     id | email*
    ----+--------------
     3  | a|b\n\x1b[2J
    * masked
    (not all rows were kept)
`},
		"a narrow screen": {
			screen: screen{width: 30},
			entries: []recording.Entry{entry(recording.Event{Response: &recording.Response{ID: 1, Columns: []string{"id", "text"},
				Rows: [][]*string{row("1", strings.Repeat("x", 100))}, Final: true, Tag: "SELECT 1", RowCount: 1}})},
			want: `
12:00:01.234  #1 -> SELECT 1, 1 row
     id | text
    ----+--------------------
     1  | xxxxxxxxxxxxxxxxx…
`},
		"errors and ends": {
			entries: []recording.Entry{
				entry(recording.Event{Response: &recording.Response{ID: 1, SQLState: "42P01", Error: "relation \"x\" does not exist", Final: true}}),
				entry(recording.Event{Response: &recording.Response{ID: 2, Unknown: true, Final: true}}),
				entry(recording.Event{Connection: 1, Disconnected: &recording.Disconnected{Reason: "GrantRevoked"}}),
				entry(recording.Event{Ended: &recording.Ended{Reason: "Cut", Recovered: true}}),
				entry(recording.Event{Kind: "typed\x07"}),
			},
			want: `
12:00:01.234  #1 -> failed
    ERROR 42P01: relation "x" does not exist
12:00:01.234  #2 -> outcome unknown: the session ended first
12:00:01.234  [1] disconnected  GrantRevoked
12:00:01.234  ended  the proxy that carried the session died; the recording was closed by another one
12:00:01.234  unknown  event of kind "typed\a", which this program does not know
`},
		"a terminal": {
			entries: []recording.Entry{
				entry(recording.Event{Connection: 1, Connected: &recording.Connected{Engine: "ssh", Client: "10.0.0.1:5", Credential: "c"}}),
				entry(recording.Event{Connection: 1, Command: &recording.Command{ID: 1, Decision: "Allowed", Text: "shell"}}),
				entry(recording.Event{Connection: 1, Input: &recording.Input{ID: 1, Stream: "resize", Data: []byte(`{"Height":24,"Width":80}`)}}),
				entry(recording.Event{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("\x1b[32m$ \x1b[0m")}}),
				entry(recording.Event{Connection: 1, Input: &recording.Input{ID: 1, Stream: "stdin", ByteCount: 1}}),
				entry(recording.Event{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("i")}}),
				entry(recording.Event{Connection: 1, Input: &recording.Input{ID: 1, Stream: "stdin", Data: []byte("i"), ByteCount: 2}}),
				entry(recording.Event{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("d\r\nuid=0\r\n12:00:02.000  [1] #2 Allowed\x1b]52;c;eA==\x07\u202e"), Truncated: true}}),
				entry(recording.Event{Connection: 1, Input: &recording.Input{ID: 1, Stream: "stdin", Data: []byte("d\r"), ByteCount: 6}}),
				entry(recording.Event{Connection: 1, Input: &recording.Input{ID: 1, Stream: "stdin", Final: true, ByteCount: 9}}),
				entry(recording.Event{Connection: 1, Response: &recording.Response{ID: 1, Final: true, Tag: "exit 0", ByteCount: 20}}),
			},
			want: `
12:00:01.234  [1] connected  from 10.0.0.1:5 to ssh, credential c
12:00:01.234  [1] #1 Allowed
    | shell
12:00:01.234  [1] #1 size  80 columns, 24 rows
12:00:01.234  [1] #1 shown | $ id
12:00:01.234  [1] #1 shown | uid=0
12:00:01.234  [1] #1 shown  more, which was not recorded
12:00:01.234  [1] #1 typed | id
12:00:01.234  [1] #1 stdin  end of 9 bytes of data
12:00:01.234  [1] #1 shown | 12:00:02.000  [1] #2 Allowed
12:00:01.234  [1] #1 typed  6 bytes of which the terminal showed nothing, or not as it was typed
12:00:01.234  [1] #1 shown  also what acts on a terminal and does not draw: clipboard (1), control character (1)
12:00:01.234  [1] #1 -> exit 0, 20 bytes
`},
		"unverified": {
			entries: []recording.Entry{{}, {}},
			want: `
!! From here on the recording fails verification: what follows may have been altered.
00:00:00.000  unknown  event of kind "", which this program does not know
00:00:00.000  unknown  event of kind "", which this program does not know
`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			tr := &transcript{w: &b, screen: c.screen}
			for _, e := range c.entries {
				if err := tr.entry(e); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), b.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestNoColor(t *testing.T) {
	for name, c := range map[string]struct {
		color bool
		want  string
	}{"on": {true, "\x1b[31mx\x1b[0m"}, "off": {false, "x"}} {
		t.Run(name, func(t *testing.T) {
			if got := (screen{color: c.color}).paint(red, "x"); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}
