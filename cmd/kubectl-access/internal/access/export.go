package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/export"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// The formats of export.
const (
	formatCast  = "asciicast"
	formatLines = "jsonl"
	formatOCSF  = "ocsf"
	formatECS   = "ecs"
)

// exportOptions are the flags of export.
type exportOptions struct {
	place
	format   string
	terminal uint64
	folder   string
	typed    bool
}

func (p *plugin) export() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export SESSION",
		Short: "Write a recording in a format of other programs",
		Long: "Write a recording to standard output: as JSON lines of its events, as events of OCSF 1.2.0 or ECS 8.17 for a SIEM, or its\n" +
			"terminals as asciicast v2. The recording is verified on the way; if it is not intact the exit code is 2.",
		Example: "  kubectl access export report-agent-x7k2p --format ocsf -n shop-gate > session.jsonl\n" +
			"  kubectl access export host-agent-k2x9d --format asciicast --terminal 1 > shell.cast\n" +
			"  kubectl access export host-agent-k2x9d --format asciicast --output-dir casts",
		Args: one("session", "sessions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch o.format {
			case formatCast:
				return p.exportCasts(cmd.Context(), args[0], o)
			case formatLines, formatOCSF, formatECS:
				if o.terminal != 0 || o.folder != "" || o.typed {
					return errors.New("--terminal, --output-dir and --input are for --format asciicast")
				}
				return p.exportEvents(cmd.Context(), args[0], o)
			}
			return fmt.Errorf("--format %q is unknown: choose asciicast, jsonl, ocsf or ecs", o.format)
		},
	}
	o.flags(cmd)
	o.signers(cmd)
	cmd.Flags().StringVar(&o.format, "format", formatLines, "asciicast, jsonl, ocsf or ecs")
	cmd.Flags().Uint64Var(&o.terminal, "terminal", 0, "of asciicast: the terminal of the command with this number")
	cmd.Flags().StringVar(&o.folder, "output-dir", "", "of asciicast: write every terminal into a file of this folder")
	cmd.Flags().BoolVar(&o.typed, "input", false, "of asciicast: also what was typed, as far as it is recorded")
	return cmd
}

// jsonLines writes whole lines of JSON in which nothing acts upon a terminal.
type jsonLines struct{ io.Writer }

// Write implements io.Writer.
func (w jsonLines) Write(line []byte) (int, error) {
	if _, err := w.Writer.Write(safeJSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (p *plugin) exportEvents(ctx context.Context, session string, o exportOptions) error {
	a, r, err := p.look(ctx, o.place, session)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(jsonLines{p.Out})
	encoder.SetEscapeHTML(false)
	each, end := func(e recording.Entry) error { return encoder.Encode(e.Event) }, func() error { return nil }
	switch o.format {
	case formatOCSF:
		w := export.OCSF(encoder.Encode)
		each, end = w.Entry, w.Close
	case formatECS:
		w := export.ECS(encoder.Encode)
		each, end = w.Entry, w.Close
	}
	result, err := r.read(ctx, each)
	if err == nil {
		err = end()
	}
	if err != nil {
		return a.explain(err, session)
	}
	return p.exported(r, result)
}

// exported ends an export: what was read of the recording is judged on standard error.
func (p *plugin) exported(r recorded, result recording.Result) error {
	if err := nothing(r, result); err != nil {
		return err
	}
	return p.verdict(result, statusOf(r.session), replayOptions{output: "json"})
}

func (p *plugin) exportCasts(ctx context.Context, session string, o exportOptions) error {
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
	if o.folder == "" {
		if len(some) > 1 {
			return fmt.Errorf("session %s has %d terminals: choose one with --terminal, or name a folder with --output-dir for all: %s", session, len(some), list(some))
		}
		if err := p.cast(ctx, r, some[0], jsonLines{p.Out}, o); err != nil {
			return a.explain(err, session)
		}
		return p.exported(r, result)
	}
	for _, f := range some {
		if err := p.castFile(ctx, r, f, o); err != nil {
			return a.explain(err, session)
		}
	}
	return p.exported(r, result)
}

// castFile writes one terminal into a file of its own, which nobody else can read.
func (p *plugin) castFile(ctx context.Context, r recorded, f found, o exportOptions) error {
	if err := os.MkdirAll(o.folder, 0o700); err != nil {
		return err
	}
	path := filepath.Join(o.folder, fmt.Sprintf("%s-%d.cast", r.name, f.number))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = p.cast(ctx, r, f, jsonLines{file}, o)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		_, err = fmt.Fprintln(p.Out, path)
	}
	return err
}

func (p *plugin) cast(ctx context.Context, r recorded, f found, w io.Writer, o exportOptions) error {
	c := terminal.NewCast(w)
	c.Title, c.Typed = fmt.Sprintf("%s #%d", r.name, f.number), o.typed
	if err := f.frames(ctx, r, c.Frame); err != nil {
		return err
	}
	if left := c.Left(); left != "" {
		_, _ = fmt.Fprintf(p.ErrOut, "Left out of terminal #%d, because it acts on a terminal and does not draw: %s\n", f.number, left)
	}
	return nil
}
