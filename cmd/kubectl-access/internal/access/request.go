package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// asking is what the request command is asked.
type asking struct {
	output, name, subject        string
	target, reason, start, until string
	duration                     time.Duration
	wait, dry                    bool
	timeout                      time.Duration

	databases  []string
	access     string
	namespaces []string
	role       string
	exec       string
	secrets    string
	ports      []int32
	logins     []string
	channels   []string
	terminal   string
}

func (p *plugin) request() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:   "request TARGET",
		Short: "Ask for access to a Target, for a time: makes an AccessGrant",
		Long: "Ask for access to a Target, for a time: makes an AccessGrant in the namespace of the Target (-n).\n" +
			"What a policy wants approved waits for that. In a terminal, what is left out is asked for.\n\n" +
			"With --wait the exit code is 0 once the grant is active, 3 if it was denied or is refused, and 4 if it\n" +
			"still waits for approval when the time is over.",
		Example: "  kubectl access request orders-db -n shop-gate --database orders --duration 1h --reason \"monthly report, OPS-1423\"\n" +
			"  kubectl access request cluster -n shop-gate --in shop --role ClusterRole/view --exec Gated --reason debugging\n" +
			"  kubectl access request orders-host -n shop-gate --login deploy --channel Exec --for ServiceAccount/shop/ci --reason deploy\n" +
			"  kubectl access request orders-db -n shop-gate --database orders --reason OPS-1 --wait -o json",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output == "wide" {
				return errors.New("-o wide goes with lists: choose json or yaml")
			}
			if err := checkFormat(a.output); err != nil {
				return err
			}
			if len(args) == 1 {
				a.target = args[0]
			}
			return p.requestGrant(cmd.Context(), &a)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&a.output, "output", "o", "", "json or yaml: print the grant")
	f.StringVar(&a.name, "name", "", "the grant's name; one is made up without it")
	f.StringVar(&a.subject, "for", "", "who gets access: ServiceAccount/NAMESPACE/NAME or User/NAME; you without it")
	f.DurationVar(&a.duration, "duration", 0, "how long, from the moment it is approved; 1h without it and --until")
	f.StringVar(&a.until, "until", "", "when it ends, RFC 3339, instead of --duration")
	f.StringVar(&a.start, "start", "", "when it begins, RFC 3339; at once without it")
	f.StringVar(&a.reason, "reason", "", "why, for approvers and auditors")
	f.BoolVar(&a.wait, "wait", false, "wait until the grant is active, denied or refused")
	f.DurationVar(&a.timeout, "timeout", 15*time.Minute, "how long --wait waits")
	f.BoolVar(&a.dry, "dry-run", false, "print the grant and make nothing")
	f.StringSliceVar(&a.databases, "database", nil, "databases, by name or glob; of a PostgreSQL Target")
	f.StringVar(&a.access, "access", "", "ReadOnly (default), ReadWrite or Full; of a PostgreSQL Target")
	f.StringSliceVar(&a.namespaces, "in", nil, "namespaces; of a Kubernetes Target")
	f.StringVar(&a.role, "role", "", "Role/NAME or ClusterRole/NAME; of a Kubernetes Target")
	f.StringVar(&a.exec, "exec", "", "Denied (default), Commands, Gated or Raw; of a Kubernetes Target")
	f.StringVar(&a.secrets, "secrets", "", "Denied (default), Masked or Readable; of a Kubernetes Target")
	f.Int32SliceVar(&a.ports, "port", nil, "ports of pods to forward; of a Kubernetes Target")
	f.StringSliceVar(&a.logins, "login", nil, "logins; of an SSH Target")
	f.StringSliceVar(&a.channels, "channel", nil, "Exec, Shell, SFTP, LocalForward, RemoteForward, Agent; of an SSH Target")
	f.StringVar(&a.terminal, "terminal", "", "Gated (default) or Raw; of an SSH Target")
	return cmd
}

// requestGrant makes the grant that is asked for.
func (p *plugin) requestGrant(ctx context.Context, a *asking) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	target, err := p.askFor(ctx, c, a)
	if err != nil {
		return err
	}
	g, err := a.grant(ctx, c, target)
	if err != nil {
		return err
	}
	if a.dry {
		return p.printObject(g, orYAML(a.output))
	}
	if err := c.Create(ctx, g, client.FieldOwner("kubectl-access")); err != nil {
		return c.explain(err, "grant", g.Name, "grants", "cardea-requester")
	}
	g.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessGrant"))
	say := p.ErrOut
	if a.output == "" {
		say = p.Out
	}
	if _, err := fmt.Fprintf(say, "grant %s is made\n", Safe(g.Name, false)); err != nil {
		return err
	}
	var outcome error
	if a.wait {
		if outcome, err = p.await(ctx, c, g, a.timeout, say); err != nil {
			return err
		}
	} else if a.output == "" {
		_, err = fmt.Fprintf(say, "`kubectl access grants -n %s` shows what becomes of it, `kubectl access revoke %s -n %s` takes it back\n", c.namespace, g.Name, c.namespace)
	}
	if err == nil && a.output != "" {
		g.ManagedFields = nil
		err = p.printObject(g, a.output)
	}
	if err != nil {
		return err
	}
	return outcome
}

