// Package access is the kubectl plugin: it asks for access, lists and replays sessions, decides on
// approval requests, revokes grants and explains what rules do to a statement.
//
// What it shows was written by those whom the gate keeps in check. Nothing of it reaches the
// terminal as a control sequence: see Safe.
package access

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
)

// The exit codes.
const (
	exitError  = 1
	exitBroken = 2 // a recording failed verification
	// What explain says of a statement, and request --wait of a grant.
	exitDenied         = 3
	exitApproval       = 4
	exitNotEstablished = 5
)

// errBroken says that a recording failed verification; what is wrong has been printed.
var errBroken = errors.New("the recording failed verification")

// plugin is what every command shares.
type plugin struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	clock clock.PassiveClock
}

// Main runs the plugin and returns its exit code.
func Main(streams genericiooptions.IOStreams, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := New(streams)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var outcome interface {
		error
		code() int
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBroken):
		return exitBroken
	case errors.Is(err, errNone), errors.Is(err, errUnproven):
		return exitError
	case errors.As(err, &outcome):
		return outcome.code()
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitError
	}
	_, _ = fmt.Fprintln(streams.ErrOut, "error: "+Safe(err.Error(), true))
	return exitError
}

// New returns the command tree.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	p := &plugin{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), clock: clock.RealClock{}}
	root := &cobra.Command{
		Use:               "kubectl-access",
		Short:             "Ask for access, decide on requests, see who reached what through the gate, revoke access",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl access"},
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	p.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(p.sessions(), p.replay(), p.verify(), p.export(), p.search(), p.tail(), p.terminate(), p.requests(), p.decide("approve"), p.decide("deny"), p.request(), p.grants(), p.revoke(), p.explain())
	return root
}

// one wants exactly one argument, called what, and says how to find it.
func one(what, list string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("name one %s; `kubectl access %s` lists them", what, list)
		}
		return nil
	}
}
