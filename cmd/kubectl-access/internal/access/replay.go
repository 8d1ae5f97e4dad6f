package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	fromDir string
	verify  bool
	output  string
}

func (p *plugin) replay() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay SESSION",
		Short: "Show what was done in a session, and whether its recording is intact",
		Long: "Show every statement, decision and response of a session, as masked, and verify the recording on the way.\n" +
			"The last line says whether it is intact; if it is not, the exit code is 2.",
		Example: "  kubectl access replay report-agent-x7k2p -n shop-gate\n" +
			"  kubectl access replay report-agent-x7k2p --verify\n" +
			"  kubectl access replay report-agent-x7k2p --from-dir ./manifests",
		Args: one("session", "sessions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output != "" && o.output != "json" {
				return fmt.Errorf("-o %s is unknown: choose json, which prints one event on each line", o.output)
			}
			return p.replaySession(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.fromDir, "from-dir", "", "read the recordings of a standalone proxy from this folder: its manifests' or the recordings' own")
	cmd.Flags().BoolVar(&o.verify, "verify", false, "print only whether the recording is intact")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json prints one event on each line")
	return cmd
}

func (p *plugin) replaySession(ctx context.Context, session string, o replayOptions) error {
	if !recording.ValidSession(session) {
		return fmt.Errorf("%q is not the name of a session; `kubectl access sessions` lists them", session)
	}
	var source recording.Source
	var status *v1alpha1.SessionRecording
	var err error
	if o.fromDir != "" {
		source, status, err = fromDir(o.fromDir, session)
	} else {
		source, status, err = p.fromCluster(ctx, session)
	}
	if err != nil {
		return err
	}
	result, err := recording.Read(ctx, source, session, anchorOf(status), p.show(o))
	if err != nil {
		return explainRead(err, session, o)
	}
	if result.Segments == 0 && result.Intact() {
		if status != nil {
			return fmt.Errorf("nothing of session %s has been stored yet: an open session is stored after seconds; try again", session)
		}
		return fmt.Errorf("there is no recording of session %s: `kubectl access sessions` lists sessions, and -n chooses another namespace", session)
	}
	return p.verdict(result, status, o)
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

// anchorOf is what a Session says of its recording.
func anchorOf(r *v1alpha1.SessionRecording) recording.Anchor {
	if r == nil {
		return recording.Anchor{}
	}
	ended := r.State == v1alpha1.RecordingComplete || r.State == v1alpha1.RecordingCut
	return recording.Anchor{Segments: int(r.Segments), Digest: r.Digest, Ended: ended}
}

// fromCluster reads ConfigMaps; the Session may have been pruned before its recording.
func (p *plugin) fromCluster(ctx context.Context, session string) (recording.Source, *v1alpha1.SessionRecording, error) {
	c, err := p.connect()
	if err != nil {
		return nil, nil, err
	}
	source := configmap.NewSource(c.core.CoreV1().RESTClient(), c.namespace)
	s := &v1alpha1.Session{}
	err = c.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: session}, s)
	if apierrors.IsNotFound(err) && !notInstalled(err) {
		return source, nil, nil
	}
	if err != nil {
		return nil, nil, c.explain(err, "session", session, "sessions", "cardea-auditor")
	}
	return source, &s.Status.Recording, nil
}

// maxManifest bounds the size of a Session's file.
const maxManifest = 1 << 20

// fromDir reads what a standalone proxy keeps.
func fromDir(root, session string) (recording.Source, *v1alpha1.SessionRecording, error) {
	recordings := root
	if info, err := os.Stat(filepath.Join(root, ".recordings")); err == nil && info.IsDir() {
		recordings = filepath.Join(root, ".recordings")
	}
	if _, err := os.Stat(recordings); err != nil {
		return nil, nil, fmt.Errorf("read recordings: %w; --from-dir names the folder that the proxy was given as --manifests", err)
	}
	f, err := os.Open(filepath.Join(filepath.Dir(recordings), ".sessions", session+".yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return dir.New(recordings), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, nil, err
	}
	s := &v1alpha1.Session{}
	if err := yaml.UnmarshalStrict(text, s); err != nil {
		return nil, nil, fmt.Errorf("read the Session %s: %w", session, err)
	}
	return dir.New(recordings), &s.Status.Recording, nil
}

func explainRead(err error, session string, o replayOptions) error {
	switch {
	case errors.Is(err, recording.ErrNotFound):
		known := "there are none"
		if root, _, ferr := fromDir(o.fromDir, session); ferr == nil {
			if s, ok := root.(*dir.Store); ok {
				if sessions, serr := s.Sessions(); serr == nil && len(sessions) > 0 {
					known = strings.Join(sessions[:min(len(sessions), 20)], ", ")
				}
			}
		}
		return fmt.Errorf("there is no recording of session %s in %s; recordings: %s", session, o.fromDir, known)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; reading recordings needs the ClusterRole cardea-auditor: ask an administrator to bind it to you", err)
	}
	return err
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
