package access

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// tailInterval is how often the store is looked at.
const tailInterval = time.Second

func (p *plugin) tail() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "tail SESSION",
		Short: "Follow a live session",
		Long: "Show what is stored of a session, and go on as more is stored, until it ends. A live session is stored after 2 to 30 seconds,\n" +
			"and sooner while much happens: nothing is shown before. The recording is verified on the way.",
		Example: "  kubectl access tail report-agent-x7k2p -n shop-gate",
		Args:    one("session", "sessions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output != "" && o.output != "json" {
				return fmt.Errorf("-o %s is unknown: choose json, which prints one event on each line", o.output)
			}
			return p.tailSession(cmd.Context(), args[0], o)
		},
	}
	o.place.flags(cmd)
	o.signers(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json prints one event on each line")
	return cmd
}

func (p *plugin) tailSession(ctx context.Context, session string, o replayOptions) error {
	a, r, err := p.look(ctx, o.place, session)
	if err != nil {
		return err
	}
	if r.session == nil {
		// Nobody says any more that it goes on: there is what there is.
		result, err := r.read(ctx, p.show(o))
		if err != nil {
			return a.explain(err, session)
		}
		if err := nothing(r, result); err != nil {
			return err
		}
		return p.verdict(result, nil, o)
	}
	_, _ = fmt.Fprintln(p.ErrOut, "A live session is stored after 2 to 30 seconds; what happens now appears then. Ctrl-C ends this, and not the session.")
	last := false
	result, err := recording.Follow(ctx, unstored{r.source}, session, r.trust, func(ctx context.Context) (bool, error) {
		if last {
			return false, nil
		}
		if err := terminal.Sleep(ctx, tailInterval); err != nil {
			return false, err
		}
		now, err := a.find(ctx, session)
		if err != nil {
			return false, err
		}
		// One more look behind the end, for what was stored before it was said.
		r, last = now, now.session == nil || ended(now.anchor())
		return true, nil
	}, p.show(o))
	if err != nil {
		return a.explain(err, session)
	}
	return p.verdict(result, statusOf(r.session), o)
}

// ended reports whether nothing more will be stored of a recording.
func ended(a recording.Anchor) bool { return a.Ended || a.Lost }

// unstored is a source for which a recording that has not begun is an empty one.
type unstored struct{ recording.Source }

// List implements recording.Source.
func (u unstored) List(ctx context.Context, session string) ([]recording.Ref, error) {
	refs, err := u.Source.List(ctx, session)
	if isNotFound(err) {
		return nil, nil
	}
	return refs, err
}