func orYAML(format string) string {
	if format == "" {
		return "yaml"
	}
	return format
}

// grant is the AccessGrant that is asked for.
func (a *asking) grant(ctx context.Context, c *cluster, target *v1alpha1.Target) (*v1alpha1.AccessGrant, error) {
	g := &v1alpha1.AccessGrant{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: a.name}}
	g.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessGrant"))
	if a.name == "" {
		g.GenerateName = cutName(a.target) + "-"
	}
	g.Spec.TargetRef.Name, g.Spec.Reason = a.target, a.reason
	me, err := c.core.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, c.explain(fmt.Errorf("learn who you are: %w", err), "grant", "", "grants", "cardea-requester")
	}
	// Written out, so that the operator need not be there.
	g.Annotations = map[string]string{v1alpha1.AnnotationCreatedBy: me.Status.UserInfo.Username}
	if g.Spec.Subject, err = a.who(me.Status.UserInfo.Username); err != nil {
		return nil, err
	}
	for flag, at := range map[string]struct {
		text string
		to   **metav1.Time
	}{"--start": {a.start, &g.Spec.StartsAt}, "--until": {a.until, &g.Spec.ExpiresAt}} {
		if at.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, at.text)
		if err != nil {
			return nil, fmt.Errorf("%s %q is no time in RFC 3339: write it like 2026-12-31T18:00:00Z", flag, at.text)
		}
		*at.to = &metav1.Time{Time: t}
	}
	switch {
	case g.Spec.ExpiresAt == nil && a.duration == 0:
		g.Spec.Duration = &metav1.Duration{Duration: time.Hour}
	case g.Spec.ExpiresAt == nil:
		g.Spec.Duration = &metav1.Duration{Duration: a.duration}
	case a.duration != 0:
		return nil, errors.New("--duration and --until both say when it ends: leave one out")
	}
	return g, a.permit(g, target)
}

// cutName leaves room for what a server adds to a name.
func cutName(name string) string { return strings.TrimRight(name[:min(len(name), 50)], "-.") }

// who is the subject: whom --for names, or the caller.
func (a *asking) who(caller string) (v1alpha1.Subject, error) {
	if a.subject == "" {
		if account, ok := strings.CutPrefix(caller, "system:serviceaccount:"); ok {
			namespace, name, _ := strings.Cut(account, ":")
			return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}, nil
		}
		return v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: caller}, nil
	}
	kind, rest, _ := strings.Cut(a.subject, "/")
	switch {
	case strings.EqualFold(kind, "User") && rest != "":
		return v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: rest}, nil
	case strings.EqualFold(kind, "ServiceAccount"):
		if namespace, name, ok := strings.Cut(rest, "/"); ok && namespace != "" && name != "" && !strings.Contains(name, "/") {
			return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}, nil
		}
	}
	return v1alpha1.Subject{}, fmt.Errorf("--for %q names nobody: write ServiceAccount/NAMESPACE/NAME or User/NAME", a.subject)
}

// await waits until a grant is settled, and says what happens. The outcome is nil where it is
// active; g is the grant as it was last.
func (p *plugin) await(ctx context.Context, c *cluster, g *v1alpha1.AccessGrant, timeout time.Duration, say io.Writer) (outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	said := ""
	key := types.NamespacedName{Namespace: g.Namespace, Name: g.Name}
	for {
		w, err := c.Watch(ctx, &v1alpha1.AccessGrantList{}, client.InNamespace(key.Namespace), client.MatchingFields{"metadata.name": key.Name})
		if err != nil {
			if ctx.Err() != nil {
				return p.unsettled(ctx, g)
			}
			return nil, c.explain(err, "grant", key.Name, "grants", "cardea-requester")
		}
		for open := true; open; {
			select {
			case <-ctx.Done():
				w.Stop()
				return p.unsettled(ctx, g)
			case e, more := <-w.ResultChan():
				now, ok := e.Object.(*v1alpha1.AccessGrant)
				if open = more; !ok || now.UID != g.UID {
					continue
				}
				now.DeepCopyInto(g)
				g.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessGrant"))
				settled, text, outcome := settledAs(g)
				if text != said {
					said = text
					_, _ = fmt.Fprintln(say, Safe(text, false))
				}
				if settled {
					w.Stop()
					return outcome, nil
				}
			}
		}
		w.Stop()
	}
}

// unsettled is how waiting ends without an answer.
func (p *plugin) unsettled(ctx context.Context, g *v1alpha1.AccessGrant) (outcome, err error) {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, ctx.Err()
	}
	if approved := condition(g, v1alpha1.ConditionApproved); approved != nil && approved.Status == metav1.ConditionUnknown {
		return settledError(exitApproval), nil
	}
	return nil, fmt.Errorf("grant %s is not active yet: `kubectl access grants -n %s` shows what it waits for", g.Name, g.Namespace)
}
