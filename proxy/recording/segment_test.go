package recording

import (
	"bytes"
	"errors"
	"testing"
)

func TestDecompressIsBounded(t *testing.T) {
	most := bytes.Repeat([]byte{'x'}, MaxSegmentContent)
	if raw, err := decompress(compress(most)); err != nil || !bytes.Equal(raw, most) {
		t.Errorf("as much as a segment may hold: %v", err)
	}
	if _, err := decompress(compress(append(most, 'x'))); !errors.Is(err, errTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
	// Many small frames, one after the other, are no way round.
	if _, err := decompress(bytes.Repeat(compress(most[:1<<19]), 3)); !errors.Is(err, errTooLarge) {
		t.Errorf("three frames: %v", err)
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add(compress([]byte("{}\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if raw, err := decompress(data); err == nil && len(raw) > MaxSegmentContent {
			t.Fatalf("%d bytes", len(raw))
		}
	})
}
