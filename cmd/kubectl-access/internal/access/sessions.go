package access

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// listing is what the listing commands share.
type listing struct {
	all    bool
	output string
}

func (l *listing) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&l.all, "all-namespaces", "A", false, "list over all namespaces")
	cmd.Flags().StringVarP(&l.output, "output", "o", "", "json, yaml or wide")
}

// print prints the objects, or rows made of them.
func (p *plugin) print(l listing, objects []any, none string, header []string, rows [][]string) error {
	switch l.output {
	case "json", "yaml":
		if objects == nil {
			objects = []any{}
		}
		return p.printObject(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects}, l.output)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(p.ErrOut, none)
		return err
	}
	return table(p.Out, screenOf(p.Out), header, rows)
}

// columns drops what a listing does not show: the namespace of one namespace, and the wide
// columns at the end.
func (l listing) columns(row []string, wide int) []string {
	if l.output != "wide" {
		row = row[:len(row)-wide]
	}
	if !l.all {
		row = row[1:]
	}
	return row
}

// state is the reason of the Ready condition.
func state(conditions []metav1.Condition, unknown string) string {
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil && c.Reason != "" {
		return c.Reason
	}
	return unknown
}

// sessionListing is what the sessions command is asked.
type sessionListing struct {
	listing
	selection
	place
	pruned bool
}

func (p *plugin) sessions() *cobra.Command {
	var o sessionListing
	cmd := &cobra.Command{
		Use:     "sessions",
		Aliases: []string{"session"},
		Short:   "List sessions: who connected to what, and what became of their commands",
		Long: "List sessions: who connected to what, and what became of their commands.\n" +
			"--text and --decision Approved look into recordings, and into those alone that the other flags choose.",
		Example: "  kubectl access sessions -n shop-gate --target orders-db --since 24h\n" +
			"  kubectl access sessions -n shop-gate --decision Denied --since 2026-11-20 --until 2026-11-21\n" +
			"  kubectl access sessions -n shop-gate --text 'drop table' --pruned",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(o.output); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			if o.all && (o.pruned || o.dir != "") {
				return errors.New("-A goes with neither --pruned nor --dir: look at one namespace at a time")
			}
			return p.listSessions(cmd.Context(), &o)
		},
	}
	o.listing.flags(cmd)
	o.selection.flags(cmd, p.clock)
	o.place.flags(cmd)
	cmd.Flags().StringVar(&o.text, "text", "", "only sessions with this in a command or its parameters, whatever the case")
	cmd.Flags().BoolVar(&o.pruned, "pruned", false, "also sessions of which only the recording is left")
	return cmd
}

func (p *plugin) listSessions(ctx context.Context, o *sessionListing) error {
	a, err := p.open(o.place)
	if err != nil {
		return err
	}
	if c, ok := a.(*clusterArchive); ok {
		c.all = o.all
	}
	var objects []any
	var rows [][]string
	err = a.each(ctx, o.pruned, func(r recorded) error {
		s, chosen, err := o.chooses(ctx, r, false)
		if err != nil {
			return a.explain(err, r.name)
		}
		if chosen {
			s.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Session"))
			objects = append(objects, s)
			rows = append(rows, o.columns(p.sessionRow(s), 5))
		}
		return nil
	})
	if err != nil {
		return err
	}
	header := o.columns([]string{"NAMESPACE", "NAME", "SUBJECT", "TARGET", "STATE", "STARTED", "ENDED", "FORWARDED", "DENIED", "HELD", "RECORDING",
		"GRANT", "CLIENT", "PROXY", "CONNECTIONS", "REASON"}, 5)
	return p.print(o.listing, objects, "No sessions found. -A lists over all namespaces, -n chooses one.", header, rows)
}

func (p *plugin) sessionRow(s *v1alpha1.Session) []string {
	ended := ""
	if s.Status.EndedAt != nil {
		ended = p.age(s.Status.EndedAt.Time) + " ago"
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return []string{s.Namespace, s.Name, s.Spec.Subject.Name, s.Spec.TargetRef.Name, state(s.Status.Conditions, "Unknown"),
		p.age(s.Spec.StartedAt.Time) + " ago", ended,
		n(s.Status.Commands.Forwarded), n(s.Status.Commands.Denied), n(s.Status.Commands.Held), string(s.Status.Recording.State),
		s.Spec.GrantRef.Name, s.Spec.Client, s.Spec.Proxy, n(s.Status.Connections), s.Status.EndReason}
}
