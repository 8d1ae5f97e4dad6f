package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// keep signs p and keeps it before the first attempt to store it.
func (t *tape) keep(p *parcel) error {
	s := t.spool
	path := s.path(t.started.Session, "pending")
	keep := func() error {
		key := s.c.Key()
		if key == nil {
			return errors.New("sign segment: the recorder has no key")
		}
		key.Sign(&p.Segment, s.c.Clock.Now())
		b, err := p.encode()
		if err != nil {
			return fmt.Errorf("encode segment: %w", err)
		}
		if err := s.writeWhole(path, b); err != nil {
			return fmt.Errorf("keep segment: %w", lost(err))
		}
		return nil
	}
	if p.Manifest == nil {
		return keep()
	}
	drop := func() error {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return s.chain.add(p, keep, drop, s.writeWhole)
}

// manifest sums up the recording that p ends; the chain adds to it. t.mu is held.
func (t *tape) manifest(p *parcel) *Manifest {
	return &Manifest{
		Namespace: t.started.Namespace, Store: t.started.Store, Grant: t.started.Grant, GrantUID: t.started.GrantUID,
		Target: t.started.Target, TargetUID: t.started.TargetUID,
		Begun: t.begun, Ended: t.last, Reason: t.reason, Recovered: t.progress.Cut, Tally: t.progress.Tally.plus(p.Tally),
	}
}
