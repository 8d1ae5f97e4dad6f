package kubernetes

import (
	"slices"
	"testing"
)

// Wherever a stream is cut, its borders are where they are.
func TestFramesCutAnywhere(t *testing.T) {
	stream := []byte{0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'c'}
	borders := []int{0, 6, 10, 15}
	for size := 1; size <= len(stream); size++ {
		var f frames
		for at := 0; at < len(stream); at += size {
			end := min(at+size, len(stream))
			f.advance(stream[at:end])
			if f.atBorder() != slices.Contains(borders, end) {
				t.Errorf("parts of %d bytes: at %d border is %t", size, end, f.atBorder())
			}
		}
	}
}
