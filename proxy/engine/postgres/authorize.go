package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/sql"
)

var errCanceled = &failure{state: stateCanceled, message: "canceling statement due to user request"}

// authorize decides on a command and holds it if a rule asks for that. of is what is
// known of the state that it is meant by; the target is asked if a rule needs more. k is
// renewed when a held command is released.
func (r *relay) authorize(ctx context.Context, cmd *policy.Command, k *known, of asOf) (session.Permit, error) {
	cmd.InTransaction = r.inTransaction()
	cmd.Context = r.base
	d := r.s.Decide(cmd)
	if d.Action == policy.RequireApproval {
		if of.changed {
			return session.Permit{}, r.refused(cmd.Text, k, changedSettings())
		}
		if of.meaning == nil {
			var err error
			if of.meaning, err = r.ask(ctx); err != nil {
				return session.Permit{}, r.refused(cmd.Text, k, err)
			}
			if cmd.EstimatedRows == nil && len(cmd.Parameters) == 0 {
				cmd.EstimatedRows = r.estimate(ctx, cmd.Text, k.facts, nil, nil)
			}
		}
		cmd.Context = of.meaning
	}
	h := &r.hold
	h.decision, h.command, h.known = d.Decision, cmd, k
	// From here on a cancel request is for the question, not for the target: a client may
	// cancel at the moment it is told that it waits, or before.
	r.held.Store(d.Action == policy.RequireApproval)
	permit, err := r.s.Authorize(r.wait, cmd, d, h.pending, h.refresh) //nolint:contextcheck // newWait makes it of ctx
	h.end()
	if r.wait.Err() != nil && ctx.Err() == nil {
		why := context.Cause(r.wait) //nolint:contextcheck // newWait makes it of ctx
		r.newWait(ctx)
		if permit.Valid() {
			return session.Permit{}, r.notForwarded(permit, why)
		}
		return session.Permit{}, why
	}
	if err != nil {
		return session.Permit{}, err
	}
	if k.stale(r.s.Admission()) {
		return session.Permit{}, r.notForwarded(permit, &policy.Refusal{Code: policy.CodeDefinitionChange,
			Message: "the policy changed while the command was decided on", Hint: "send it again"})
	}
	return permit, nil
}

// approved reports whether the command that was authorized last was approved. Its approval
// is used up by then, so that it is not tried with what may have to be tried again.
func (r *relay) approved() bool { return r.hold.decision.Action == policy.RequireApproval }

// inTransaction reports whether the next command stands in a transaction: one that is open,
// or that of the commands before it in the pipeline.
func (r *relay) inTransaction() bool {
	return r.check(func() bool { return r.status != idle || r.executes > 0 || r.running() })
}

// newWait makes the context of held commands anew.
func (r *relay) newWait(ctx context.Context) {
	wait, stop := context.WithCancelCause(ctx)
	r.wait = wait
	r.stopWait.Store(&stop)
}

// hold is the one command that may be held now.
type hold struct {
	relay    *relay
	decision policy.Decision
	command  *policy.Command
	known    *known
	stop     func()
	// pending and refresh are for Authorize, made once for all commands.
	pending func(request string, expires time.Time) error
	refresh func(ctx context.Context) (*sql.Facts, error)
}

func (h *hold) of(r *relay) {
	h.relay, h.pending, h.refresh = r, h.tell, h.analyze
}

// analyze establishes again what is known of the command, which is released.
func (h *hold) analyze(ctx context.Context) (*sql.Facts, error) {
	h.end()
	// What was known of it is of before it was held, and its approval is for one execution: it
	// is not to turn out later that it has to be analysed again.
	h.relay.catalog.Forget()
	again, err := h.relay.analyze(ctx, h.command.Text)
	if err != nil {
		return nil, err
	}
	*h.known = *again
	return h.known.facts, nil
}

// tell tells the client that its command is held and by whom it can be released, and
// begins to watch whether the client stays.
func (h *hold) tell(request string, expires time.Time) error {
	r := h.relay
	if r.pipeline == 0 {
		// What was permitted before does not wait for this one.
		if err := r.send(false); err != nil {
			return err
		}
	}
	a := r.s.Admission()
	rule := policy.RuleName(h.decision.Rule)
	message := fmt.Sprintf("%s: %s holds the command until ApprovalRequest %s is decided, at most until %s", policy.CodeApprovalPending, rule,
		request, expires.UTC().Format(time.RFC3339))
	if h.decision.Message != "" {
		message += ": " + h.decision.Message
	}
	f := &failure{state: "00000", message: message}
	if h.decision.Terms != nil {
		f.detail = fmt.Sprintf("%d of these may approve: %s.", max(h.decision.Terms.Required, 1), approvers(h.decision.Terms.Approvers))
	}
	f.hint = fmt.Sprintf(`kubectl patch apreq %s -n %s --subresource=status --type=merge -p '{"status":{"decisions":[{"decision":"Approved","comment":"ok"}]}}'`,
		request, a.Grant.Namespace)
	if err := r.notify(f.response(msgNotice, "NOTICE")); err != nil {
		return err
	}
	stop := *r.stopWait.Load()
	wait := r.wait
	h.stop = r.patient.watch(func(err error) { stop(err) }, func() bool { return !r.ending.Load() && !errors.Is(context.Cause(wait), errGone) })
	return nil
}

func (h *hold) end() {
	h.relay.held.Store(false)
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
}

func approvers(subjects []v1alpha1.Subject) string {
	names := make([]string, 0, len(subjects))
	for _, s := range subjects {
		name := string(s.Kind) + " " + s.Name
		if s.Namespace != "" {
			name = string(s.Kind) + " " + s.Namespace + "/" + s.Name
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// meantBy are the settings by which constants are read, and by which a write does more or
// less than it says.
var meantBy = []string{"DateStyle", "IntervalStyle", "TimeZone", "array_nulls", "default_text_search_config", "session_replication_role", "transform_null_equals", "xmloption"}

// meaningQuery asks for what gives a statement its meaning besides its text.
var meaningQuery = func() string {
	var names, values strings.Builder
	for i, name := range meantBy {
		if i > 0 {
			names.WriteString("; ")
		}
		names.WriteString(name + "=%s")
		values.WriteString(", pg_catalog.current_setting('" + name + "')")
	}
	return "SELECT CURRENT_USER::pg_catalog.text, pg_catalog.current_setting('search_path'), pg_catalog.current_schemas(true)::pg_catalog.text" +
		", pg_catalog.format('" + names.String() + "'" + values.String() + ")"
}()

// ask reads what gives a statement its meaning besides its text.
func (r *relay) ask(ctx context.Context) (map[string]string, error) {
	if r.check(func() bool { return r.status == failed }) {
		return r.base, nil
	}
	rows, err := r.Query(ctx, meaningQuery)
	if err != nil {
		return nil, r.unestablished(ctx, err)
	}
	if len(rows) != 1 || len(rows[0]) != 4 || slices.Contains(rows[0], nil) {
		return nil, r.unestablished(ctx, errMessage)
	}
	row := rows[0]
	return r.meaning(map[string]string{"role": r.up.stands(*row[0]), "searchPath": *row[1], "schemas": *row[2], "settings": *row[3]}), nil
}
