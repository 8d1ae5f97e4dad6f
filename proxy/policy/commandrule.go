package policy

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Bounds of approval terms, the same as in the API's schema.
const (
	maxRequired  = 8
	maxApprovers = 32
	minTimeout   = 10 * time.Second
	maxTimeout   = 24 * time.Hour
)

// commandRule is one compiled CommandRule.
type commandRule struct {
	source
	action  v1alpha1.RuleAction
	matches []match
	terms   *v1alpha1.ApprovalTerms
	message string
}

func compileCommandRule(r *v1alpha1.CommandRule, root bool) (*commandRule, error) {
	c := &commandRule{
		source:  source{root, v1alpha1.RuleReference{Kind: string(v1alpha1.RuleKindCommand), Namespace: r.Namespace, Name: r.Name}},
		action:  r.Spec.Action,
		terms:   r.Spec.Approval,
		message: Printable(r.Spec.Message, maxShownText),
	}
	switch r.Spec.Action {
	case v1alpha1.ActionDeny, v1alpha1.ActionAudit, v1alpha1.ActionAllow:
		if r.Spec.Approval != nil {
			return nil, errors.New("spec.approval: only with action RequireApproval")
		}
	case v1alpha1.ActionRequireApproval:
		if err := checkTerms(r.Spec.Approval); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("spec.action: %q is not Deny, RequireApproval, Audit or Allow", r.Spec.Action)
	}
	if n := len(r.Spec.Match); n == 0 || n > maxMatches {
		return nil, fmt.Errorf("spec.match: must have 1 to %d items", maxMatches)
	}
	for i, m := range r.Spec.Match {
		compiled, err := compileMatch(m, r.Spec.Action == v1alpha1.ActionAllow)
		if err != nil {
			return nil, fmt.Errorf("spec.match[%d]: %w", i, err)
		}
		c.matches = append(c.matches, compiled)
	}
	return c, nil
}

func checkTerms(t *v1alpha1.ApprovalTerms) error {
	if t == nil {
		return errors.New("spec.approval: must be set with action RequireApproval")
	}
	if t.Required < 1 || t.Required > maxRequired {
		return fmt.Errorf("spec.approval.required: must be 1 to %d", maxRequired)
	}
	if n := len(t.Approvers); n == 0 || n > maxApprovers {
		return fmt.Errorf("spec.approval.approvers: must have 1 to %d items", maxApprovers)
	}
	for i, a := range t.Approvers {
		if err := checkSubject(a); err != nil {
			return fmt.Errorf("spec.approval.approvers[%d]: %w", i, err)
		}
	}
	if t.Timeout.Duration < minTimeout || t.Timeout.Duration > maxTimeout {
		return errors.New("spec.approval.timeout: must be between 10s and 24h")
	}
	if !isWhilePending(t.WhilePending) {
		return fmt.Errorf("spec.approval.whilePending: %q is not Wait or Reject", t.WhilePending)
	}
	if !isWhilePending(t.InTransaction) {
		return fmt.Errorf("spec.approval.inTransaction: %q is not Wait or Reject", t.InTransaction)
	}
	return nil
}

func isWhilePending(w v1alpha1.WhilePending) bool {
	return w == v1alpha1.PendingWait || w == v1alpha1.PendingReject
}

// selectorOf compiles a rule's or lock's selector.
func selectorOf(s *metav1.LabelSelector) (labels.Selector, error) {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, fmt.Errorf("the label selector is wrong: %w", err)
	}
	return sel, nil
}

// governs reports whether some item of the rule governs a command. An error says that it
// does for want of an answer alone: an expression could not be evaluated.
func (r *commandRule) governs(q *question) (bool, error) {
	var undecided error
	for i := range r.matches {
		switch governs, err := r.matches[i].matches(q); {
		case governs && err == nil:
			return true, nil
		case governs && undecided == nil:
			undecided = err
		}
	}
	return undecided != nil, undecided
}

// admits reports whether one item of the rule admits node n of a command.
func (r *commandRule) admits(n *sql.Node, q *question) bool {
	for i := range r.matches {
		if r.matches[i].admits(n, q) {
			return true
		}
	}
	return false
}

// admitsFunctions reports whether one item admits node n and names every function.
func (r *commandRule) admitsFunctions(n *sql.Node, q *question) bool {
	for i := range r.matches {
		if r.matches[i].admitsFunctions(q.facts) && r.matches[i].admits(n, q) {
			return true
		}
	}
	return false
}
