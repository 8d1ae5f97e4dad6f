package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
)

// requestState is what has become of a request, read from the decisions themselves: the
// condition is the operator's, which may be down.
func requestState(r *v1alpha1.ApprovalRequest, now time.Time) string {
	if r.Spec.Kind == v1alpha1.RequestGrant {
		return approval.Assess(r, now).Reason // several quorums
	}
	approved, denied := 0, false
	for _, d := range r.Status.Decisions {
		if d.Decision == v1alpha1.DecisionApproved {
			approved++
		} else {
			denied = true
		}
	}
	switch {
	case r.Status.Consumed != nil:
		return v1alpha1.ReasonConsumed
	case r.Status.WithdrawnAt != nil:
		return v1alpha1.ReasonWithdrawn
	case denied:
		return v1alpha1.ReasonDenied
	case !now.Before(r.Spec.ExpiresAt.Time):
		return v1alpha1.ReasonExpired
	case approved >= int(r.Spec.Required):
		return v1alpha1.ReasonApproved
	}
	return v1alpha1.ReasonPending
}

// question is what a request asks: the command, or the grant as YAML.
func question(r *v1alpha1.ApprovalRequest) string {
	if r.Spec.Grant != nil {
		return r.Spec.Grant.Text
	}
	return r.Spec.Command.Text
}

// gist is a question in one line: of a grant what it permits and for how long, since who asks
// for what and why have columns of their own.
func gist(r *v1alpha1.ApprovalRequest) string {
	text, fields := question(r), map[string]any{}
	if r.Spec.Grant != nil && yaml.Unmarshal([]byte(text), &fields) == nil {
		for _, column := range []string{"credentials", "reason", "subject", "target"} {
			delete(fields, column)
		}
		if short, err := json.Marshal(fields); err == nil {
			text = "grant " + string(short)
		}
	}
	return cut(strings.Join(strings.Fields(text), " "), 100)
}

func (p *plugin) requests() *cobra.Command {
	var l listing
	var every, follow bool
	cmd := &cobra.Command{
		Use:     "requests",
		Short:   "List the commands and the grants that wait for approval",
		Example: "  kubectl access requests -n shop-gate --watch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(l.output); err != nil {
				return err
			}
			if follow && (l.output == "json" || l.output == "yaml") {
				return errors.New("--watch prints lines: leave out -o " + l.output)
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			if follow {
				err = p.watchRequests(cmd.Context(), c, l, every)
			} else {
				err = p.listRequests(cmd.Context(), c, l, every)
			}
			return c.explain(err, "request", "", "requests", "cardea-approver")
		},
	}
	l.flags(cmd)
	cmd.Flags().BoolVar(&every, "all", false, "list also those that are decided or lapsed")
	cmd.Flags().BoolVarP(&follow, "watch", "w", false, "go on printing requests as they come")
	return cmd
}

func (p *plugin) listRequests(ctx context.Context, c *cluster, l listing, every bool) error {
	var objects []any
	var rows [][]string
	list := &v1alpha1.ApprovalRequestList{}
	err := c.each(ctx, list, l.all, func() error {
		for _, r := range list.Items {
			if !every && requestState(&r, p.clock.Now()) != v1alpha1.ReasonPending {
				continue
			}
			r.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ApprovalRequest"))
			objects = append(objects, r)
			rows = append(rows, l.columns(p.requestRow(&r), 3))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.print(l, objects, "No requests wait for approval. --all lists decided ones too, -A over all namespaces.", l.columns(requestHeader(), 3), rows)
}

func requestHeader() []string {
	return []string{"NAMESPACE", "NAME", "REQUESTER", "TARGET", "STATE", "APPROVALS", "LEFT", "ROWS", "COMMAND", "RULE", "GRANT", "REASON"}
}

func (p *plugin) requestRow(r *v1alpha1.ApprovalRequest) []string {
	now := p.clock.Now()
	approvals := 0
	for _, d := range r.Status.Decisions {
		if d.Decision == v1alpha1.DecisionApproved {
			approvals++
		}
	}
	left := ""
	if d := r.Spec.ExpiresAt.Sub(now); d > 0 {
		left = p.age(now.Add(-d))
	}
	return []string{r.Namespace, r.Name, r.Spec.Requester, r.Spec.TargetRef.Name, requestState(r, now), fmt.Sprintf("%d/%d", approvals, r.Spec.Required),
		left, estimatedRows(r), gist(r), r.Spec.Rule.Name, r.Spec.GrantRef.Name, r.Spec.Reason}
}

// estimatedRows is how many rows the command is expected to be about.
func estimatedRows(r *v1alpha1.ApprovalRequest) string {
	if n := r.Spec.Command.EstimatedRows; n != nil {
		return fmt.Sprintf("~%d", *n)
	}
	return ""
}

// watchRequests prints what there is and then each request that comes or changes, until ctx
// ends. A watch that the server ends is begun again.
func (p *plugin) watchRequests(ctx context.Context, c *cluster, l listing, every bool) error {
	out := columns{screen: screenOf(p.Out)}
	rows := [][]string{l.columns(requestHeader(), 3)}
	shown := map[string]string{} // the state last printed, by UID
	for {
		var options []client.ListOption
		if !l.all {
			options = append(options, client.InNamespace(c.namespace))
		}
		// Without a resourceVersion the watch begins with what there is.
		w, err := c.Watch(ctx, &v1alpha1.ApprovalRequestList{}, options...)
		if err != nil {
			return err
		}
		err = p.follow(ctx, w, func(r *v1alpha1.ApprovalRequest) error {
			row := p.requestRow(r)
			now, key := row[4]+row[5], string(r.UID)
			_, known := shown[key]
			if shown[key] == now || (!every && !known && row[4] != v1alpha1.ReasonPending) {
				return nil
			}
			shown[key] = now
			err := out.print(p.Out, append(rows, l.columns(row, 3)))
			rows = nil
			return err
		})
		w.Stop()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// follow calls each for every object of a watch until it ends.
func (p *plugin) follow(ctx context.Context, w watch.Interface, each func(*v1alpha1.ApprovalRequest) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			r, ok := e.Object.(*v1alpha1.ApprovalRequest)
			if !ok || e.Type == watch.Deleted {
				continue
			}
			if err := each(r); err != nil {
				return err
			}
		}
	}
}
