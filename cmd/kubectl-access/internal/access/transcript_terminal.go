package access

import (
	"fmt"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// shown is what a transcript knows of one terminal: keys come one by one and output in parts, so
// lines are printed when they end, without escape sequences.
type shown struct {
	output, input terminal.Lines
	left          terminal.Filter // counts the sequences
	typed, seen   int64           // bytes that were typed, and those of them of which the recording has the text
}

// terminal prints an event of a terminal, and reports whether it was one. The end of a terminal is
// the response of its command, which is printed as any.
func (t *transcript) terminal(e recording.Entry, frames []terminal.Frame) bool {
	for _, f := range frames {
		switch f.Kind {
		case terminal.Started:
			if t.screens == nil {
				t.screens = map[uint64]*shown{}
			}
			t.screens[f.Terminal] = &shown{}
		case terminal.Ended:
			t.left(e, f.Terminal)
		case terminal.Resized, terminal.Shown, terminal.Typed, terminal.Missing:
		}
	}
	switch {
	case e.Output != nil && t.screens[e.Output.ID] != nil && (e.Output.Stream == "stdout" || e.Output.Stream == "stderr"):
		s := t.screens[e.Output.ID]
		s.left.Write(nil, e.Output.Data)
		t.lines(e, e.Output.ID, "shown", &s.output, e.Output.Data)
		if e.Output.Truncated {
			t.event(e, fmt.Sprintf("#%d shown", e.Output.ID), "more, which was not recorded")
		}
		return true
	case e.Input != nil && t.screens[e.Input.ID] != nil && !e.Input.Final && e.Input.Stream == "stdin":
		s := t.screens[e.Input.ID]
		s.typed += e.Input.ByteCount
		s.seen += int64(len(e.Input.Data))
		t.lines(e, e.Input.ID, "typed", &s.input, e.Input.Data)
		return true
	case e.Input != nil && t.screens[e.Input.ID] != nil && e.Input.Stream == "resize":
		for _, f := range frames {
			if f.Kind == terminal.Resized {
				t.event(e, fmt.Sprintf("#%d size", f.Terminal), fmt.Sprintf("%d columns, %d rows", f.Width, f.Height))
			}
		}
		return true
	}
	return false
}

// lines prints the lines that end in a part. What is behind the bar is of the recording, and has
// no end of a line in it.
func (t *transcript) lines(e recording.Entry, id uint64, what string, l *terminal.Lines, data []byte) {
	// No line makes an error.
	_ = l.Write(e.Sequence, data, func(_ uint64, line []byte) error {
		t.event(e, fmt.Sprintf("#%d %s %s %s", id, what, t.screen.paint(faint, "|"), Safe(string(line), false)), "")
		return nil
	})
}

// left prints what is left of a terminal when it ends.
func (t *transcript) left(e recording.Entry, id uint64) {
	s := t.screens[id]
	delete(t.screens, id)
	if s == nil {
		return
	}
	t.lines(e, id, "shown", &s.output, []byte{'\n'})
	t.lines(e, id, "typed", &s.input, []byte{'\n'})
	if hidden := s.typed - s.seen; hidden > 0 {
		t.event(e, fmt.Sprintf("#%d typed", id), count(hidden, "byte")+" of which the terminal showed nothing, or not as it was typed")
	}
	s.left.Close(nil)
	if kinds := s.left.Left(); kinds != "" {
		t.event(e, fmt.Sprintf("#%d shown", id), "also what acts on a terminal and does not draw: "+kinds)
	}
}
