package access

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// transcript prints a recording for people. Lines that come from a recording are indented
// behind a bar, so that no statement and no value can pass for a line of the transcript.
type transcript struct {
	w      io.Writer
	screen screen
	err    error // of the first write that failed

	doubted bool // what follows is said to be unverified
	// The columns of the response that is being printed, of which later parts have none.
	columns []string
	masked  []int
	id      uint64

	frames  terminal.Frames
	screens map[uint64]*shown
}

func (t *transcript) line(text string) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, text)
	}
}

// block prints text that may have several lines.
func (t *transcript) block(text string) {
	for l := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		t.line("    " + t.screen.paint(faint, "|") + " " + Safe(l, true))
	}
}

func (t *transcript) parameters(values []string) {
	for i, v := range values {
		t.line(fmt.Sprintf("    %s $%d = %s", t.screen.paint(faint, "|"), i+1, Safe(v, false)))
	}
}

// entry prints one event.
func (t *transcript) entry(e recording.Entry) error {
	if !e.Verified && !t.doubted {
		t.doubted = true
		t.line(t.screen.paint(red, "!! From here on the recording fails verification: what follows may have been altered."))
	}
	frames := t.frames.Of(e)
	switch {
	case t.terminal(e, frames):
	case e.Started != nil:
		t.started(e.Started, e.Time)
	case e.Connected != nil:
		c := e.Connected
		t.event(e, "connected", fmt.Sprintf("from %s to %s, credential %s%s%s", Safe(c.Client, false), Safe(c.Engine, false), Safe(c.Credential, false),
			labelled(", database ", c.Database), labelled(", application ", c.Application)))
	case e.Command != nil:
		t.command(e)
	case e.Held != nil:
		h := e.Held
		t.event(e, fmt.Sprintf("#%d %s", h.ID, t.screen.paint(yellow, "Held")), "by "+Safe(h.Rule, false)+", request "+Safe(h.Request, false))
		t.block(h.Text)
	case e.Response != nil:
		t.response(e)
	case e.Input != nil:
		t.input(e)
	case e.Output != nil:
		t.output(e)
	case e.Message != nil:
		t.message(e)
	case e.Disconnected != nil:
		t.event(e, "disconnected", Safe(e.Disconnected.Reason, false))
	case e.Ended != nil:
		t.ended(e)
	default:
		t.event(e, "unknown", fmt.Sprintf("event of kind %q, which this program does not know", e.Kind))
	}
	return t.err
}

// input prints what a client sent to a command.
func (t *transcript) input(e recording.Entry) {
	i := e.Input
	what := fmt.Sprintf("%d bytes of data", len(i.Data))
	switch {
	case i.Final:
		what = fmt.Sprintf("end of %d bytes of data", i.ByteCount)
	case i.ByteCount > 0:
		what = fmt.Sprintf("%d bytes were typed", i.ByteCount)
	}
	if i.Truncated {
		what += ", of which some were not recorded"
	}
	stream := "data"
	if i.Stream != "" {
		stream = Safe(i.Stream, false)
	}
	t.event(e, fmt.Sprintf("#%d %s", i.ID, stream), what)
	if len(i.Data) > 0 {
		t.block(strings.TrimSuffix(string(i.Data), "\n"))
	}
}

// output prints bytes that came back to a command.
func (t *transcript) output(e recording.Entry) {
	o := e.Output
	what := fmt.Sprintf("%d bytes", len(o.Data))
	if o.Truncated {
		what += ", of which some were not recorded"
	}
	t.event(e, fmt.Sprintf("#%d %s", o.ID, Safe(o.Stream, false)), what)
	t.block(strings.TrimSuffix(string(o.Data), "\n"))
}

// message prints what the target said without being asked.
func (t *transcript) message(e recording.Entry) {
	m := e.Message
	text := Safe(m.Text, false)
	switch {
	case m.Cut > 0:
		text += fmt.Sprintf(" (%d that came before were not recorded)", m.Cut)
	case m.Truncated:
		text += " (cut)"
	}
	t.event(e, strings.ToLower(Safe(m.Kind, false)), labelled("", m.Severity)+labelled(" on channel ", m.Channel)+" "+text)
}

func labelled(label, value string) string {
	if value == "" {
		return ""
	}
	return label + Safe(value, false)
}

// event prints the first line of an event.
func (t *transcript) event(e recording.Entry, what, detail string) {
	connection := ""
	if e.Connection > 0 {
		connection = fmt.Sprintf("[%d] ", e.Connection)
	}
	if detail != "" {
		detail = "  " + detail
	}
	t.line(t.screen.paint(faint, e.Time.UTC().Format("15:04:05.000")) + "  " + connection + what + detail)
}

func (t *transcript) started(s *recording.Started, at time.Time) {
	t.line(t.screen.paint(bold, "Session "+Safe(s.Session, false)))
	for _, f := range [][2]string{{"started", at.UTC().Format(time.RFC3339)}, {"subject", s.Subject}, {"target", s.Target}, {"grant", s.Grant},
		{"namespace", s.Namespace}, {"reason", s.Reason}, {"client", s.Client}, {"proxy", s.Proxy}} {
		if f[1] != "" {
			t.line(fmt.Sprintf("  %-10s %s", f[0], Safe(f[1], false)))
		}
	}
	t.line("")
}

