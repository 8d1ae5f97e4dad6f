package terminal

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/proxy/recording"
)

// Kind is what a Frame is about.
type Kind uint8

// The kinds of frames.
const (
	Started Kind = iota + 1 // Text is the command
	Resized                 // to Width and Height
	Shown                   // Data appeared
	Typed                   // Data was typed
	Missing                 // something appeared that was not recorded
	Ended
)

// Frame is one thing that happened to a terminal.
type Frame struct {
	Kind Kind
	// Terminal is the number of the command that has the terminal.
	Terminal      uint64
	Time          time.Time
	Data          []byte
	Text          string
	Width, Height int
}

// maxSide bounds what a client may say of the size of its terminal.
const maxSide = 1000

// Frames finds the terminals among the events of a session. The zero value is ready.
type Frames struct {
	engines map[uint32]string
	open    map[uint64]bool
	waiting map[uint64]recording.Entry // commands that may turn out to have a terminal
}

// maxWaiting bounds how many commands are remembered that may have a terminal.
const maxWaiting = 256

// Of returns what an event says of terminals. Data are borrowed from the event.
func (f *Frames) Of(e recording.Entry) []Frame {
	if f.open == nil {
		f.engines, f.open, f.waiting = map[uint32]string{}, map[uint64]bool{}, map[uint64]recording.Entry{}
	}
	switch {
	case e.Connected != nil:
		f.engines[e.Connection] = e.Connected.Engine
	case e.Disconnected != nil:
		delete(f.engines, e.Connection)
	case e.Command != nil:
		return f.command(e)
	case e.Input != nil && e.Input.Stream == "resize":
		return f.resize(e)
	case e.Input != nil && f.open[e.Input.ID] && e.Input.Stream == "stdin" && len(e.Input.Data) > 0:
		return []Frame{{Kind: Typed, Terminal: e.Input.ID, Time: e.Time, Data: e.Input.Data}}
	case e.Output != nil && f.open[e.Output.ID] && (e.Output.Stream == "stdout" || e.Output.Stream == "stderr"):
		frames := []Frame{{Kind: Shown, Terminal: e.Output.ID, Time: e.Time, Data: e.Output.Data}}
		if e.Output.Truncated {
			frames = append(frames, Frame{Kind: Missing, Terminal: e.Output.ID, Time: e.Time})
		}
		return frames
	case e.Response != nil && e.Response.Final:
		delete(f.waiting, e.Response.ID)
		if f.open[e.Response.ID] {
			delete(f.open, e.Response.ID)
			return []Frame{{Kind: Ended, Terminal: e.Response.ID, Time: e.Time}}
		}
	}
	return nil
}

func (f *Frames) command(e recording.Entry) []Frame {
	c := e.Command
	if c.Decision != "Allowed" && c.Decision != "Approved" {
		return nil
	}
	if hasTerminal(f.engines[e.Connection], c) {
		return f.start(e)
	}
	if len(f.waiting) >= maxWaiting {
		clear(f.waiting)
	}
	f.waiting[c.ID] = e
	return nil
}

// hasTerminal reports whether a command says itself that it has a terminal: shells over SSH, and
// exec and attach with tty.
func hasTerminal(engine string, c *recording.Command) bool {
	switch engine {
	case "ssh":
		return c.Text == "shell" || c.Text == "gated shell"
	case "kubernetes":
		path, query, _ := strings.Cut(c.Text, "?")
		return (strings.HasSuffix(path, "/exec") || strings.HasSuffix(path, "/attach")) && strings.Contains("&"+query+"&", "&tty=true&")
	}
	return false
}

func (f *Frames) start(e recording.Entry) []Frame {
	f.open[e.Command.ID] = true
	delete(f.waiting, e.Command.ID)
	line := e.Command.Text
	if len(e.Command.Parameters) > 0 {
		line = strings.Join(e.Command.Parameters, " ")
	}
	return []Frame{{Kind: Started, Terminal: e.Command.ID, Time: e.Time, Text: line}}
}

// resize makes a terminal of the command whose size it is.
func (f *Frames) resize(e recording.Entry) []Frame {
	id := e.Input.ID
	var frames []Frame
	if command, ok := f.waiting[id]; ok {
		frames = f.start(command)
	}
	var size struct{ Width, Height int }
	if !f.open[id] || json.Unmarshal(e.Input.Data, &size) != nil || size.Width < 1 || size.Height < 1 {
		return frames
	}
	return append(frames, Frame{Kind: Resized, Terminal: id, Time: e.Time, Width: min(size.Width, maxSide), Height: min(size.Height, maxSide)})
}
