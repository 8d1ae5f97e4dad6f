package access

import (
	"context"
	"fmt"
	"strconv"
	"time"

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

// sessionFilter chooses sessions.
type sessionFilter struct {
	grant, target, subject string
	since                  time.Duration
}

func (f sessionFilter) matches(s *v1alpha1.Session, now time.Time) bool {
	switch {
	case f.grant != "" && s.Spec.GrantRef.Name != f.grant:
		return false
	case f.target != "" && s.Spec.TargetRef.Name != f.target:
		return false
	case f.subject != "" && s.Spec.Subject.Name != f.subject && s.Spec.Subject.Username() != f.subject:
		return false
	case f.since <= 0 || s.Status.EndedAt == nil:
		return true
	}
	return s.Status.EndedAt.After(now.Add(-f.since))
}

func (p *plugin) sessions() *cobra.Command {
	var l listing
	var f sessionFilter
	cmd := &cobra.Command{
		Use:     "sessions",
		Aliases: []string{"session"},
		Short:   "List sessions: who connected to what, and what became of their commands",
		Example: "  kubectl access sessions -n shop-gate --target orders-db --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(l.output); err != nil {
				return err
			}
			return p.listSessions(cmd.Context(), l, f)
		},
	}
	l.flags(cmd)
	cmd.Flags().StringVar(&f.grant, "grant", "", "only sessions of this AccessGrant")
	cmd.Flags().StringVar(&f.target, "target", "", "only sessions with this Target")
	cmd.Flags().StringVar(&f.subject, "subject", "", "only sessions of this subject, by its name or user name")
	cmd.Flags().DurationVar(&f.since, "since", 0, "only sessions that were open within this time, for example 24h")
	return cmd
}

func (p *plugin) listSessions(ctx context.Context, l listing, f sessionFilter) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	var objects []any
	var rows [][]string
	list := &v1alpha1.SessionList{}
	err = c.each(ctx, list, l.all, func() error {
		for _, s := range list.Items {
			if !f.matches(&s, p.clock.Now()) {
				continue
			}
			s.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Session"))
			objects = append(objects, s)
			rows = append(rows, l.columns(p.sessionRow(&s), 5))
		}
		return nil
	})
	if err != nil {
		return c.explain(err, "session", "", "sessions", "cardea-auditor")
	}
	header := l.columns([]string{"NAMESPACE", "NAME", "SUBJECT", "TARGET", "STATE", "STARTED", "ENDED", "FORWARDED", "DENIED", "HELD", "RECORDING",
		"GRANT", "CLIENT", "PROXY", "CONNECTIONS", "REASON"}, 5)
	return p.print(l, objects, "No sessions found. -A lists over all namespaces, -n chooses one.", header, rows)
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
