package access

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Safe returns s without anything that a terminal acts upon: control characters, also those
// of C1, characters that change the direction of text or are not seen, and bytes that are
// not UTF-8 become visible escapes. Newlines stay if lines says so.
func Safe(s string, lines bool) string {
	var b strings.Builder
	start := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if (r != utf8.RuneError || size > 1) && !unsafeRune(r) || r == '\n' && lines {
			i += size
			continue
		}
		b.WriteString(s[start:i])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t' && lines:
			b.WriteString("    ")
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
		start = i
	}
	if start == 0 {
		return s
	}
	b.WriteString(s[start:])
	return b.String()
}

// unsafeRune reports whether a terminal does not simply show r: Cc, Cf (direction and
// zero-width characters among them), Zl, Zp, and what is private or not assigned.
func unsafeRune(r rune) bool { return !unicode.IsGraphic(r) || unicode.In(r, unicode.Zl, unicode.Zp) }

// safeJSON escapes what a terminal acts upon in a JSON text, so that it stays the same JSON.
func safeJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r == '\n' || !unsafeRune(r):
			out = utf8.AppendRune(out, r)
		case r <= 0xffff:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out
}

// screen is what is known of where output goes.
type screen struct {
	width int // columns; 0 is no limit
	color bool
}

// screenOf looks at w. COLUMNS sets the width, NO_COLOR (https://no-color.org) and
// TERM=dumb turn colours off; what is not a terminal has neither limit nor colour.
func screenOf(w io.Writer) screen {
	var s screen
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			s.width = width
		}
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		s.width = n
	}
	return s
}

// The colours used, as SGR parameters (ECMA-48).
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s screen) paint(color, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// cut shortens text to width characters.
func cut(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	if width == 1 {
		return "…"
	}
	return string([]rune(text)[:width-1]) + "…"
}

// table prints rows in columns, three spaces apart as kubectl does. Every cell is made safe.
func table(w io.Writer, s screen, header []string, rows [][]string) error {
	t := columns{screen: s}
	return t.print(w, append([][]string{header}, rows...))
}

// columns remembers how wide columns are from one print to the next.
type columns struct {
	screen screen
	widths []int
}

// print prints rows of the same number of cells. The last cell is cut to the screen.
func (c *columns) print(w io.Writer, rows [][]string) error {
	for _, row := range rows {
		for len(c.widths) < len(row) {
			c.widths = append(c.widths, 0)
		}
		for i := range row {
			row[i] = Safe(row[i], false)
			if row[i] == "" {
				row[i] = "-"
			}
			c.widths[i] = max(c.widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		used, last := 0, len(row)-1
		for i, cell := range row[:last] {
			b.WriteString(cell + strings.Repeat(" ", c.widths[i]-utf8.RuneCountInString(cell)+3))
			used += c.widths[i] + 3
		}
		cell := row[last]
		if c.screen.width > 0 {
			cell = cut(cell, max(c.screen.width-used, 8))
		}
		if _, err := fmt.Fprintln(w, b.String()+cell); err != nil {
			return err
		}
	}
	return nil
}
