package scp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

const (
	maxPath  = 4096
	maxLine  = 8 << 10
	maxDepth = 128 // directories in directories
)

var errProtocol = errors.New("not scp's protocol")

// record is a line of a source.
type record struct {
	kind byte   // C, D, E, T, or 1 and 2 for errors
	line []byte // all of it
	name string
	size int64
	set  files.Attributes
}

// line reads up to and with a line feed.
func line(from *bufio.Reader, first byte) ([]byte, error) {
	text := []byte{first}
	for text[len(text)-1] != '\n' || len(text) == 1 {
		if len(text) == maxLine {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", errProtocol, maxLine)
		}
		b, err := from.ReadByte()
		if err != nil {
			return nil, cut(err)
		}
		text = append(text, b)
	}
	return text, nil
}

// cut is an end in the midst of something.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads a record. io.EOF means that the source has ended between two.
func next(from *bufio.Reader) (*record, error) {
	first, err := from.ReadByte()
	if err != nil {
		return nil, err
	}
	switch first {
	case 'C', 'D', 'E', 'T', 1, 2:
	default:
		return nil, fmt.Errorf("%w: a record that begins with %q", errProtocol, first)
	}
	r := &record{kind: first}
	if r.line, err = line(from, first); err != nil {
		return nil, err
	}
	text := string(r.line[1 : len(r.line)-1])
	switch first {
	case 'C', 'D':
		err = r.entry(text)
	case 'T':
		err = r.times(text)
	case 'E':
		if text != "" {
			err = errProtocol
		}
	}
	return r, err
}

// entry reads "MODE SIZE NAME".
func (r *record) entry(text string) error {
	mode, rest, _ := strings.Cut(text, " ")
	size, name, named := strings.Cut(rest, " ")
	bits, err := strconv.ParseUint(mode, 8, 12)
	if err != nil || len(mode) != 4 || strings.TrimLeft(mode, "01234567") != "" {
		return fmt.Errorf("%w: a mode that is none", errProtocol)
	}
	if r.size, err = number(size); err != nil {
		return err
	}
	switch {
	case !named, name == "", name == ".", name == "..", len(name) > maxPath, strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: a name that is none", errProtocol)
	}
	r.name, r.set.HasMode, r.set.Mode = name, true, uint32(bits)
	return nil
}

// times reads "MODIFIED MICROSECONDS ACCESSED MICROSECONDS".
func (r *record) times(text string) error {
	var values [4]int64
	fields := strings.Split(text, " ")
	if len(fields) != len(values) {
		return fmt.Errorf("%w: times that are none", errProtocol)
	}
	for i, f := range fields {
		var err error
		if values[i], err = number(f); err != nil {
			return err
		}
	}
	r.set.HasTimes = true
	r.set.ModificationTime, r.set.AccessTime = time.Unix(values[0], values[1]*1000).UTC(), time.Unix(values[2], values[3]*1000).UTC()
	if values[1] > 999_999 || values[3] > 999_999 {
		return fmt.Errorf("%w: times that are none", errProtocol)
	}
	return nil
}

// number reads decimal digits and nothing else.
func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text == "" || strings.TrimLeft(text, "0123456789") != "" {
		return 0, fmt.Errorf("%w: a number that is none", errProtocol)
	}
	return n, nil
}

// answer reads what a sink says: a zero, or an error line.
func answer(from *bufio.Reader) ([]byte, error) {
	first, err := from.ReadByte()
	switch {
	case err != nil:
		return nil, cut(err)
	case first == 0:
		return []byte{0}, nil
	case first == 1 || first == 2:
		return line(from, first)
	}
	return nil, fmt.Errorf("%w: an answer that begins with %q", errProtocol, first)
}

// warning is an error line after which the other side goes on.
func warning(message string) []byte {
	const most = 1024
	message = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(message, "?"))
	return append(append([]byte{1}, message[:min(len(message), most)]...), '\n')
}
