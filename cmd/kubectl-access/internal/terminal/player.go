package terminal

import (
	"context"
	"io"
	"time"
)

// Player shows one terminal in the time that it took. Its methods are called by one goroutine.
type Player struct {
	// Speed divides every pause; 1 is as it was.
	Speed float64
	// Idle is the longest pause, before Speed; 0 for none.
	Idle time.Duration
	// At is from where it is played; what came before appears at once.
	At time.Duration
	// Sleep waits, and returns early with an error.
	Sleep func(ctx context.Context, d time.Duration) error

	w       io.Writer
	filter  Filter
	started time.Time
	last    time.Time
}

// NewPlayer returns a Player that shows on w.
func NewPlayer(w io.Writer) *Player { return &Player{w: w, Speed: 1, Sleep: Sleep} }

// gap stands where something appeared that was not recorded.
const gap = "\x1b[7m[not recorded]\x1b[27m"

// Frame shows what one frame says.
func (p *Player) Frame(ctx context.Context, f Frame) error {
	var show []byte
	switch f.Kind {
	case Started:
		p.started, p.last = f.Time, f.Time
		return nil
	case Shown:
		show = p.filter.Write(nil, f.Data)
	case Missing:
		show = []byte(gap)
	case Ended:
		show = p.filter.Close(nil)
	case Resized, Typed:
		return nil
	}
	if len(show) == 0 {
		return nil
	}
	if err := p.wait(ctx, f.Time); err != nil {
		return err
	}
	_, err := p.w.Write(show)
	return err
}

func (p *Player) wait(ctx context.Context, at time.Time) error {
	pause := at.Sub(p.last)
	if from := p.started.Add(p.At); p.last.Before(from) {
		pause = at.Sub(from)
	}
	p.last = at
	if p.Idle > 0 {
		pause = min(pause, p.Idle)
	}
	if pause = time.Duration(float64(pause) / p.Speed); pause <= 0 {
		return ctx.Err()
	}
	return p.Sleep(ctx, pause)
}

// Left says what was left out.
func (p *Player) Left() string { return p.filter.Left() }
