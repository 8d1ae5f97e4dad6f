package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// found is one terminal of a session.
type found struct {
	number        uint64 // of its command
	command       string
	start, end    time.Time
	width, height int // as it began
}

// String says which one it is.
func (f found) String() string {
	size := ""
	if f.width > 0 {
		size = fmt.Sprintf(", %dx%d", f.width, f.height)
	}
	return fmt.Sprintf("#%d %s (%s%s)", f.number, cut(Safe(f.command, false), 60), f.end.Sub(f.start).Round(time.Second), size)
}

// maxTerminals bounds how many terminals of a session are looked at.
const maxTerminals = 10000

// terminals reads a recording and returns the terminals in it, in the order in which they began.
func terminals(ctx context.Context, r recorded) ([]found, recording.Result, error) {
	var frames terminal.Frames
	var all []found
	at := map[uint64]int{}
	result, err := r.read(ctx, func(e recording.Entry) error {
		for _, f := range frames.Of(e) {
			if f.Kind == terminal.Started && len(all) < maxTerminals {
				at[f.Terminal] = len(all)
				all = append(all, found{number: f.Terminal, command: f.Text, start: f.Time})
			}
			i, ok := at[f.Terminal]
			if !ok {
				continue
			}
			all[i].end = f.Time
			if f.Kind == terminal.Resized && all[i].width == 0 {
				all[i].width, all[i].height = f.Width, f.Height
			}
		}
		return nil
	})
	return all, result, err
}

// chosen returns the terminals that are asked for: one by its number, or all.
func chosen(all []found, number uint64, session string) ([]found, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("session %s has no terminal: `kubectl access replay %s` shows what was done", session, session)
	}
	if number == 0 {
		return all, nil
	}
	for _, f := range all {
		if f.number == number {
			return []found{f}, nil
		}
	}
	return nil, fmt.Errorf("session %s has no terminal #%d, but %s", session, number, list(all))
}

// list names terminals.
func list(all []found) string {
	names := make([]string, 0, min(len(all), 20))
	for _, f := range all[:min(len(all), 20)] {
		names = append(names, f.String())
	}
	return strings.Join(names, "; ")
}

// frames calls each with what happened to one terminal, to its end.
func (f found) frames(ctx context.Context, r recorded, each func(terminal.Frame) error) error {
	var frames terminal.Frames
	_, err := r.read(ctx, func(e recording.Entry) error {
		for _, frame := range frames.Of(e) {
			if frame.Terminal != f.number {
				continue
			}
			if err := each(frame); err != nil {
				return err
			}
			if frame.Kind == terminal.Ended {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// playOptions are the flags of replay that are about terminals.
type playOptions struct {
	play     bool
	terminal uint64
	speed    float64
	idle     time.Duration
	at       time.Duration
}

func (o *playOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.play, "play", false, "play the terminals of the session, one after the other")
	cmd.Flags().Uint64Var(&o.terminal, "terminal", 0, "play only the terminal of the command with this number")
	cmd.Flags().Float64Var(&o.speed, "speed", 1, "play so many times as fast")
	cmd.Flags().DurationVar(&o.idle, "idle-limit", 0, "shorten pauses to this, for example 2s")
	cmd.Flags().DurationVar(&o.at, "at", 0, "play from this time after the beginning of the terminal; what came before appears at once")
}

// check refuses what cannot be played. Any of the flags asks for playing.
func (o *playOptions) check(cmd *cobra.Command) error {
	for _, name := range []string{"terminal", "speed", "idle-limit", "at"} {
		o.play = o.play || cmd.Flags().Changed(name)
	}
	switch {
	case !(o.speed >= 0.01 && o.speed <= 1e6):
		return fmt.Errorf("--speed %g: choose 0.01 to 1000000", o.speed)
	case o.idle < 0 || o.at < 0:
		return errors.New("--idle-limit and --at are not negative")
	}
	return nil
}

// playSession plays the terminals of a session.
func (p *plugin) playSession(ctx context.Context, session string, o replayOptions) error {
	a, r, err := p.look(ctx, o.place, session)
	if err != nil {
		return err
	}
	all, result, err := terminals(ctx, r)
	if err != nil {
		return a.explain(err, session)
	}
	if err := nothing(r, result); err != nil {
		return err
	}
	some, err := chosen(all, o.terminal, session)
	if err != nil {
		return err
	}
	if !result.Intact() {
		_, _ = fmt.Fprintln(p.ErrOut, "The recording fails verification: what is played may have been altered. The end says how.")
	}
	for _, f := range some {
		if err := p.playOne(ctx, r, f, o.playOptions); err != nil {
			return a.explain(err, session)
		}
	}
	o.output = "json" // the verdict does not belong to what was played
	return p.verdict(result, statusOf(r.session), o)
}

func (p *plugin) playOne(ctx context.Context, r recorded, f found, o playOptions) error {
	_, _ = fmt.Fprintf(p.ErrOut, "Terminal %s, from %s%s\n", f, f.start.UTC().Format(time.RFC3339), tooSmall(p.Out, f))
	player := terminal.NewPlayer(p.Out)
	player.Speed, player.Idle, player.At = o.speed, o.idle, o.at
	err := f.frames(ctx, r, func(frame terminal.Frame) error { return player.Frame(ctx, frame) })
	if _, werr := io.WriteString(p.Out, terminal.Restore); err == nil {
		err = werr
	}
	if left := player.Left(); left != "" {
		_, _ = fmt.Fprintln(p.ErrOut, "Left out, because it acts on a terminal and does not draw: "+left)
	}
	return err
}

// tooSmall says that what is played was made for a larger screen.
func tooSmall(w io.Writer, f found) string {
	file, ok := w.(*os.File)
	if !ok {
		return ""
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil || width >= f.width && height >= f.height {
		return ""
	}
	return fmt.Sprintf(", on a screen of %dx%d: enlarge yours of %dx%d to see it as it was", f.width, f.height, width, height)
}
