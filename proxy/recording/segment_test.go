package recording

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestSum holds the digest to docs/recording-format.md; the values were made with sha256sum.
func TestSum(t *testing.T) {
	cases := map[string]struct {
		segment Segment
		want    string
	}{
		"a middle one": {Segment{Session: "report-agent-x7k2p", Grant: "not part of it", Index: 3, Previous: strings.Repeat("0", 64), Digest: "nor this",
			First: 7, Last: 42, Final: true, Data: []byte("data")}, "22a4641867f6535be4ed606a44ce82edca77e14f6216546715b06601de1da26d"},
		"the first, empty": {Segment{Session: "s", First: 1, Last: 1}, "a95a8023dcf5c3be394b9c5c3eb467d403cb33ae86da6c5e6c4c5ec4054ca1b9"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.segment.Sum(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

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
