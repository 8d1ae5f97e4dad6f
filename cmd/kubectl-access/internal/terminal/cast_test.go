package terminal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/recording"
)

// tape is what is recorded of a session with two terminals and a command without one.
func tape() []recording.Entry {
	events := []recording.Event{
		{Started: &recording.Started{Session: "s"}},
		{Connection: 1, Connected: &recording.Connected{Engine: "ssh"}},
		{Connection: 1, Command: &recording.Command{ID: 1, Text: "shell", Decision: "Allowed"}},
		{Connection: 1, Input: &recording.Input{ID: 1, Stream: "resize", Data: []byte(`{"Width":100,"Height":30}`)}},
		{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("$ \x1b]52;c;eA==\x07")}},
		{Connection: 1, Command: &recording.Command{ID: 2, Text: "$ id", Decision: "Allowed"}},
		{Connection: 1, Output: &recording.Output{ID: 2, Stream: "stdout", Data: []byte("uid=0")}},
		{Connection: 1, Input: &recording.Input{ID: 1, Stream: "stdin", Data: []byte("l")}},
		{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("l\xc3")}},
		{Connection: 1, Output: &recording.Output{ID: 1, Stream: "stdout", Data: []byte("\xa9\r\n"), Truncated: true}},
		{Connection: 1, Response: &recording.Response{ID: 2, Final: true}},
		{Connection: 1, Input: &recording.Input{ID: 1, Stream: "resize", Data: []byte(`{"Width":99999,"Height":40}`)}},
		{Connection: 1, Response: &recording.Response{ID: 1, Final: true}},
		{Connection: 2, Connected: &recording.Connected{Engine: "kubernetes"}},
		{Connection: 2, Command: &recording.Command{ID: 3, Text: "POST /api/v1/namespaces/x/pods/p/exec?command=vi&stdin=true&tty=true", Parameters: []string{"vi", "x"}, Decision: "Approved"}},
		{Connection: 2, Output: &recording.Output{ID: 3, Stream: "stdout", Data: []byte("\x1b[?1049h")}},
	}
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	var entries []recording.Entry
	for i, e := range events {
		e.Sequence, e.Time = uint64(i+1), at.Add(time.Duration(i)*1500*time.Millisecond)
		entries = append(entries, recording.Entry{Event: e, Verified: true})
	}
	return entries
}

func framesOf(t *testing.T, number uint64, each func(Frame) error) {
	t.Helper()
	var frames Frames
	for _, e := range tape() {
		for _, f := range frames.Of(e) {
			if f.Terminal != number {
				continue
			}
			if err := each(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCast(t *testing.T) {
	cases := map[string]struct {
		number uint64
		typed  bool
		want   string
	}{
		"a shell": {1, false, `
{"version":2,"width":100,"height":30,"timestamp":1795507203,"command":"shell","title":"t"}
[3,"o","$ "]
[9,"o","l"]
[10.5,"o","é\r\n"]
[10.5,"m","not recorded"]
[13.5,"r","1000x40"]
`},
		"with what was typed": {1, true, `
{"version":2,"width":100,"height":30,"timestamp":1795507203,"command":"shell","title":"t"}
[3,"o","$ "]
[7.5,"i","l"]
[9,"o","l"]
[10.5,"o","é\r\n"]
[10.5,"m","not recorded"]
[13.5,"r","1000x40"]
`},
		"a container, of unknown size": {3, false, `
{"version":2,"width":80,"height":24,"timestamp":1795507221,"command":"vi x","title":"t"}
[1.5,"o","\u001b[?1049h"]
`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			cast := NewCast(&b)
			cast.Title, cast.Typed = "t", c.typed
			framesOf(t, c.number, cast.Frame)
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), b.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if err := ValidateCast(b.String()); err != nil {
				t.Error(err)
			}
		})
	}
}

var resized = regexp.MustCompile(`^[1-9][0-9]*x[1-9][0-9]*$`)

// ValidateCast holds a text to https://docs.asciinema.org/manual/asciicast/v2/.
func ValidateCast(text string) error {
	lines := bufio.NewScanner(strings.NewReader(text))
	if !lines.Scan() {
		return errors.New("no header")
	}
	var h struct {
		Version, Width, Height int
		Timestamp              int64
	}
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil || h.Version != 2 || h.Width < 1 || h.Height < 1 || h.Timestamp < 1 {
		return fmt.Errorf("header %s: %w", lines.Text(), err)
	}
	last := 0.0
	for lines.Scan() {
		var event []any
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || len(event) != 3 {
			return fmt.Errorf("event %s: %w", lines.Text(), err)
		}
		at, isTime := event[0].(float64)
		code, isCode := event[1].(string)
		data, isData := event[2].(string)
		switch {
		case !isTime || !isCode || !isData || at < last:
			return fmt.Errorf("event %s behind %g", lines.Text(), last)
		case !slices.Contains([]string{"o", "i", "m", "r"}, code), code == "r" && !resized.MatchString(data):
			return fmt.Errorf("event %s", lines.Text())
		}
		last = at
	}
	return lines.Err()
}

func TestPlayer(t *testing.T) {
	type step struct {
		Pause time.Duration
		Text  string
	}
	const rest = "l"
	cases := map[string]struct {
		player Player
		want   []step
	}{
		"as it was":           {Player{Speed: 1}, []step{{3 * time.Second, "$ "}, {6 * time.Second, rest}, {1500 * time.Millisecond, "é\r\n"}, {0, gap}}},
		"faster":              {Player{Speed: 4}, []step{{750 * time.Millisecond, "$ "}, {1500 * time.Millisecond, rest}, {375 * time.Millisecond, "é\r\n"}, {0, gap}}},
		"with shorter pauses": {Player{Speed: 2, Idle: 2 * time.Second}, []step{{time.Second, "$ "}, {time.Second, rest}, {750 * time.Millisecond, "é\r\n"}, {0, gap}}},
		"from a time on":      {Player{Speed: 1, At: 5 * time.Second}, []step{{0, "$ "}, {4 * time.Second, rest}, {1500 * time.Millisecond, "é\r\n"}, {0, gap}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []step
			p := c.player
			var pause time.Duration
			p.Sleep = func(_ context.Context, d time.Duration) error {
				pause = d
				return nil
			}
			p.w = writer(func(b []byte) { got = append(got, step{pause, string(b)}); pause = 0 })
			framesOf(t, 1, func(f Frame) error { return p.Frame(t.Context(), f) })
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if p.Left() != "clipboard (1)" {
				t.Errorf("left %q", p.Left())
			}
		})
	}
}

type writer func([]byte)

// Write implements io.Writer.
func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

func TestPlayerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := NewPlayer(writer(func([]byte) { t.Error("something is shown") }))
	var err error
	framesOf(t, 1, func(f Frame) error {
		if err == nil {
			err = p.Frame(ctx, f)
		}
		return nil
	})
	if err == nil {
		t.Error("it plays on")
	}
}

// TestFramesAreBounded has more commands that may have a terminal than are remembered.
func TestFramesAreBounded(t *testing.T) {
	var frames Frames
	for i := range 10 * maxWaiting {
		frames.Of(recording.Entry{Event: recording.Event{Command: &recording.Command{ID: uint64(i), Text: "x", Decision: "Allowed"}}})
	}
	if n := len(frames.waiting); n > maxWaiting {
		t.Errorf("%d commands are remembered", n)
	}
}
