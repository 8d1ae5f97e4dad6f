package access

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// The kinds of Targets, as people call them.
const (
	postgreSQL = "PostgreSQL"
	clusterAPI = "Kubernetes"
	sshHost    = "SSH"
)

// flagsOf are the flags that a kind of Target takes; the first ones it needs.
var flagsOf = map[string]string{
	postgreSQL: "--database and --access",
	clusterAPI: "--in, --role, --exec, --secrets and --port",
	sshHost:    "--login, --channel and --terminal",
}

func kindOf(t *v1alpha1.Target) string {
	switch {
	case t.Spec.Postgres != nil:
		return postgreSQL
	case t.Spec.Kubernetes != nil:
		return clusterAPI
	case t.Spec.SSH != nil:
		return sshHost
	}
	return ""
}

// kind is the kind of Target that the flags are of; empty for none.
func (a *asking) kind() (string, error) {
	var kinds []string
	if len(a.databases) > 0 || a.access != "" {
		kinds = append(kinds, postgreSQL)
	}
	if len(a.namespaces) > 0 || a.role != "" || a.exec != "" || a.secrets != "" || len(a.ports) > 0 {
		kinds = append(kinds, clusterAPI)
	}
	if len(a.logins) > 0 || len(a.channels) > 0 || a.terminal != "" {
		kinds = append(kinds, sshHost)
	}
	switch len(kinds) {
	case 0:
		return "", nil
	case 1:
		return kinds[0], nil
	}
	return "", fmt.Errorf("the flags are of more than one kind of Target: %s takes %s, %s takes %s", kinds[0], flagsOf[kinds[0]], kinds[1], flagsOf[kinds[1]])
}

// permit sets the permissions, and refuses flags of another kind of Target. Nothing is known of a
// Target that the caller may not read.
func (a *asking) permit(g *v1alpha1.AccessGrant, target *v1alpha1.Target) error {
	kind, err := a.kind()
	if err != nil {
		return err
	}
	if target != nil {
		switch is := kindOf(target); {
		case kind == "":
			kind = is
		case kind != is:
			return fmt.Errorf("the Target %s is of another kind than the flags: it takes %s", a.target, flagsOf[is])
		}
	}
	missing := ""
	switch kind {
	case postgreSQL:
		if len(a.databases) == 0 {
			missing = "--database"
		}
		g.Spec.Postgres = &v1alpha1.PostgresPermissions{Databases: a.databases, Access: v1alpha1.AccessLevel(a.access)}
	case clusterAPI:
		if len(a.namespaces) == 0 || a.role == "" {
			missing = "--in and --role"
		}
		kind, name, _ := strings.Cut(a.role, "/")
		g.Spec.Kubernetes = &v1alpha1.KubernetesPermissions{Namespaces: a.namespaces, RoleRef: v1alpha1.RoleReference{Kind: v1alpha1.RoleKind(kind), Name: name},
			Exec: v1alpha1.ExecMode(a.exec), Secrets: v1alpha1.SecretsMode(a.secrets), Ports: a.ports}
	case sshHost:
		if len(a.logins) == 0 || len(a.channels) == 0 {
			missing = "--login and --channel"
		}
		g.Spec.SSH = &v1alpha1.SSHPermissions{Logins: a.logins, Terminal: v1alpha1.SSHTerminal(a.terminal)}
		for _, channel := range a.channels {
			g.Spec.SSH.Channels = append(g.Spec.SSH.Channels, v1alpha1.SSHChannel(channel))
		}
	default:
		return errors.New("say what is wanted: --database for PostgreSQL, --in and --role for Kubernetes, --login and --channel for SSH")
	}
	if missing != "" {
		return fmt.Errorf("say what is wanted on the Target %s: %s", a.target, missing)
	}
	return nil
}
