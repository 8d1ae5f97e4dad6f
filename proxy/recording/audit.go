package recording

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Audit verifies recordings and what connects them: each recorder numbers the recordings that
// it closes for a store, and each manifest holds the digest of the one before. It remembers a
// few hundred bytes of each recording. It is not safe for concurrent use.
type Audit struct {
	// Trust is whose signatures count; see Anchor.
	Trust *Trust
	// Kept returns since when all recordings of a store are kept. Older ones are deleted by age,
	// so that what is missing behind one that was signed before may have been; what is missing
	// behind a later one was deleted by somebody. If it is nil, all are kept.
	Kept func(store string) time.Time

	chains map[chainID]map[uint64][]entry
}

type chainID struct{ recorder, store string }

// entry is one recording in a chain, or what its Session says of it.
type entry struct {
	session   string
	digest    string
	preceding string
	signed    time.Time
	read      bool // its manifest was read, and the signature is good
	expired   bool // nothing is there, and nothing need be
}

// Verify reads a recording as Read does and notes its place. The anchor's Trust is that of
// the Audit, and each may be nil. A recording of which nothing is there, although its Session
// says that it was stored, keeps its place; that is no problem if its time was over.
func (a *Audit) Verify(ctx context.Context, source Source, session string, anchor Anchor, each func(Entry) error) (Result, error) {
	anchor.Trust = a.Trust
	r, err := Read(ctx, source, session, anchor, each)
	if errors.Is(err, ErrNotFound) && anchor.Segments != 0 {
		// A folder of which nothing is left.
		r, err = Read(ctx, empty{}, session, anchor, each)
	}
	if err != nil {
		return r, err
	}
	if r.Segments == 0 && a.old(anchor.Store, anchor.EndedAt) {
		r.Expired, r.Problems = true, nil
	}
	switch m := r.Manifest; {
	case m != nil:
		a.note(chainID{m.Recorder, m.Store}, m.Number, entry{session: session, digest: r.Digest, preceding: m.Preceding, signed: r.Signed, read: true})
	case anchor.Number != 0:
		a.note(chainID{anchor.Recorder, anchor.Store}, anchor.Number, entry{session: session, digest: anchor.Digest, expired: r.Expired})
	}
	return r, nil
}

// slack is by how much recordings may be closed in another order than their sessions ended.
const slack = time.Hour

// old reports whether what was there at a time, or was closed after it, may have been deleted
// by now.
func (a *Audit) old(store string, at time.Time) bool {
	return a.Kept != nil && !at.IsZero() && at.Before(a.Kept(store).Add(slack))
}

// empty is a source that holds nothing.
type empty struct{}

func (empty) List(context.Context, string) ([]Ref, error) { return nil, nil }

func (empty) Get(context.Context, string, Ref) (Segment, error) { return Segment{}, ErrNotFound }

func (a *Audit) note(id chainID, number uint64, e entry) {
	if a.chains == nil {
		a.chains = map[chainID]map[uint64][]entry{}
	}
	if a.chains[id] == nil {
		a.chains[id] = map[uint64][]entry{}
	}
	a.chains[id][number] = append(a.chains[id][number], e)
}

// Chain is what a recorder closed for one store.
type Chain struct {
	Recorder string
	Store    string // empty for the default store
	// First and Last are the lowest and the highest number met; Recordings is how many
	// there are.
	First, Last uint64
	Recordings  int
	// Expired is how many are missing that may have been deleted when their time was over.
	Expired uint64
	// Problems say what is wrong, in the order of the numbers.
	Problems []string
}

// Name says which chain it is.
func (c *Chain) Name() string {
	if c.Store == "" {
		return "recorder " + c.Recorder
	}
	return fmt.Sprintf("recorder %s for store %s", c.Recorder, c.Store)
}

// Chains returns the chains of all recordings that were verified, sorted by name.
func (a *Audit) Chains() []Chain {
	var out []Chain
	for id, entries := range a.chains {
		out = append(out, a.chain(id, entries))
	}
	slices.SortFunc(out, func(x, y Chain) int {
		return cmp.Or(cmp.Compare(x.Recorder, y.Recorder), cmp.Compare(x.Store, y.Store))
	})
	return out
}

func (a *Audit) chain(id chainID, entries map[uint64][]entry) Chain {
	numbers := slices.Sorted(maps.Keys(entries))
	c := Chain{Recorder: id.recorder, Store: id.store, First: numbers[0], Last: numbers[len(numbers)-1]}
	var before *entry // the last one that was read
	var last uint64   // its number; what lies between is missing
	for _, n := range numbers {
		e := c.place(n, entries[n])
		if last != 0 && n > last+1 {
			a.gap(&c, last+1, n-1, before)
		}
		if e.read && before != nil && n == last+1 && before.read && e.preceding != before.digest {
			c.problem("session %s, number %d, follows a recording with the digest %s, and number %d, session %s, has %s",
				e.session, n, orNone(e.preceding), last, before.session, before.digest)
		}
		before, last = &e, n
	}
	return c
}

// place says what is wrong with the recordings that claim one number, and returns the one
// that the next has to follow.
func (c *Chain) place(n uint64, at []entry) entry {
	slices.SortFunc(at, func(x, y entry) int { return cmp.Compare(x.session, y.session) })
	chosen := at[0]
	for _, e := range at {
		if e.read {
			c.Recordings++
		}
		if e.read && !chosen.read {
			chosen = e
		}
	}
	if chosen.expired {
		c.Expired++
		return chosen
	}
	if !chosen.read {
		c.problem("session %s, number %d, is missing: its Session says that it was stored, and no final segment of a recorder is there", chosen.session, n)
		return chosen
	}
	for _, e := range at {
		switch {
		case !e.read || e.session == chosen.session && e.digest == chosen.digest:
		case e.digest == chosen.digest:
			c.problem("number %d is there twice: as session %s and as session %s", n, chosen.session, e.session)
		default:
			c.problem("number %d was given twice, to session %s and to session %s: the chain is forked", n, chosen.session, e.session)
		}
	}
	return chosen
}

// gap says that numbers are missing behind one that is there.
func (a *Audit) gap(c *Chain, first, last uint64, before *entry) {
	switch {
	case before.expired, before.read && a.old(c.Store, before.signed):
		c.Expired += last - first + 1
	case first == last:
		c.problem("session number %d is missing", first)
	default:
		c.problem("sessions number %d to %d are missing", first, last)
	}
}

func (c *Chain) problem(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}
