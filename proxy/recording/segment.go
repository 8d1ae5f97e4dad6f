package recording

import (
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// MaxSegmentData bounds Segment.Data in bytes, so that a segment fits into one object of
	// the API server.
	MaxSegmentData = 700 << 10
	// MaxSegmentContent bounds what Segment.Data decompresses to, in bytes.
	MaxSegmentContent = 1 << 20
	// MaxSegments bounds the segments of one recording: an index has six digits.
	MaxSegments = 1_000_000

	// incompressible is a size that stays under MaxSegmentData whatever the content is.
	incompressible = 640 << 10
)

// sessionName is what a session may be called: the name of an object, fit for file names,
// labels and the lines of a segment's header.
var sessionName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)

// ValidSession reports whether name may name a recording.
func ValidSession(name string) bool { return sessionName.MatchString(name) }

// codec compresses and decompresses segments. Both halves are safe for concurrent use and
// start no goroutines.
var codec = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(MaxSegmentContent), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("recording: zstd encoder options: %v", err))
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxSegmentContent),
		zstd.WithDecoderMaxWindow(MaxSegmentContent), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("recording: zstd decoder options: %v", err))
	}
	return enc, dec
})

func compress(raw []byte) []byte {
	enc, _ := codec()
	return enc.EncodeAll(raw, nil)
}

// content returns the JSON lines that s holds.
func (s *Segment) content() ([]byte, error) {
	if s.Encoding != EncodingZstd {
		return nil, fmt.Errorf("its encoding %q is unknown to this program", s.Encoding)
	}
	return decompress(s.Data)
}

// errTooLarge is content beyond MaxSegmentContent.
var errTooLarge = errors.New("decompresses to more than a segment may hold")

// decompress never makes more than MaxSegmentContent bytes, whatever data says.
func decompress(data []byte) ([]byte, error) {
	if len(data) > MaxSegmentData {
		return nil, fmt.Errorf("%d bytes of data are more than a segment may hold", len(data))
	}
	_, dec := codec()
	raw, err := dec.DecodeAll(data, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) || len(raw) > MaxSegmentContent {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return raw, nil
}
