package access

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func (p *plugin) grants() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:     "grants",
		Aliases: []string{"grant"},
		Short:   "List grants: who may reach what, and until when",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(l.output); err != nil {
				return err
			}
			return p.listGrants(cmd.Context(), l)
		},
	}
	l.flags(cmd)
	return cmd
}

func (p *plugin) listGrants(ctx context.Context, l listing) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	var objects []any
	var rows [][]string
	list := &v1alpha1.AccessGrantList{}
	err = c.each(ctx, list, l.all, func() error {
		for _, g := range list.Items {
			g.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessGrant"))
			objects = append(objects, g)
			rows = append(rows, l.columns(p.grantRow(&g), 2))
		}
		return nil
	})
	if err != nil {
		return c.explain(err, "grant", "", "grants", "cardea-auditor")
	}
	header := l.columns([]string{"NAMESPACE", "NAME", "SUBJECT", "TARGET", "STATE", "EXPIRES", "AGE", "CREATED-BY", "REASON"}, 2)
	return p.print(l, objects, "No grants found. -A lists over all namespaces, -n chooses one.", header, rows)
}

func (p *plugin) grantRow(g *v1alpha1.AccessGrant) []string {
	expires := ""
	if at := g.Status.ExpiresAt; at != nil {
		if left := at.Sub(p.clock.Now()); left > 0 {
			expires = "in " + p.age(p.clock.Now().Add(-left))
		} else {
			expires = p.age(at.Time) + " ago"
		}
	}
	return []string{g.Namespace, g.Name, g.Spec.Subject.Name, g.Spec.TargetRef.Name, state(g.Status.Conditions, v1alpha1.ReasonPending), expires,
		p.age(g.CreationTimestamp.Time), g.Annotations[v1alpha1.AnnotationCreatedBy], g.Spec.Reason}
}

func (p *plugin) revoke() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke GRANT",
		Short:   "Revoke a grant: its live sessions end at once, and it cannot be restored",
		Example: "  kubectl access revoke report-agent -n shop-gate",
		Args:    one("grant", "grants"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.revokeGrant(cmd.Context(), args[0])
		},
	}
}

func (p *plugin) revokeGrant(ctx context.Context, name string) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	g := &v1alpha1.AccessGrant{}
	g.Namespace, g.Name = c.namespace, name
	// Blind, so that it needs no right to read and nothing can come between.
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"desiredState":"Revoked"}}`))
	if err := c.Patch(ctx, g, patch, client.FieldOwner("kubectl-access")); err != nil {
		return c.explain(err, "grant", name, "grants", "cardea-admin")
	}
	_, err = fmt.Fprintf(p.Out, "grant %s revoked: its sessions end and its credential is removed\n", Safe(name, false))
	return err
}
