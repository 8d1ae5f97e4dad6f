package terminal

import (
	"bytes"
	"unicode/utf8"
)

// maxLine bounds a line, in bytes: a longer one is taken for several.
const maxLine = 32 << 10

// Lines makes lines of what comes in parts, without sequences, and with what was deleted before
// its line ended. The zero value is ready.
type Lines struct {
	filter Filter
	line   []byte
	first  uint64 // the number of the part in which the line begins
}

// Write takes a part that has a number, and calls each with every line that ends in it and the
// number of the part in which it begins. The line is borrowed for the call.
func (l *Lines) Write(number uint64, p []byte, each func(first uint64, line []byte) error) error {
	for _, r := range bytes.Runes(l.text().Write(nil, p)) {
		switch {
		case r == '\n' || r == '\r':
			if err := l.Flush(each); err != nil {
				return err
			}
			continue
		case r == '\b':
			_, size := utf8.DecodeLastRune(l.line)
			l.line = l.line[:len(l.line)-size]
			continue
		case len(l.line) >= maxLine:
			if err := l.Flush(each); err != nil {
				return err
			}
		}
		if len(l.line) == 0 {
			l.first = number
		}
		l.line = utf8.AppendRune(l.line, r)
	}
	return nil
}

func (l *Lines) text() *Filter {
	l.filter.Plain = true
	return &l.filter
}

// Flush calls each with what has not ended.
func (l *Lines) Flush(each func(first uint64, line []byte) error) error {
	if len(l.line) == 0 {
		return nil
	}
	err := each(l.first, l.line)
	l.line = l.line[:0]
	return err
}

// Begins returns the number of the part in which the line begins that has not ended; 0 for none.
func (l *Lines) Begins() uint64 {
	if len(l.line) == 0 {
		return 0
	}
	return l.first
}
