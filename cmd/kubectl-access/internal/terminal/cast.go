package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// Cast writes one terminal as asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/).
// What is shown goes through a Filter, since players do not filter. Its methods are called by
// one goroutine.
type Cast struct {
	// Title of the recording, and whether what was typed is in it too: passwords among it.
	Title string
	Typed bool

	w       io.Writer
	started Frame
	header  bool
	filter  Filter
	typed   Filter
	err     error
}

// NewCast returns a Cast that writes to w.
func NewCast(w io.Writer) *Cast { return &Cast{w: w} }

// The size of a terminal that did not say its own.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// header is the first line.
type header struct {
	Version   int    `json:"version"`
	Width     int    `json:"width"`
	Height    int    `json:"height"`
	Timestamp int64  `json:"timestamp"`
	Command   string `json:"command,omitempty"`
	Title     string `json:"title,omitempty"`
}

// Frame writes what one frame says. Frames of other terminals are the caller's to leave out.
func (c *Cast) Frame(f Frame) error {
	switch f.Kind {
	case Started:
		c.started = f
		return c.err
	case Resized:
		if !c.header {
			c.begin(f.Width, f.Height)
			return c.err
		}
		c.event(f.Time, "r", fmt.Sprintf("%dx%d", f.Width, f.Height))
		return c.err
	case Shown, Typed, Missing, Ended:
	}
	if !c.header {
		c.begin(defaultWidth, defaultHeight)
	}
	switch f.Kind {
	case Shown:
		c.text(f.Time, "o", c.filter.Write(nil, f.Data))
	case Typed:
		if c.Typed {
			c.text(f.Time, "i", c.typed.Write(nil, f.Data))
		}
	case Missing:
		c.event(f.Time, "m", "not recorded")
	case Ended:
		c.text(f.Time, "o", c.filter.Close(nil))
	case Started, Resized:
	}
	return c.err
}

// Left says what was left out.
func (c *Cast) Left() string { return c.filter.Left() }

func (c *Cast) begin(width, height int) {
	c.header = true
	c.line(header{Version: 2, Width: width, Height: height, Timestamp: c.started.Time.Unix(), Command: c.started.Text, Title: c.Title})
}

func (c *Cast) text(at time.Time, code string, data []byte) {
	if len(data) > 0 {
		c.event(at, code, string(data))
	}
}

// event writes a line of the stream: seconds since the beginning to the microsecond, a code
// and its data.
func (c *Cast) event(at time.Time, code, data string) {
	since := math.Round(max(at.Sub(c.started.Time), 0).Seconds()*1e6) / 1e6
	c.line([]any{since, code, data})
}

func (c *Cast) line(v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && c.err == nil {
		c.err = err
	}
	if c.err == nil {
		_, c.err = c.w.Write(b.Bytes())
	}
}
