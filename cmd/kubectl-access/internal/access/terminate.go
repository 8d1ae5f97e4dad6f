package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/terminal"
)

// maxTerminateWait bounds how long the end of a session is waited for.
const maxTerminateWait = 10 * time.Minute

func (p *plugin) terminate() *cobra.Command {
	wait := 30 * time.Second
	cmd := &cobra.Command{
		Use:     "terminate SESSION",
		Short:   "End a live session at once; its grant stays",
		Long:    "End a live session at once, and wait until it has ended. Its grant stays, so that its subject may connect again: `kubectl access revoke` ends the grant.",
		Example: "  kubectl access terminate report-agent-x7k2p -n shop-gate",
		Args:    one("session", "sessions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 || wait > maxTerminateWait {
				return fmt.Errorf("--wait %s: choose 0 to %s", wait, maxTerminateWait)
			}
			return p.terminateSession(cmd.Context(), args[0], wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait for its end; 0 for not at all")
	return cmd
}

func (p *plugin) terminateSession(ctx context.Context, name string, wait time.Duration) error {
	if err := checkSession(name); err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	s := &v1alpha1.Session{}
	s.Namespace, s.Name = c.namespace, name
	// Blind, so that nothing can come between. The answer says whether it had ended before.
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"desiredState":"Terminated"}}`))
	if err := c.Patch(ctx, s, patch, client.FieldOwner("kubectl-access")); err != nil {
		return c.explain(err, "session", name, "sessions", "cardea-admin")
	}
	if s.Status.EndedAt != nil {
		_, err = fmt.Fprintf(p.Out, "session %s ended before, %s ago: %s\n", Safe(name, false), p.age(s.Status.EndedAt.Time), Safe(s.Status.EndReason, false))
		return err
	}
	if wait == 0 {
		_, err = fmt.Fprintf(p.Out, "session %s is to end\n", Safe(name, false))
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for s.Status.EndedAt == nil {
		if err := terminal.Sleep(ctx, terminateInterval); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("session %s was told to end and has not said within %s that it did: is its proxy %s there? `kubectl access revoke %s` shuts the grant too",
					name, wait, s.Spec.Proxy, s.Spec.GrantRef.Name)
			}
			return err
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil && ctx.Err() == nil {
			return c.explain(err, "session", name, "sessions", "cardea-admin")
		}
	}
	_, err = fmt.Fprintf(p.Out, "session %s ended: %s\n", Safe(name, false), Safe(s.Status.EndReason, false))
	return err
}

// terminateInterval is how often is asked whether a session has ended.
const terminateInterval = 200 * time.Millisecond
