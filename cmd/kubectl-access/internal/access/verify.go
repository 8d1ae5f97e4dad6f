package access

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// errUnproven says that a recording was not proven; what is wrong has been printed.
var errUnproven = errors.New("not every recording is what a recorder of the gate made")

// maxPrinted bounds what is printed of one recording.
const maxPrinted = 20

// verifyOptions are the flags of verify.
type verifyOptions struct {
	place
	all       bool
	retention time.Duration
}

func (p *plugin) verify() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [SESSION...]",
		Short: "Prove that recordings are what the gate recorded",
		Long: "Hold recordings to the signatures of the gate's recorders, to their manifests and to what their Sessions say. With --all also\n" +
			"whether one is missing: each recorder numbers what it closes. Nothing but the certificates of the gate's authorities is trusted;\n" +
			"keep your own copy and name it with --ca. If anything is wrong, it is said what and where, and the exit code is 1.",
		Example: "  kubectl access verify report-agent-x7k2p -n shop-gate\n" +
			"  kubectl access verify --all -n shop-gate --ca shop-gate-ca.crt\n" +
			"  kubectl access verify --all --dir ./manifests",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.all == (len(args) > 0) {
				return errors.New("name sessions, or all of them with --all; `kubectl access sessions` lists them")
			}
			return p.verifyRecordings(cmd.Context(), args, o)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "verify every recording of the namespace or folder, and that none is missing")
	o.signers(cmd)
	cmd.Flags().DurationVar(&o.retention, "retention", 0, "how long recordings are kept: older ones may be missing; else what the RecordingStores say, and of a folder all are kept")
	return cmd
}

// proof is one run of verify.
type proof struct {
	audit    recording.Audit
	t        *transcript
	verified int
	broken   int
}

func (p *plugin) verifyRecordings(ctx context.Context, sessions []string, o verifyOptions) error {
	for _, name := range sessions {
		if err := checkSession(name); err != nil {
			return err
		}
	}
	a, err := p.open(o.place)
	if err != nil {
		return err
	}
	v := &proof{t: &transcript{w: p.Out, screen: screenOf(p.Out)}}
	var from string
	if v.audit.Trust, from, err = p.trust(ctx, a, o.ca); err != nil {
		return err
	}
	now := p.clock.Now()
	if o.retention > 0 {
		v.audit.Kept = func(string) time.Time { return now.Add(-o.retention) }
	} else if v.audit.Kept, err = a.kept(ctx, now); err != nil {
		return err
	}
	if o.all {
		err = a.each(ctx, true, func(r recorded) error { return v.recording(ctx, a, r) })
	}
	for _, name := range sessions {
		var r recorded
		if r, err = a.find(ctx, name); err == nil {
			err = v.recording(ctx, a, r)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if o.all {
		v.chains()
	}
	v.t.line(fmt.Sprintf("%s verified with %s: %d broken", count(int64(v.verified), "recording"), Safe(from, false), v.broken))
	if v.broken > 0 {
		return errors.Join(errUnproven, v.t.err)
	}
	return v.t.err
}

// recording verifies one recording and says how it is.
func (v *proof) recording(ctx context.Context, a archive, r recorded) error {
	result, err := v.audit.Verify(ctx, r.source, r.name, r.anchor(), nil)
	if isNotFound(err) && r.session != nil {
		result, err = recording.Result{}, nil
	}
	if err != nil {
		return a.explain(err, r.name)
	}
	name := Safe(r.name, false)
	if !result.Intact() {
		v.verified++
		v.wrong(name+": "+read(result), len(result.Problems))
		for _, problem := range result.Problems[:min(len(result.Problems), maxPrinted)] {
			v.t.line("  " + Safe(problem.String(), false))
		}
		v.more(len(result.Problems))
		return v.t.err
	}
	switch {
	case result.Expired:
		v.t.line("EXPIRED " + name + ": its recording was kept for its time")
		return v.t.err
	case result.Segments == 0 && r.session != nil:
		v.t.line("EMPTY   " + name + ": nothing has been stored yet")
		return v.t.err
	case result.Segments == 0:
		return nothing(r, result)
	}
	v.verified++
	v.t.line(v.t.screen.paint(green, "INTACT") + "  " + name + ": " + read(result) + ", " + ending(result))
	return v.t.err
}

// ending says how an intact recording ends.
func ending(r recording.Result) string {
	switch m := r.Manifest; {
	case m != nil && r.Cut:
		return fmt.Sprintf("complete up to where the proxy died, closed as number %d of recorder %s", m.Number, m.Recorder)
	case m != nil:
		return fmt.Sprintf("complete, number %d of recorder %s", m.Number, m.Recorder)
	case r.Lost:
		return "the proxy was lost, and with it what was not stored yet"
	}
	return "the session is still open, more may come"
}

func (v *proof) wrong(what string, problems int) {
	v.broken++
	v.t.line(v.t.screen.paint(red, "BROKEN") + "  " + what + ", " + count(int64(problems), "problem"))
}

func (v *proof) more(problems int) {
	if problems > maxPrinted {
		v.t.line("  and " + strconv.Itoa(problems-maxPrinted) + " more")
	}
}

// chains says what is missing between recordings.
func (v *proof) chains() {
	for _, c := range v.audit.Chains() {
		what := fmt.Sprintf("%s: %s, number %d to %d", Safe(c.Name(), false), count(int64(c.Recordings), "recording"), c.First, c.Last)
		if c.Expired > 0 {
			what += fmt.Sprintf(", of which %d were kept for their time", c.Expired)
		}
		if len(c.Problems) == 0 {
			v.t.line(v.t.screen.paint(green, "INTACT") + "  " + what)
			continue
		}
		v.wrong(what, len(c.Problems))
		for _, problem := range c.Problems[:min(len(c.Problems), maxPrinted)] {
			v.t.line("  " + Safe(problem, false))
		}
		v.more(len(c.Problems))
	}
}

// anchorOf is what a Session says of its recording.
func anchorOf(s *v1alpha1.Session) recording.Anchor {
	if s == nil {
		return recording.Anchor{}
	}
	r := &s.Status.Recording
	a := recording.Anchor{Segments: int(r.Segments), Digest: r.Digest, Store: r.Store, Recorder: r.Recorder, Number: max(0, uint64(r.Number))} //nolint:gosec // not negative by its schema
	switch r.State {
	case v1alpha1.RecordingComplete:
		a.Ended = true
	case v1alpha1.RecordingCut:
		// The proxy that closes a recording says so; the operator says that nobody did.
		a.Ended, a.Lost = r.Number != 0, r.Number == 0
	case v1alpha1.RecordingOpen:
	}
	if _, held := s.Labels[v1alpha1.LabelLegalHold]; !held && s.Status.EndedAt != nil {
		// What is under legal hold never expires.
		a.EndedAt = s.Status.EndedAt.Time
	}
	return a
}
