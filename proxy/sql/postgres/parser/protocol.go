package parser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of the exchange with a worker.
const (
	// MaxText is the size of a text in bytes beyond which it is not parsed.
	MaxText = 1 << 20
	// maxReply bounds a reply; a tree is several times as large as its text.
	maxReply = 16 << 20
)

// The status of a reply.
const (
	statusReady  = 'R' // the worker is confined and waits for work
	statusParsed = 'P'
	statusSyntax = 'S'
	statusFailed = 'F' // the worker cannot serve; the rest says why
)

// headerSize is that of a reply's header: status and length of what follows.
const headerSize = 5

var errProtocol = errors.New("the parser worker broke its protocol")

// Result is what a text reads as.
type Result struct {
	// Tree is a serialised ParseResult.
	Tree []byte
	// Literals are the spans, start and end in turn, of every constant and comment in the
	// text, in order and within it.
	Literals []int
}

// SyntaxError says that a text is not SQL.
type SyntaxError struct {
	Position int // of what does not fit, in characters from 1; zero if not known
}

// Error names the position and nothing of the text.
func (e *SyntaxError) Error() string {
	if e.Position <= 0 {
		return "syntax error"
	}
	return fmt.Sprintf("syntax error at character %d", e.Position)
}

// appendReply appends a frame.
func appendReply(dst []byte, status byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	dst = append(dst, status)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// readReply reads one frame from a worker.
func readReply(r io.Reader) (status byte, body []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, fmt.Errorf("read from the parser worker: %w", err)
	}
	n := binary.LittleEndian.Uint32(header[1:])
	if n > maxReply {
		return 0, nil, errProtocol
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, fmt.Errorf("read from the parser worker: %w", err)
	}
	return header[0], body, nil
}

// decodeReply reads the body of a reply about a text of the given size. The worker reads
// hostile text, so nothing it says is believed.
func decodeReply(status byte, body []byte, size int) (*Result, error) {
	switch status {
	case statusSyntax:
		if len(body) != 4 {
			return nil, errProtocol
		}
		return nil, &SyntaxError{Position: int(min(binary.LittleEndian.Uint32(body), uint32(size)+1))}
	case statusParsed:
	default:
		return nil, errProtocol
	}
	if len(body) < 4 {
		return nil, errProtocol
	}
	n, rest := binary.LittleEndian.Uint32(body), body[4:]
	if uint64(n) > uint64(len(rest)) || (len(rest)-int(n))%8 != 0 {
		return nil, errProtocol
	}
	res := &Result{Tree: rest[:n:n], Literals: make([]int, 0, (len(rest)-int(n))/4)}
	at := 0
	for spans := rest[n:]; len(spans) > 0; spans = spans[8:] {
		start, end := int(binary.LittleEndian.Uint32(spans)), int(binary.LittleEndian.Uint32(spans[4:]))
		if start < at || end < start || end > size {
			return nil, errProtocol
		}
		res.Literals = append(res.Literals, start, end)
		at = end
	}
	return res, nil
}