func (t *transcript) command(e recording.Entry) {
	c := e.Command
	color := red
	if c.Decision == "Allowed" || c.Decision == "Approved" {
		color = green
	}
	var detail []string
	for _, f := range [][2]string{{"", c.Code}, {"by ", c.Rule}, {"request ", c.Request}, {"approved by ", strings.Join(c.Approvers, ", ")},
		{"audit ", strings.Join(c.Audit, ", ")}} {
		if f[1] != "" {
			detail = append(detail, f[0]+Safe(f[1], false))
		}
	}
	t.event(e, fmt.Sprintf("#%d %s", c.ID, t.screen.paint(color, Safe(c.Decision, false))), strings.Join(detail, ", "))
	t.block(c.Text)
	t.parameters(c.Parameters)
	if c.Digest != "" {
		t.line("      " + t.screen.paint(faint, "redacted; SHA-256 of the command: "+Safe(c.Digest, false)))
	}
	if c.Message != "" {
		t.line("      " + t.screen.paint(red, Safe(c.Message, false)))
	}
}

func (t *transcript) response(e recording.Entry) {
	r := e.Response
	if len(r.Columns) > 0 || r.ID != t.id {
		t.columns, t.masked = r.Columns, r.Masked
	}
	t.id = r.ID
	t.event(e, fmt.Sprintf("#%d -> %s", r.ID, t.outcome(r)), "")
	if len(r.Rows) > 0 || len(r.Columns) > 0 {
		t.rows(r.Rows)
	}
	if r.Error != "" {
		t.line("    " + t.screen.paint(red, "ERROR"+labelled(" ", r.SQLState)+": "+Safe(r.Error, false)))
	}
	if r.Truncated {
		t.line("    " + t.screen.paint(faint, "(not all rows were kept)"))
	}
}

// outcome is what a part of a response says of the whole.
func (t *transcript) outcome(r *recording.Response) string {
	switch {
	case r.Unknown:
		return t.screen.paint(yellow, "outcome unknown: the session ended first")
	case r.Error != "":
		return "failed"
	case !r.Final:
		return "more to come"
	}
	s := Safe(r.Tag, false)
	if r.RowCount > 0 || len(t.columns) > 0 {
		s = strings.TrimPrefix(s+", "+count(r.RowCount, "row"), ", ")
	}
	if r.ByteCount > 0 {
		s = strings.TrimPrefix(s+", "+count(r.ByteCount, "byte"), ", ")
	}
	if s == "" {
		return "done"
	}
	return s
}

// count is a number of things.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// rows prints a table as psql does. Masked columns have an asterisk.
func (t *transcript) rows(rows [][]*string) {
	n := len(t.columns)
	for _, row := range rows {
		n = max(n, len(row))
	}
	if n == 0 {
		return
	}
	cells := make([][]string, 0, len(rows)+1)
	header := make([]string, n)
	for i := range header {
		header[i] = fmt.Sprintf("column %d", i+1)
		if i < len(t.columns) {
			header[i] = Safe(t.columns[i], false)
		}
		if slices.Contains(t.masked, i) {
			header[i] += "*"
		}
	}
	cells = append(cells, header)
	for _, row := range rows {
		line := make([]string, n)
		for i, v := range row {
			if v == nil {
				line[i] = "NULL"
			} else {
				line[i] = Safe(*v, false)
			}
		}
		cells = append(cells, line)
	}
	widths := t.widths(cells, n)
	for i, row := range cells {
		t.row(row, widths)
		if i == 0 {
			t.rule(widths)
		}
	}
	if len(t.masked) > 0 {
		t.line("    " + t.screen.paint(faint, "* masked"))
	}
}

// maxCell bounds a cell where the width of the screen is not known.
const maxCell = 200

// widths fits the columns to the screen: wide ones give way first.
func (t *transcript) widths(cells [][]string, n int) []int {
	widths := make([]int, n)
	for _, row := range cells {
		for i, c := range row {
			widths[i] = min(max(widths[i], utf8.RuneCountInString(c)), maxCell)
		}
	}
	if t.screen.width == 0 {
		return widths
	}
	room := t.screen.width - 4 - 3*n
	for {
		total, widest := 0, 0
		for i, w := range widths {
			total += w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= room || widths[widest] <= 4 {
			return widths
		}
		widths[widest] -= min(total-room, max(1, widths[widest]/8))
	}
}

func (t *transcript) row(row []string, widths []int) {
	var b strings.Builder
	b.WriteString("    ")
	for i, c := range row {
		if i > 0 {
			b.WriteString("|")
		}
		c = cut(c, widths[i])
		b.WriteString(" " + c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+1))
	}
	t.line(strings.TrimRight(b.String(), " "))
}

func (t *transcript) rule(widths []int) {
	parts := make([]string, len(widths))
	for i, w := range widths {
		parts[i] = strings.Repeat("-", w+2)
	}
	t.line("    " + strings.Join(parts, "+"))
}

func (t *transcript) ended(e recording.Entry) {
	detail := Safe(e.Ended.Reason, false)
	if e.Ended.Recovered {
		detail = t.screen.paint(yellow, "the proxy that carried the session died; the recording was closed by another one")
	}
	t.event(e, "ended", detail)
}
