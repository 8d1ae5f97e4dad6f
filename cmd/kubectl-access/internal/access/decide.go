package access

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func (p *plugin) decide(verb string) *cobra.Command {
	decision, short := v1alpha1.DecisionApproved, "Approve one command or grant that waits for approval"
	if verb == "deny" {
		decision, short = v1alpha1.DecisionDenied, "Deny one command or grant that waits for approval: one denial decides"
	}
	var comment string
	cmd := &cobra.Command{
		Use:     verb + " REQUEST",
		Short:   short,
		Example: "  kubectl access " + verb + " x7k2p -n shop-gate --comment \"as discussed\"",
		Args:    one("request", "requests"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.connect()
			if err != nil {
				return err
			}
			return c.explain(p.decideOn(cmd.Context(), c, args[0], decision, comment), "request", args[0], "requests", "cardea-approver")
		},
	}
	cmd.Flags().StringVar(&comment, "comment", "", "shown to the requester, at most 1024 characters")
	return cmd
}

// decideOn adds the caller's decision, written out in full, to a request: the webhook that
// would complete it need not be there. Decisions of others that come in between are kept.
func (p *plugin) decideOn(ctx context.Context, c *cluster, name string, decision v1alpha1.DecisionValue, comment string) error {
	me, err := c.core.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("learn who you are: %w", err)
	}
	user := me.Status.UserInfo
	r := &v1alpha1.ApprovalRequest{}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := c.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: name}, r); err != nil {
			return err
		}
		mine := v1alpha1.ApprovalDecision{Approver: user.Username, Groups: user.Groups, Decision: decision, Comment: comment, Time: p.timeFor(r)}
		again, err := p.refuse(r, mine)
		if err != nil || again {
			return err
		}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": r.ResourceVersion},
			"status":   map[string]any{"decisions": append(r.Status.Decisions, mine)},
		})
		if err != nil {
			return err
		}
		return c.Status().Patch(ctx, r, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl-access"))
	})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("others decide on request %s at this moment: try again (%w)", name, err)
	}
	if err != nil {
		return err
	}
	return p.printDecision(r, decision)
}

// timeFor is the present, kept within the life of the request: this machine's clock may
// differ from the cluster's.
func (p *plugin) timeFor(r *v1alpha1.ApprovalRequest) *metav1.Time {
	now := p.clock.Now()
	if now.Before(r.CreationTimestamp.Time) {
		now = r.CreationTimestamp.Time
	}
	if now.After(r.Spec.ExpiresAt.Time) {
		now = r.Spec.ExpiresAt.Time
	}
	return &metav1.Time{Time: now.UTC().Truncate(time.Second)}
}

// refuse says why a request takes no decision of the caller; again is true if the very same
// decision is there already. The API server decides; this gives the better sentence.
func (p *plugin) refuse(r *v1alpha1.ApprovalRequest, mine v1alpha1.ApprovalDecision) (again bool, err error) {
	for _, d := range r.Status.Decisions {
		if d.Approver != mine.Approver {
			continue
		}
		if d.Decision == mine.Decision {
			return true, nil
		}
		return false, fmt.Errorf("you (%s) decided %s on request %s already, and a decision cannot be changed: "+
			"to stop what was approved, `kubectl access revoke %s`", mine.Approver, d.Decision, r.Name, r.Spec.GrantRef.Name)
	}
	switch s := requestState(r, p.clock.Now()); s {
	case v1alpha1.ReasonConsumed, v1alpha1.ReasonWithdrawn, v1alpha1.ReasonDenied:
		if r.Spec.Kind == v1alpha1.RequestGrant {
			return false, fmt.Errorf("request %s is closed (%s): if the grant is still wanted, the requester makes a new one, which makes a new request", r.Name, s)
		}
		return false, fmt.Errorf("request %s is closed (%s): if the command is still wanted, the requester sends it again, which makes a new request", r.Name, s)
	}
	if mine.Approver == r.Spec.Requester || mine.Approver == r.Spec.GrantCreator {
		return false, fmt.Errorf("you (%s) are the requester or made the grant, and may not decide on request %s: ask one of %s", mine.Approver, r.Name, names(r.Spec.Approvers))
	}
	return false, nil
}

func names(subjects []v1alpha1.Subject) string {
	list := make([]string, len(subjects))
	for i, a := range subjects {
		list[i] = string(a.Kind) + " " + a.Name
	}
	return strings.Join(list, ", ")
}

// printDecision shows what was decided on, so that a mistyped name does not go unnoticed.
func (p *plugin) printDecision(r *v1alpha1.ApprovalRequest, decision v1alpha1.DecisionValue) error {
	approvals := 0
	for _, d := range r.Status.Decisions {
		if d.Decision == v1alpha1.DecisionApproved {
			approvals++
		}
	}
	s := screenOf(p.Out)
	color, rest := red, ""
	if decision == v1alpha1.DecisionApproved {
		color, rest = green, fmt.Sprintf(" (%d of %d approvals)", approvals, r.Spec.Required)
	}
	t := transcript{w: p.Out, screen: s}
	t.line(s.paint(color, string(decision)) + rest + ": " + Safe(r.Name, false) + ", " + Safe(r.Spec.Requester, false) + " on " + Safe(r.Spec.TargetRef.Name, false))
	t.block(question(r))
	if len(r.Spec.Command.Parameters) > 0 {
		t.parameters(r.Spec.Command.Parameters)
	}
	return t.err
}
