package recording_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/recorder"
)

// shelf is a recording in memory, to be tampered with.
type shelf []recording.Segment

func (s shelf) List(context.Context, string) ([]recording.Ref, error) {
	var refs []recording.Ref
	for i, seg := range s {
		refs = append(refs, recording.Ref{Index: seg.Index, Name: fmt.Sprint(i)})
	}
	return refs, nil
}

func (s shelf) Get(_ context.Context, _ string, ref recording.Ref) (recording.Segment, error) {
	for i, seg := range s {
		if fmt.Sprint(i) == ref.Name {
			return seg, nil
		}
	}
	return recording.Segment{}, errors.New("no such segment")
}

func (s shelf) clone() shelf {
	c := slices.Clone(s)
	for i := range c {
		c[i].Data = slices.Clone(c[i].Data)
	}
	return c
}

// seal makes the chain of s anew, as somebody with the format at hand would.
func (s shelf) seal() shelf {
	for i := range s {
		if i > 0 {
			s[i].Previous = s[i-1].Digest
		}
		s[i] = recorder.Sign(s[i])
	}
	return s
}

func (s shelf) anchor() recording.Anchor {
	return recording.Anchor{Segments: len(s), Digest: s[len(s)-1].Digest, Ended: true}
}

func verify(t *testing.T, s recording.Source, anchor recording.Anchor) recording.Result {
	t.Helper()
	result, err := recording.Read(t.Context(), s, "s1", anchor, func(recording.Entry) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// makeShelf records a small session of several segments.
func makeShelf(t *testing.T, session, text string) shelf {
	t.Helper()
	f := newFixture(t, options{limits: quick()})
	r := f.open(session)
	for range 3 {
		f.record(r, 2, text)
		f.drain()
	}
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	refs, err := f.store.List(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	var s shelf
	for _, ref := range refs {
		seg, err := f.store.Get(t.Context(), session, ref)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, seg)
	}
	slices.SortFunc(s, func(a, b recording.Segment) int { return a.Index - b.Index })
	if len(s) < 4 {
		t.Fatalf("%d segments", len(s))
	}
	return s
}

func TestReaderFindsEveryBitFlipAndTruncation(t *testing.T) {
	s := makeShelf(t, "s1", "select 1")
	// Without the Session's status, the chain alone must tell.
	if r := verify(t, s, recording.Anchor{}); !r.Intact() || !r.Complete {
		t.Fatalf("untouched: %+v", r)
	}
	for i := range s {
		for bit := range 8 * len(s[i].Data) {
			c := s.clone()
			c[i].Data[bit/8] ^= 1 << (bit % 8)
			if r := verify(t, c, recording.Anchor{}); r.Intact() || r.Problems[0].Segment != i {
				t.Fatalf("bit %d of segment %d: %+v", bit, i, r)
			}
		}
		for size := range len(s[i].Data) {
			c := s.clone()
			c[i].Data = c[i].Data[:size]
			if r := verify(t, c, recording.Anchor{}); r.Intact() || r.Problems[0].Segment != i {
				t.Fatalf("segment %d cut at %d: %+v", i, size, r)
			}
		}
	}
}

func TestReaderFindsTampering(t *testing.T) {
	s, other := makeShelf(t, "s1", "select 1"), makeShelf(t, "s1", "select 2")
	foreign := makeShelf(t, "s2", "select 1")
	n := len(s)
	cases := map[string]struct {
		tamper func(c shelf) shelf
		anchor recording.Anchor
		want   string // in a problem
	}{
		"untouched":               {func(c shelf) shelf { return c }, s.anchor(), ""},
		"stored twice":            {func(c shelf) shelf { return append(c, c[1]) }, s.anchor(), ""},
		"status behind":           {func(c shelf) shelf { return c }, recording.Anchor{Segments: 2, Digest: s[1].Digest}, ""},
		"first is missing":        {func(c shelf) shelf { return c[1:] }, s.anchor(), "segment 0: missing"},
		"middle is missing":       {func(c shelf) shelf { return slices.Delete(c, 1, 2) }, s.anchor(), "segment 1: missing"},
		"last is missing":         {func(c shelf) shelf { return c[:n-1] }, s.anchor(), fmt.Sprintf("segment %d: missing", n-1)},
		"last is missing, ended":  {func(c shelf) shelf { return c[:n-1] }, recording.Anchor{Ended: true}, "the final segment is missing"},
		"all is missing":          {func(c shelf) shelf { return nil }, s.anchor(), "segment 0: missing"},
		"all is missing, ended":   {func(c shelf) shelf { return nil }, recording.Anchor{Ended: true}, "missing"},
		"two swapped":             {func(c shelf) shelf { c[1].Data, c[2].Data = c[2].Data, c[1].Data; return c }, s.anchor(), "segment 1 (1): was altered"},
		"two swapped with header": {func(c shelf) shelf { c[1], c[2] = c[2], c[1]; c[1].Index, c[2].Index = 1, 2; return c }, s.anchor(), "was altered"},
		"two swapped and resealed": {func(c shelf) shelf {
			c[1], c[2] = c[2], c[1]
			c[1].Index, c[2].Index = 1, 2
			return c.seal()
		}, s.anchor(), "begins with event"},
		"from another session":     {func(c shelf) shelf { c[1] = foreign[1]; return c }, s.anchor(), `is of session "s2"`},
		"from another of its name": {func(c shelf) shelf { c[1] = other[1]; return c }, s.anchor(), "does not continue"},
		"another beside it":        {func(c shelf) shelf { return append(c, other[1]) }, s.anchor(), "another segment of the same index"},
		"another before it":        {func(c shelf) shelf { return slices.Insert(c, 1, other[1]) }, s.anchor(), "another segment of the same index"},
		"replaced as a whole":      {func(c shelf) shelf { return other }, s.anchor(), "the Session says"},
		"not final":                {func(c shelf) shelf { c[n-1].Manifest = nil; return c }, s.anchor(), "was altered"},
		"not final, resealed":      {func(c shelf) shelf { c[n-1].Manifest = nil; return c.seal() }, recording.Anchor{}, "do not agree"},
		"final too early":          {func(c shelf) shelf { c[0].Manifest = c[n-1].Manifest; return c.seal() }, recording.Anchor{}, "follows the final segment"},
		"sequence in header":       {func(c shelf) shelf { c[1].Last++; return c.seal() }, recording.Anchor{}, "ends with event"},
		"index in header":          {func(c shelf) shelf { c[0].Index = 7; return c[:1].seal() }, recording.Anchor{}, "segment 0: missing"},
		"no such index":            {func(c shelf) shelf { c[n-1].Index = -1; return c }, recording.Anchor{}, "no segment has such an index"},
		"bomb":                     {func(c shelf) shelf { c[1].Data = bomb(t); return c.seal() }, recording.Anchor{}, "decompresses to more"},
		"not zstd":                 {func(c shelf) shelf { c[1].Data = []byte("{}\n"); return c.seal() }, recording.Anchor{}, "cannot be read"},
		"too large":                {func(c shelf) shelf { c[1].Data = make([]byte, recording.MaxSegmentData+1); return c.seal() }, recording.Anchor{}, "more than a segment may hold"},
		"events altered": {func(c shelf) shelf {
			c[1].Data = pack(t, `{"seq":9,"kind":"ended","ended":{"reason":"x"}}`+"\n"+"no json\n")
			return c.seal()
		}, recording.Anchor{}, "cannot be read"},
		"begins without Started": {func(c shelf) shelf { c[0].Data = pack(t, `{"seq":1,"kind":"command"}`+"\n"); return c.seal() }, recording.Anchor{}, "is not the beginning"},
		"begins another session": {func(c shelf) shelf {
			c[0].Data = pack(t, `{"seq":1,"started":{"session":"s2","schema":1}}`+"\n")
			return c.seal()
		},
			recording.Anchor{}, `begins another session, "s2"`},
		"newer schema": {func(c shelf) shelf {
			c[0].Data = pack(t, `{"seq":1,"started":{"session":"s1","schema":2}}`+"\n")
			return c.seal()
		},
			recording.Anchor{}, "schema 2"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := verify(t, c.tamper(s.clone()), c.anchor)
			var all []string
			for _, p := range r.Problems {
				all = append(all, p.String())
			}
			if (c.want == "") != (len(all) == 0) || !strings.Contains(strings.Join(all, "\n"), c.want) {
				t.Errorf("problems:\n%s\nwant one with %q", strings.Join(all, "\n"), c.want)
			}
		})
	}
}

func pack(t *testing.T, content string) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll([]byte(content), nil)
}

func bomb(t *testing.T) []byte {
	return pack(t, strings.Repeat("0", 256<<20))
}

func TestReaderMarksWhatFollowsAProblem(t *testing.T) {
	s := makeShelf(t, "s1", "select 1").clone()
	s[1].Manifest = s[len(s)-1].Manifest
	var verified, not int
	_, err := recording.Read(t.Context(), s, "s1", recording.Anchor{}, func(e recording.Entry) error {
		if e.Verified {
			verified++
		} else {
			not++
		}
		return nil
	})
	if err != nil || verified == 0 || not == 0 {
		t.Errorf("verified %d, not %d, %v", verified, not, err)
	}
}
