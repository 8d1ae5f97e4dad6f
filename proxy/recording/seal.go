package recording

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxSeal bounds what Segment.Seal returns, in bytes.
	MaxSeal = 8 << 10
	// EncodingZstd is data that is one zstd frame.
	EncodingZstd = "zstd"

	headerFormat = "cardea-recording-segment/2"
)

// Header returns the canonical header of s: what is signed, and what the digest of the
// segment is of. docs/recording-format.md defines it.
func (s *Segment) Header() []byte {
	h := fmt.Appendf(make([]byte, 0, 1<<10), "%s\nsession: %s\nindex: %d\nprevious: %s\nfirst: %d\nlast: %d\nencoding: %s\nbytes: %d\ndata: %s\nsigned: %s\nfinal: %t\n",
		headerFormat, s.Session, s.Index, s.Previous, s.First, s.Last, s.Encoding, s.Bytes, s.DataSum, s.Signed.Format(time.RFC3339Nano), s.Manifest != nil)
	if s.Manifest != nil {
		h = s.Manifest.append(h)
	}
	return append(h, '\n')
}

// parseHeader is the inverse of Header: nothing but what Header returns is read.
func parseHeader(text string) (Segment, error) {
	h := headerReader{lines: strings.Split(text, "\n")}
	h.line(headerFormat)
	s := Segment{
		Session: h.field("session"), Index: int(h.number("index", MaxSegments-1)), Previous: h.field("previous"),
		First: h.number("first", maxCount), Last: h.number("last", maxCount),
		Encoding: h.field("encoding"), Bytes: int(h.number("bytes", MaxSegmentData)), DataSum: h.field("data"), Signed: h.time("signed"), Final: h.flag("final"),
	}
	if s.Final {
		s.Manifest = readManifest(&h)
	}
	h.line("")
	switch {
	case h.err != nil:
		return s, h.err
	case !ValidSession(s.Session):
		return s, errors.New("its header names no session")
	case s.Previous != "" && !isDigest(s.Previous), !isDigest(s.DataSum):
		return s, errors.New("its header holds what is no digest")
	case string(s.Header()) != text:
		return s, errors.New("its header is not in the canonical form")
	}
	s.Digest = sumOf([]byte(text))
	return s, nil
}

// headerReader reads the lines of a header in their order; the first error stays.
type headerReader struct {
	lines []string
	err   error
}

func (h *headerReader) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf(format, args...)
	}
}

// line reads one whole line.
func (h *headerReader) line(want string) {
	if len(h.lines) == 0 || h.lines[0] != want {
		h.fail("its header has no line %q where it should", want)
		return
	}
	h.lines = h.lines[1:]
}

func (h *headerReader) field(name string) string {
	if len(h.lines) > 0 {
		if value, ok := strings.CutPrefix(h.lines[0], name+": "); ok {
			h.lines = h.lines[1:]
			return value
		}
	}
	h.fail("its header has no line %q where it should", name)
	return ""
}

func (h *headerReader) number(name string, most uint64) uint64 {
	n, err := strconv.ParseUint(h.field(name), 10, 64)
	if err != nil || n > most {
		h.fail("its header has no number in line %q", name)
		return 0
	}
	return n
}

func (h *headerReader) flag(name string) bool {
	v, err := strconv.ParseBool(h.field(name))
	if err != nil {
		h.fail("its header has neither true nor false in line %q", name)
	}
	return v
}

func (h *headerReader) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, h.field(name))
	if err != nil {
		h.fail("its header has no time in line %q", name)
	}
	return t.UTC()
}

// sealed is what Seal writes.
type sealed struct {
	Header      string `json:"header"`
	Signature   string `json:"signature"`
	Certificate string `json:"certificate"`
}

// Seal returns everything of a segment but its data, as a store keeps it beside them: one
// line of JSON with the header, the signature in base64 and the certificate in PEM.
func (s *Segment) Seal() ([]byte, error) {
	b, err := json.Marshal(sealed{
		Header:      string(s.Header()),
		Signature:   base64.StdEncoding.EncodeToString(s.Signature),
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate})),
	})
	if err != nil {
		return nil, fmt.Errorf("encode seal: %w", err)
	}
	if len(b) >= MaxSeal {
		return nil, fmt.Errorf("encode seal: its %d bytes are more than a seal may have", len(b))
	}
	return append(b, '\n'), nil
}

// ParseSeal is the inverse of Seal; the data are left to the caller. Nothing but what Seal
// returns is read: a byte more, less or other is an error, or a difference that verifying
// the signature finds. Nothing has been verified.
func ParseSeal(b []byte) (Segment, error) {
	if len(b) > MaxSeal {
		return Segment{}, errors.New("its seal is larger than one may be")
	}
	var v sealed
	if err := json.Unmarshal(b, &v); err != nil {
		return Segment{}, fmt.Errorf("its seal cannot be read: %w", err)
	}
	s, err := parseHeader(v.Header)
	if err != nil {
		return Segment{}, err
	}
	if s.Signature, err = base64.StdEncoding.DecodeString(v.Signature); err != nil {
		return Segment{}, fmt.Errorf("its signature cannot be read: %w", err)
	}
	block, _ := pem.Decode([]byte(v.Certificate))
	if block == nil {
		return Segment{}, errors.New("its certificate cannot be read")
	}
	s.Certificate = block.Bytes
	again, err := s.Seal()
	if err != nil {
		return Segment{}, err
	}
	if !bytes.Equal(again, b) {
		return Segment{}, errors.New("its seal is not in the canonical form")
	}
	return s, nil
}
