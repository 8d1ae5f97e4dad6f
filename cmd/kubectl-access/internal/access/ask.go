package access

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// askFor completes what is asked with questions, where a person is there to answer them. It
// returns the Target; nil where the caller may not read it.
func (p *plugin) askFor(ctx context.Context, c *cluster, a *asking) (*v1alpha1.Target, error) {
	var ask *questions
	if f, ok := p.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) && a.output == "" {
		ask = &questions{from: bufio.NewReader(io.LimitReader(p.In, 64<<10)), to: p.ErrOut}
	}
	return p.complete(ctx, c, a, ask)
}

// complete asks for what is missing; ask is nil where nobody is there.
func (p *plugin) complete(ctx context.Context, c *cluster, a *asking, ask *questions) (*v1alpha1.Target, error) {
	if a.target == "" {
		if ask == nil {
			return nil, errors.New("name the Target, for example `kubectl access request orders-db`; `kubectl get targets` lists them")
		}
		if err := p.offer(ctx, c); err != nil {
			return nil, err
		}
		if err := ask.text("Target", "", &a.target); err != nil {
			return nil, err
		}
	}
	target := &v1alpha1.Target{}
	switch err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: a.target}, target); {
	case apierrors.IsForbidden(err):
		target = nil
	case apierrors.IsNotFound(err) && !notInstalled(err):
		return nil, fmt.Errorf("there is no Target %q in namespace %q: `kubectl get targets -A` lists them, and -n chooses another namespace", a.target, c.namespace)
	case err != nil:
		return nil, c.explain(err, "Target", a.target, "grants", "cardea-requester")
	}
	if ask != nil {
		if err := a.askWhat(ask, target); err != nil {
			return nil, err
		}
	}
	if strings.TrimSpace(a.reason) == "" {
		return nil, errors.New("say why, for approvers and auditors: --reason \"monthly report, OPS-1423\"")
	}
	return target, nil
}

// offer lists the Targets there are, if the caller may see them.
func (p *plugin) offer(ctx context.Context, c *cluster) error {
	var rows [][]string
	list := &v1alpha1.TargetList{}
	err := c.each(ctx, list, false, func() error {
		for _, t := range list.Items {
			rows = append(rows, []string{t.Name, kindOf(&t), state(t.Status.Conditions, v1alpha1.ReasonPending)})
		}
		return nil
	})
	if err != nil || len(rows) == 0 {
		return c.explain(err, "Target", "", "grants", "cardea-requester")
	}
	return table(p.ErrOut, screenOf(p.ErrOut), []string{"TARGET", "KIND", "STATE"}, rows)
}

// askWhat asks for permissions, an end and a reason.
func (a *asking) askWhat(ask *questions, target *v1alpha1.Target) error {
	var all []func() error
	list := func(what, preset string, to *[]string) {
		all = append(all, func() error { return ask.list(what, preset, to) })
	}
	text := func(what, preset string, to *string) {
		all = append(all, func() error { return ask.text(what, preset, to) })
	}
	switch {
	case target == nil:
	case target.Spec.Postgres != nil:
		list("Databases", "", &a.databases)
		text("Access (ReadOnly, ReadWrite, Full)", "ReadOnly", &a.access)
	case target.Spec.Kubernetes != nil:
		list("Namespaces", "", &a.namespaces)
		text("Role (Role/NAME or ClusterRole/NAME)", onlyRole(target.Spec.Kubernetes.Roles), &a.role)
		text("Exec (Denied, Commands, Gated, Raw)", "Denied", &a.exec)
	case target.Spec.SSH != nil:
		list("Logins", only(target.Spec.SSH.Logins), &a.logins)
		list("Channels (Exec, Shell, SFTP, LocalForward, RemoteForward, Agent)", "Exec", &a.channels)
	}
	if a.until == "" && a.duration == 0 {
		all = append(all, func() error { return ask.duration("For how long", time.Hour, &a.duration) })
	}
	text("Why", "", &a.reason)
	for _, question := range all {
		if err := question(); err != nil {
			return err
		}
	}
	return nil
}

func only(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return ""
}

func onlyRole(roles []v1alpha1.RoleReference) string {
	if len(roles) == 1 {
		return string(roles[0].Kind) + "/" + roles[0].Name
	}
	return ""
}

// questions are put to a person. What has an answer is not asked.
type questions struct {
	from *bufio.Reader
	to   io.Writer
}

// line asks until there is an answer.
func (q *questions) line(what, preset string) (string, error) {
	for {
		prompt := what + ": "
		if preset != "" {
			prompt = what + " [" + preset + "]: "
		}
		if _, err := io.WriteString(q.to, Safe(prompt, false)); err != nil {
			return "", err
		}
		answer, err := q.from.ReadString('\n')
		if answer = strings.TrimSpace(answer); answer != "" {
			return answer, nil
		}
		if err != nil {
			return "", fmt.Errorf("there is no answer to %q: give it as a flag", what)
		}
		if preset != "" {
			return preset, nil
		}
	}
}

func (q *questions) text(what, preset string, to *string) (err error) {
	if *to == "" {
		*to, err = q.line(what, preset)
	}
	return err
}

func (q *questions) list(what, preset string, to *[]string) error {
	if len(*to) > 0 {
		return nil
	}
	answer, err := q.line(what, preset)
	if err != nil {
		return err
	}
	*to = strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' })
	return nil
}

func (q *questions) duration(what string, preset time.Duration, to *time.Duration) error {
	for {
		answer, err := q.line(what, preset.String())
		if err != nil {
			return err
		}
		if d, err := time.ParseDuration(answer); err == nil && d > 0 {
			*to = d
			return nil
		}
		if _, err := fmt.Fprintln(q.to, "write it like 90m or 1h30m"); err != nil {
			return err
		}
	}
}
