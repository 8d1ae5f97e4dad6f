package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// errNone says that nothing was found: the exit code is that of grep, and nothing is printed.
var errNone = errors.New("nothing was found")

// searchOptions are the flags of search.
type searchOptions struct {
	selection
	place
	pattern *regexp.Regexp
	ignore  bool
	names   bool
	output  string
}

func (p *plugin) search() *cobra.Command {
	var o searchOptions
	cmd := &cobra.Command{
		Use:   "search PATTERN",
		Short: "Search recordings for a regular expression",
		Long: "Search recordings line by line for a regular expression (RE2): commands, parameters, rows, errors, input and output, as\n" +
			"masked, of terminals without their escape sequences. Recordings without a Session object are searched too.\n" +
			"As of grep the exit code is 1 if nothing is found, and 2 if a recording failed verification.",
		Example: "  kubectl access search 'drop\\s+table' -i -n shop-gate --since 168h\n" +
			"  kubectl access search '/etc/shadow' --target orders-host -l\n" +
			"  kubectl access search 'ERROR' --dir ./manifests -o json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output != "" && o.output != "json" {
				return fmt.Errorf("-o %s is unknown: choose json, which prints one match on each line", o.output)
			}
			if err := o.check(); err != nil {
				return err
			}
			pattern := args[0]
			if o.ignore {
				pattern = "(?i:" + pattern + ")"
			}
			var err error
			if o.pattern, err = regexp.Compile(pattern); err != nil {
				return fmt.Errorf("the pattern is no regular expression: %w; https://golang.org/s/re2syntax is its syntax", err)
			}
			return p.searchRecordings(cmd.Context(), &o)
		},
	}
	o.selection.flags(cmd, p.clock)
	o.place.flags(cmd)
	cmd.Flags().BoolVarP(&o.ignore, "ignore-case", "i", false, "whatever the case")
	cmd.Flags().BoolVarP(&o.names, "sessions-with-matches", "l", false, "print only the names of sessions")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json prints one match on each line")
	return cmd
}

// match is one line in which the pattern was found.
type match struct {
	Session string    `json:"session"`
	Event   uint64    `json:"event"`
	Time    time.Time `json:"time"`
	What    string    `json:"what"`
	Text    string    `json:"text"`
}

// search goes on from recording to recording.
type search struct {
	plugin   *plugin
	options  *searchOptions
	screen   screen
	progress progress
	found    int
	broken   []string
}

func (p *plugin) searchRecordings(ctx context.Context, o *searchOptions) error {
	a, err := p.open(o.place)
	if err != nil {
		return err
	}
	s := &search{plugin: p, options: o, screen: screenOf(p.Out), progress: progress{w: p.ErrOut, shown: isTerminal(p.ErrOut), now: p.clock.Now}}
	err = a.each(ctx, true, func(r recorded) error {
		err := s.recording(ctx, r)
		if isNotFound(err) {
			return nil // a session of which nothing has been stored
		}
		if err != nil {
			return a.explain(err, r.name)
		}
		return nil
	})
	s.progress.clear()
	if err != nil {
		return err
	}
	for _, name := range s.broken {
		_, _ = fmt.Fprintf(p.ErrOut, "The recording of %s failed verification: `kubectl access replay %s --verify` says why.\n", Safe(name, false), Safe(name, false))
	}
	switch {
	case len(s.broken) > 0:
		return errBroken
	case s.found == 0:
		return errNone
	}
	return nil
}

