package explain

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// Explain says what would happen to a text in a session: a statement, or, with a Target of
// Kubernetes or SSH, a command in a container or on a host as a shell would be given it. db may be nil. An error says
// that there is no answer; a session that is refused is one.
func Explain(ctx context.Context, in policy.Input, s Session, text []byte, db *Database, now time.Time) (*Report, error) {
	r := &Report{Target: s.Target, Grant: s.Grant, Access: s.Access, Database: s.Database}
	a, err := s.admit(in, now)
	refusal := new(policy.Refusal)
	switch {
	case errors.As(err, &refusal) && refusal.Code != policy.CodeTargetShut:
		r.refused(refusal)
		return r, nil
	case err != nil:
		return nil, err
	}
	r.Target = a.Target.Namespace + "/" + a.Target.Name
	switch {
	case a.Grant.Spec.Kubernetes != nil:
		r.command(a, string(text))
		return r, nil
	case a.Grant.Spec.SSH != nil:
		r.onHost(a, string(text))
		return r, nil
	}
	r.Access, r.Database = string(a.Grant.Spec.Postgres.Access), a.Request.Database
	return r, r.statement(ctx, a, s.InTransaction, text, db)
}

// command says what would happen to a command in a container of any pod of the grant's first
// namespace.
func (r *Report) command(a *policy.Admission, text string) {
	spec := a.Grant.Spec.Kubernetes
	r.Access, r.Namespace = string(spec.Exec), spec.Namespaces[0]
	facts := shell.Line(text, shell.POSIX)
	e := policy.Explain(a.Rules, &policy.Command{Engine: a.Request.Engine, Text: []byte(text), Kubernetes: &kubeapi.Facts{
		Known: true, Verb: "create", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: r.Namespace,
		Shell: facts, Stream: &kubeapi.Stream{Stdout: true}, Pods: &kubeapi.Pods{Known: true}}})
	r.takeDecision(e)
	r.programs(facts)
}

// onHost says what would happen to a command on the host of an SSH Target.
func (r *Report) onHost(a *policy.Admission, text string) {
	r.Access, r.Login = string(a.Grant.Spec.SSH.Terminal), a.Request.Login
	facts := shell.Line(text, shell.Login)
	r.takeDecision(policy.Explain(a.Rules, &policy.Command{Engine: a.Request.Engine, Text: []byte(text),
		SSH: &sshapi.Facts{Known: true, Channel: v1alpha1.SSHExec, Login: r.Login, Shell: facts}}))
	r.programs(facts)
}

// programs says what a command would start.
func (r *Report) programs(facts *shell.Facts) {
	r.Understood, r.Unknown = facts.Known, facts.Unknown
	for _, c := range facts.Commands {
		p := Program{Transparent: c.Transparent, Opaque: c.Opaque}
		for _, w := range c.Words {
			p.Words = append(p.Words, w.Text)
		}
		for _, f := range c.Files {
			p.Files = append(p.Files, f.Path.Text)
		}
		r.Programs = append(r.Programs, p)
	}
}
