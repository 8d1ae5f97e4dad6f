package recording

import (
	"context"
	"fmt"
	"slices"
)

// Follow reads a recording that is still being written, as Read does, and goes on when more has
// been stored: after each look at the store it calls wait, which returns when it is time for another look,
// and false if there will be no more. It ends behind the final segment. A segment that is not
// there while a later one is, is missing: a store gets them in order. Signatures are held to trust,
// which may be nil as in an Anchor.
func Follow(ctx context.Context, source Source, session string, trust *Trust, wait func(ctx context.Context) (more bool, err error), each func(Entry) error) (Result, error) {
	r := &reader{source: source, session: session, anchor: Anchor{Trust: trust}, each: each, previous: new(string), first: 1}
	for {
		refs, err := source.List(ctx, session)
		if err != nil {
			return r.result, fmt.Errorf("list the segments of %s: %w", session, err)
		}
		refs = slices.DeleteFunc(refs, func(ref Ref) bool { return ref.Index < r.next })
		if err := r.all(ctx, refs); err != nil {
			return r.result, err
		}
		if r.last.Final {
			break
		}
		more, err := wait(ctx)
		if err != nil {
			return r.result, err
		}
		if !more {
			break
		}
	}
	r.finish()
	return r.result, nil
}