// recording searches one recording.
func (s *search) recording(ctx context.Context, r recorded) error {
	_, chosen, err := s.options.chooses(ctx, r, true)
	if err != nil || !chosen {
		return err
	}
	s.progress.sessions++
	r.source = counted{r.source, &s.progress}
	l := lines{each: func(number uint64, at time.Time, what string, text []byte) error {
		if s.options.pattern.Match(text) {
			return s.print(match{Session: r.name, Event: number, Time: at, What: what, Text: string(text)})
		}
		return nil
	}}
	result, err := r.read(ctx, l.entry)
	if err == nil {
		err = l.flush()
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	if !result.Intact() {
		s.broken = append(s.broken, r.name)
	}
	return err
}

// maxShown bounds what is shown of a line, in characters.
const maxShown = 4096

func (s *search) print(m match) error {
	s.found++
	s.progress.found++
	s.progress.clear()
	out := s.plugin.Out
	switch {
	case s.options.names:
		if _, err := fmt.Fprintln(out, Safe(m.Session, false)); err != nil {
			return err
		}
		return errEnough
	case s.options.output == "json":
		text, err := json.Marshal(m)
		if err != nil {
			return err
		}
		_, err = out.Write(append(safeJSON(text), '\n'))
		return err
	}
	_, err := fmt.Fprintf(out, "%s  %d  %s  %s  %s\n", s.screen.paint(bold, Safe(m.Session, false)), m.Event, m.Time.UTC().Format("2006-01-02T15:04:05.000Z"),
		s.screen.paint(faint, Safe(m.What, false)), s.highlight(m.Text))
	return err
}

// highlight paints what the pattern matches.
func (s *search) highlight(text string) string {
	if !s.screen.color {
		return cut(Safe(text, false), maxShown)
	}
	var b strings.Builder
	at := 0
	for _, m := range s.options.pattern.FindAllStringIndex(text, 100) {
		b.WriteString(Safe(text[at:m[0]], false) + s.screen.paint(red, Safe(text[m[0]:m[1]], false)))
		at = m[1]
	}
	b.WriteString(Safe(text[at:], false))
	return b.String()
}

// lines makes lines of text of events.
type lines struct {
	each    func(number uint64, at time.Time, what string, text []byte) error
	streams map[stream]*openLine
}

// stream is what bytes of a command go along.
type stream struct {
	id   uint64
	name string
}

type openLine struct {
	terminal.Lines
	at time.Time // of the part in which the line begins
}

// maxStreams bounds how many lines that have not ended are kept.
const maxStreams = 256

// entry takes one event.
func (l *lines) entry(e recording.Entry) error {
	switch {
	case e.Command != nil:
		texts := append([]string{e.Command.Text}, e.Command.Parameters...)
		return l.texts(e, "command "+e.Command.Decision, append(texts, e.Command.Message))
	case e.Held != nil:
		return l.texts(e, "held", []string{e.Held.Text})
	case e.Response != nil:
		return l.response(e)
	case e.Message != nil:
		return l.texts(e, "message", []string{e.Message.Text})
	case e.Input != nil:
		name := e.Input.Stream
		if name == "" {
			name = "input"
		}
		return l.part(e, e.Input.ID, name, e.Input.Data)
	case e.Output != nil:
		return l.part(e, e.Output.ID, e.Output.Stream, e.Output.Data)
	case e.Connected != nil:
		return l.texts(e, "connected", []string{e.Connected.Database, e.Connected.Application})
	}
	return nil
}

func (l *lines) texts(e recording.Entry, what string, texts []string) error {
	for _, text := range texts {
		for line := range strings.SplitSeq(text, "\n") {
			if line == "" {
				continue
			}
			if err := l.each(e.Sequence, e.Time, what, []byte(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lines) response(e recording.Entry) error {
	r := e.Response
	if len(r.Columns) > 0 {
		if err := l.texts(e, "columns", []string{strings.Join(r.Columns, " | ")}); err != nil {
			return err
		}
	}
	var b strings.Builder
	for _, row := range r.Rows {
		b.Reset()
		for i, v := range row {
			if i > 0 {
				b.WriteString(" | ")
			}
			if v == nil {
				b.WriteString("NULL")
			} else {
				b.WriteString(*v)
			}
		}
		if err := l.texts(e, "row", []string{b.String()}); err != nil {
			return err
		}
	}
	if err := l.texts(e, "response", []string{r.Tag, r.Error}); err != nil || !r.Final {
		return err
	}
	for key := range l.streams {
		if key.id == r.ID {
			if err := l.end(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// part takes bytes of a stream.
func (l *lines) part(e recording.Entry, id uint64, name string, data []byte) error {
	key := stream{id, name}
	open := l.streams[key]
	if open == nil {
		if len(l.streams) >= maxStreams {
			if err := l.flush(); err != nil {
				return err
			}
		}
		if l.streams == nil {
			l.streams = map[stream]*openLine{}
		}
		open = &openLine{at: e.Time}
		l.streams[key] = open
	}
	err := open.Write(e.Sequence, data, func(first uint64, line []byte) error {
		at := open.at
		if first == e.Sequence {
			at = e.Time
		}
		return l.each(first, at, name, line)
	})
	if open.Begins() == e.Sequence {
		open.at = e.Time
	}
	return err
}

func (l *lines) end(key stream) error {
	open := l.streams[key]
	delete(l.streams, key)
	return open.Flush(func(first uint64, line []byte) error { return l.each(first, open.at, key.name, line) })
}

// flush takes the lines that have not ended for ended.
func (l *lines) flush() error {
	for key := range l.streams {
		if err := l.end(key); err != nil {
			return err
		}
	}
	return nil
}

// counted counts what is read.
type counted struct {
	recording.Source
	progress *progress
}

// Get implements recording.Source.
func (c counted) Get(ctx context.Context, session string, ref recording.Ref) (recording.Segment, error) {
	s, err := c.Source.Get(ctx, session, ref)
	c.progress.bytes += int64(len(s.Data))
	c.progress.show()
	return s, err
}

// progress says on a terminal how far a search got.
type progress struct {
	w        io.Writer
	shown    bool // there is somebody to see it
	now      func() time.Time
	sessions int
	found    int
	bytes    int64
	last     time.Time
	dirty    bool
}

// every is how often progress is shown.
const every = 100 * time.Millisecond

func (p *progress) show() {
	if !p.shown || p.now().Sub(p.last) < every {
		return
	}
	p.last, p.dirty = p.now(), true
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s, %.1f MiB read, %s", count(int64(p.sessions), "session"), float64(p.bytes)/(1<<20), count(int64(p.found), "line")+" found")
}

func (p *progress) clear() {
	if p.dirty {
		p.dirty = false
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
}

// isTerminal reports whether somebody sees what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
