package recording_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/recorder"
)

// vault is a recording in the bytes that a store keeps.
type vault []stored

type stored struct{ seal, data []byte }

func (v vault) List(context.Context, string) ([]recording.Ref, error) {
	var refs []recording.Ref
	for i := range v {
		refs = append(refs, recording.Ref{Index: i, Name: fmt.Sprint(i)})
	}
	return refs, nil
}

func (v vault) Get(_ context.Context, _ string, ref recording.Ref) (recording.Segment, error) {
	s, err := recording.ParseSeal(v[ref.Index].seal)
	s.Data = v[ref.Index].data
	return s, err
}

// with returns v with other bytes in one place.
func (v vault) with(i int, seal, data []byte) vault {
	c := slices.Clone(v)
	c[i] = stored{seal, data}
	return c
}

// makeVault records a session of two small segments.
func makeVault(t *testing.T) vault {
	t.Helper()
	f := newFixture(t, options{limits: quick()})
	r := f.open("s1")
	f.drain()
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	var v vault
	for _, s := range load(t, f.store)["s1"] {
		seal, err := s.Seal()
		if err != nil {
			t.Fatal(err)
		}
		v = append(v, stored{seal, s.Data})
	}
	return v
}

// TestEveryBit is G7: whatever bit of what a store keeps is altered, and wherever it is cut,
// the segment is named. Nothing but the authority's certificate is needed for that.
func TestEveryBit(t *testing.T) {
	v := makeVault(t)
	anchor := recording.Anchor{Trust: trust(t, recorder.Bundle())}
	if r := verify(t, v, anchor); !r.Intact() || !r.Complete || r.Manifest == nil || len(v) != 2 {
		t.Fatalf("untouched: %+v", r)
	}
	step := 1
	if testing.Short() {
		step = 17
	}
	for i, s := range v {
		for part, text := range map[string][]byte{"seal": s.seal, "data": s.data} {
			altered := func(what string, by []byte) {
				c := v.with(i, by, s.data)
				if part == "data" {
					c = v.with(i, s.seal, by)
				}
				if r := verify(t, c, anchor); r.Intact() || r.Problems[0].Segment != i {
					t.Fatalf("%s of segment %d, %s: %+v", part, i, what, r)
				}
			}
			for bit := 0; bit < 8*len(text); bit += step {
				flipped := slices.Clone(text)
				flipped[bit/8] ^= 1 << (bit % 8)
				altered(fmt.Sprintf("bit %d", bit), flipped)
			}
			for size := range text {
				altered(fmt.Sprintf("cut at %d", size), text[:size])
			}
			altered("a byte longer", append(slices.Clone(text), 0))
			altered("a newline longer", append(slices.Clone(text), '\n'))
		}
	}
}

// TestMovedSegments: a segment is good in its own place alone, although every bit of it is as
// it was signed.
func TestMovedSegments(t *testing.T) {
	v, again := makeVault(t), makeVault(t)
	anchor := recording.Anchor{Trust: trust(t, recorder.Bundle())}
	for name, c := range map[string]struct {
		vault vault
		want  string
	}{
		"reordered":                              {vault{v[1], v[0]}, "segment 0 (0): says that it is segment 1"},
		"an old one replayed at the end":         {vault{v[0], v[1], v[0]}, "segment 2 (2): says that it is segment 0"},
		"an old one replayed for the last":       {vault{v[0], v[0]}, "segment 1 (1): says that it is segment 0"},
		"the last left out":                      {v[:1], ""}, // is an open session, but for what else knows of it
		"the first of a session of its name":     {vault{again[0], v[1]}, "segment 1 (1): does not continue the segment before"},
		"the last of a session of its name":      {vault{v[0], again[1]}, "segment 1 (1): does not continue the segment before"},
		"the data of another":                    {vault{v[0], {v[1].seal, v[0].data}}, "segment 1 (1): was altered: its"},
		"the seal of another":                    {vault{v[0], {v[0].seal, v[1].data}}, "segment 1 (1): says that it is segment 0"},
		"the data of a session of its name":      {vault{{v[0].seal, again[0].data}, v[1]}, "segment 0 (0): was altered: its"},
		"the whole session of its name (intact)": {again, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t, c.vault, anchor)
			if c.want == "" && r.Intact() {
				return
			}
			if r.Intact() || c.want == "" || !strings.HasPrefix(r.Problems[0].String(), c.want) {
				t.Errorf("%v, want %q", r.Problems, c.want)
			}
		})
	}
	// What the Session says finds these two.
	for name, c := range map[string]vault{"the last left out": v[:1], "the whole session": again} {
		s, err := recording.ParseSeal(v[1].seal)
		if err != nil {
			t.Fatal(err)
		}
		anchor.Segments, anchor.Digest, anchor.Ended = 2, s.Digest, true
		if r := verify(t, c, anchor); r.Intact() {
			t.Errorf("%s: intact", name)
		}
	}
}
