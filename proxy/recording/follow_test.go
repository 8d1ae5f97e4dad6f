package recording_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/recording"
)

// growing is a store in which a segment more is seen at each look.
type growing struct {
	shelf
	stored int
}

func (g *growing) List(ctx context.Context, session string) ([]recording.Ref, error) {
	return g.shelf[:g.stored].List(ctx, session)
}

func TestFollow(t *testing.T) {
	whole := makeShelf(t, "s1", "x")
	cases := map[string]struct {
		shelf    shelf
		until    int // looks
		events   uint64
		complete bool
		problems int
	}{
		"to its end":               {whole, 99, verify(t, whole, recording.Anchor{}).Events, true, 0},
		"while it goes on":         {whole[:2], 3, whole[1].Last, false, 0},
		"nothing":                  {nil, 3, 0, false, 0},
		"a segment that is gone":   {append(whole[:1].clone(), whole[2:]...), 99, 0, true, 1},
		"a segment of another one": {append(whole[:1].clone(), makeShelf(t, "s1", "y")[1:]...), 99, 0, true, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := &growing{shelf: c.shelf}
			looks := 0
			var seen []uint64
			result, err := recording.Follow(t.Context(), g, "s1", nil, func(context.Context) (bool, error) {
				looks++
				g.stored = min(g.stored+1, len(g.shelf))
				return looks <= c.until, nil
			}, func(e recording.Entry) error {
				seen = append(seen, e.Sequence)
				return nil
			})
			if err != nil || result.Complete != c.complete || len(result.Problems) < c.problems || (c.problems == 0) != result.Intact() {
				t.Fatalf("%v: %+v", err, result)
			}
			if c.problems > 0 {
				return
			}
			var want []uint64
			for i := range c.events {
				want = append(want, i+1)
			}
			if d := cmp.Diff(want, seen); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
