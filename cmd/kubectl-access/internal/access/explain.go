package access

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/explain"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// maxStatement bounds what is read of a statement, in bytes; the gate takes less.
const maxStatement = 8 << 20

// explainTimeout bounds how long the database may take to say what names mean.
const explainTimeout = 30 * time.Second

// outcomeError ends the program with an exit code of its own; what there is to say has
// been printed.
type outcomeError struct{ outcome explain.Outcome }

func (e outcomeError) Error() string { return "the statement's outcome is " + string(e.outcome) }

func (e outcomeError) code() int {
	switch e.outcome {
	case explain.Allowed:
		return 0
	case explain.Denied:
		return exitDenied
	case explain.NeedsApproval:
		return exitApproval
	case explain.NotEstablished:
		return exitNotEstablished
	}
	return exitError
}

// explaining is what the flags of explain say.
type explaining struct {
	files   []string
	root    string
	dsn     string
	output  string
	session explain.Session
}

func (p *plugin) explain() *cobra.Command {
	var e explaining
	cmd := &cobra.Command{
		Use:   "explain [-f RULES] 'SQL'|'COMMAND'",
		Short: "Say what the gate would do to a statement or a command, and why; nothing is executed",
		Long: `Say what the gate would do to a statement or a command, and why; nothing is executed.

With a Target of PostgreSQL the text is SQL; with one of Kubernetes or SSH it is a command for
a container or a host, as one would give it to sh -c or ssh, or type it in a gated shell.

The policy is read from files and folders, or without -f from the cluster. What masks do
depends on the database's definitions: --dsn gives one whose catalog is read, such as the
target itself or a copy of its schema; PGHOST and its kin hold as for psql.

The exit code is 0 if the statement is allowed, 3 if it is denied, 4 if it needs approval,
5 if the rules let it pass and masks were not looked at for want of a database, and 1 if
there is no answer: so a repository of rules can be tested.`,
		Example: `  kubectl access explain -f rules/ 'DELETE FROM invoices'
  kubectl access explain -f rules/ --access ReadWrite --dsn "$(cat uri)" - < migration.sql
  kubectl access explain -n shop-gate --grant report-agent 'TABLE customers'
  kubectl access explain -f rules/ --target cluster 'cat /var/log/app.log | grep -c error'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.runExplain(cmd.Context(), &e, args[0]) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&e.files, "filename", "f", nil, "file or folder with Targets, rules and grants; may be repeated")
	f.StringVar(&e.session.Target, "target", "", "the Target, where there is more than one")
	f.StringVar(&e.session.Grant, "grant", "", "the AccessGrant whose permissions hold")
	f.StringVar(&e.session.Access, "access", "", "the access level, in place of a grant: ReadOnly (default), ReadWrite or Full")
	f.StringVar(&e.session.Database, "database", "", "the database that the session is for")
	f.BoolVar(&e.session.InTransaction, "in-transaction", false, "the client has an open transaction")
	f.StringVar(&e.root, "root-namespace", "cardea-system", "the operator's namespace, whose rules hold for every gate")
	f.StringVar(&e.dsn, "dsn", "", "connection string of a database with the target's definitions")
	f.StringVarP(&e.output, "output", "o", "", "json or yaml")
	return cmd
}

func (p *plugin) runExplain(ctx context.Context, e *explaining, arg string) error {
	switch e.output {
	case "", "json", "yaml":
	default:
		return fmt.Errorf("-o %s is unknown: choose json or yaml", e.output)
	}
	text := []byte(arg)
	if arg == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(p.In, maxStatement)); err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
	}
	in, err := p.policy(ctx, e)
	if err != nil {
		return err
	}
	var db *explain.Database
	if e.dsn != "" || os.Getenv("PGHOST") != "" {
		bounded, cancel := context.WithTimeout(ctx, explainTimeout)
		defer cancel()
		ctx = bounded
		if db, err = explain.Open(ctx, e.dsn); err != nil {
			return err
		}
		defer db.Close(ctx)
	}
	report, err := explain.Explain(ctx, in, e.session, text, db, p.clock.Now())
	if err != nil {
		return err
	}
	if e.output != "" {
		err = p.printObject(report, e.output)
	} else {
		err = p.printReport(report)
	}
	if err != nil || report.Outcome == explain.Allowed {
		return err
	}
	return outcomeError{report.Outcome}
}

// policy reads the rules from files, or from the cluster.
func (p *plugin) policy(ctx context.Context, e *explaining) (policy.Input, error) {
	if len(e.files) > 0 {
		return explain.Load(ctx, e.files, e.root)
	}
	c, err := p.connect()
	if err != nil {
		return policy.Input{}, err
	}
	in := policy.Input{Namespace: c.namespace, RootNamespace: e.root}
	for _, kind := range []struct {
		list client.ObjectList
		root bool // those of the root namespace hold too
	}{
		{&v1alpha1.TargetList{}, false}, {&v1alpha1.AccessGrantList{}, false}, {&v1alpha1.RecordingStoreList{}, false},
		{&v1alpha1.MaskingRuleList{}, true}, {&v1alpha1.CommandRuleList{}, true}, {&v1alpha1.AccessLockList{}, true},
	} {
		namespaces := []string{c.namespace}
		if kind.root && e.root != c.namespace {
			namespaces = append(namespaces, e.root)
		}
		for _, namespace := range namespaces {
			if err := c.in(namespace).each(ctx, kind.list, false, func() error { return take(&in, kind.list) }); err != nil {
				return in, c.explain(err, "policy", "", "grants", "cardea-auditor")
			}
		}
	}
	return in, nil
}

// in returns the same cluster with another namespace.
func (c *cluster) in(namespace string) *cluster {
	other := *c
	other.namespace = namespace
	return &other
}

// take adds the objects of a list to the policy.
func take(in *policy.Input, list client.ObjectList) error {
	objects, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if !in.Add(o.DeepCopyObject()) {
			return fmt.Errorf("a %T is no policy", o)
		}
	}
	return nil
}
