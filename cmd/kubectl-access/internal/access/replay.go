package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	place
	playOptions
	verify bool
	output string
}

func (p *plugin) replay() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay SESSION",
		Short: "Show what was done in a session, and whether its recording is intact",
		Long: "Show every statement, decision and response of a session, as masked, and verify the recording on the way.\n" +
			"The last line says whether it is intact; if it is not, the exit code is 2.\n" +
			"--play shows terminals as they were, in their time, without the sequences that act on a terminal and do not draw.",
		Example: "  kubectl access replay report-agent-x7k2p -n shop-gate\n" +
			"  kubectl access replay report-agent-x7k2p --verify\n" +
			"  kubectl access replay report-agent-x7k2p --dir ./manifests\n" +
			"  kubectl access replay host-agent-k2x9d --play --speed 4 --idle-limit 2s",
		Args: one("session", "sessions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output != "" && o.output != "json" {
				return fmt.Errorf("-o %s is unknown: choose json, which prints one event on each line", o.output)
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.play {
				if o.verify || o.output != "" {
					return errors.New("playing goes with neither --verify nor -o")
				}
				return p.playSession(cmd.Context(), args[0], o)
			}
			return p.replaySession(cmd.Context(), args[0], o)
		},
	}
	o.place.flags(cmd)
	o.playOptions.flags(cmd)
	cmd.Flags().BoolVar(&o.verify, "verify", false, "print only whether the recording is intact")
	o.signers(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json prints one event on each line")
	return cmd
}

func (p *plugin) replaySession(ctx context.Context, session string, o replayOptions) error {
	a, r, err := p.look(ctx, o.place, session)
	if err != nil {
		return err
	}
	result, err := r.read(ctx, p.show(o))
	if err != nil {
		return a.explain(err, session)
	}
	if err := nothing(r, result); err != nil {
		return err
	}
	return p.verdict(result, statusOf(r.session), o)
}

// look opens an archive and finds a session in it, and whose signatures count.
func (p *plugin) look(ctx context.Context, at place, session string) (archive, recorded, error) {
	if err := checkSession(session); err != nil {
		return nil, recorded{}, err
	}
	a, err := p.open(at)
	if err != nil {
		return nil, recorded{}, err
	}
	r, err := a.find(ctx, session)
	if err != nil {
		return a, r, err
	}
	if r.trust, _, err = p.trust(ctx, a, at.ca); errors.Is(err, errNoAuthorities) {
		_, err = fmt.Fprintln(p.ErrOut, "Signatures are not held to the gate's authorities: "+Safe(err.Error(), true))
	}
	return a, r, err
}

// nothing is the error of a recording of which nothing was read.
func nothing(r recorded, result recording.Result) error {
	switch {
	case result.Segments != 0 || !result.Intact():
		return nil
	case r.session != nil:
		return fmt.Errorf("nothing of session %s has been stored yet: an open session is stored after seconds; try again", r.name)
	}
	return fmt.Errorf("there is no recording of session %s: `kubectl access sessions` lists sessions, and -n chooses another namespace", r.name)
}

func statusOf(s *v1alpha1.Session) *v1alpha1.SessionRecording {
	if s == nil {
		return nil
	}
	return &s.Status.Recording
}

// show returns what prints each event.
func (p *plugin) show(o replayOptions) func(recording.Entry) error {
	if o.verify {
		return func(recording.Entry) error { return nil }
	}
	if o.output == "json" {
		return func(e recording.Entry) error {
			text, err := json.Marshal(e.Event)
			if err != nil {
				return err
			}
			_, err = p.Out.Write(append(safeJSON(text), '\n'))
			return err
		}
	}
	t := &transcript{w: p.Out, screen: screenOf(p.Out)}
	return t.entry
}

// read says how much was read.
func read(r recording.Result) string {
	return count(int64(r.Segments), "segment") + ", " + count(int64(r.Events), "event") //nolint:gosec // far below the limit
}

// verdict prints whether the recording is intact, or everything that is wrong with it. It
// goes to the standard error beside JSON.
func (p *plugin) verdict(r recording.Result, status *v1alpha1.SessionRecording, o replayOptions) error {
	w := p.Out
	if o.output == "json" {
		w = p.ErrOut
	}
	t := &transcript{w: w, screen: screenOf(w)}
	if !o.verify && o.output != "json" {
		t.line("")
	}
	if !r.Intact() {
		t.line(t.screen.paint(red, "BROKEN: the recording was altered or is incomplete ("+read(r)+"):"))
		for _, problem := range r.Problems {
			t.line("  " + Safe(problem.String(), false))
		}
		return errors.Join(errBroken, t.err)
	}
	end := "complete"
	switch {
	case r.Lost:
		end = "the proxy was lost, and with it what was not stored yet"
	case r.Cut:
		end = "complete up to where the proxy died"
	case !r.Complete:
		end = "the session is still open, more may come"
	}
	t.line(t.screen.paint(green, "INTACT") + ": " + read(r) + ", " + end + ", digest " + r.Digest)
	switch {
	case status == nil:
		t.line("The Session object is gone or out of reach: only the recording's own chain was verified.")
	case !r.Complete && status.State == "":
		t.line("The Session has no word on its recording yet: only the recording's own chain was verified.")
	}
	return t.err
}
