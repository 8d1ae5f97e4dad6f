package explain

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Session says which session a statement or a command is looked at in. What is empty is chosen.
type Session struct {
	Target        string // the only one, or the grant's, if empty
	Grant         string // the grant whose permissions hold; Access alone if empty
	Access        string // ReadOnly if empty and there is no grant
	Database      string // the grant's first that is no glob, else "postgres"
	InTransaction bool
}

// credential is the name of the credential that the session is taken to be opened with.
const credential = "explain"

// admit opens the session at now: everything that depends on time and on the operator's
// approval is taken to be in order.
func (s Session) admit(in policy.Input, now time.Time) (*policy.Admission, error) {
	grant, err := s.grant(in)
	if err != nil {
		return nil, err
	}
	target, err := s.target(in, grant)
	if err != nil {
		return nil, err
	}
	in.Namespace = target.Namespace
	if grant == nil {
		if grant, err = s.anyone(target); err != nil {
			return nil, err
		}
	} else {
		grant = grant.DeepCopy()
	}
	settle(grant, now)
	in.Grants = []*v1alpha1.AccessGrant{grant}
	in.Stores = slices.Clone(in.Stores)
	for i, store := range in.Stores {
		in.Stores[i] = store.DeepCopy()
		in.Stores[i].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	}
	request := policy.Request{Engine: "postgres", Grant: grant.Name, GrantUID: grant.UID, CredentialID: credential, Database: s.database(grant)}
	if target.Spec.Kubernetes != nil {
		request.Engine, request.Database = "kubernetes", ""
	}
	if target.Spec.SSH != nil {
		request.Engine, request.Database = "ssh", ""
		if grant.Spec.SSH != nil && len(grant.Spec.SSH.Logins) > 0 {
			request.Login = grant.Spec.SSH.Logins[0]
		}
	}
	return policy.Compile(in).Admit(request, now)
}

func (s Session) grant(in policy.Input) (*v1alpha1.AccessGrant, error) {
	if s.Grant == "" {
		return nil, nil
	}
	if s.Access != "" {
		return nil, errors.New("--grant and --access are alternatives")
	}
	for _, g := range in.Grants {
		if g.Name == s.Grant {
			if s.Target != "" && s.Target != g.Spec.TargetRef.Name {
				return nil, fmt.Errorf("the grant %s is for Target %s: leave out --target", s.Grant, g.Spec.TargetRef.Name)
			}
			return g, nil
		}
	}
	return nil, fmt.Errorf("there is no AccessGrant %q", s.Grant)
}

func (s Session) target(in policy.Input, g *v1alpha1.AccessGrant) (*v1alpha1.Target, error) {
	name, namespace := s.Target, ""
	if g != nil {
		name, namespace = g.Spec.TargetRef.Name, g.Namespace
	}
	var found []*v1alpha1.Target
	var names []string
	for _, t := range in.Targets {
		names = append(names, t.Name)
		if (name == "" || t.Name == name) && (namespace == "" || t.Namespace == namespace) {
			found = append(found, t)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(in.Targets) == 0:
		return nil, errors.New("there is no Target: rules are about Targets, so one must be among the objects")
	case len(found) == 0:
		return nil, fmt.Errorf("there is no Target %q; there are: %s", name, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("there is more than one Target; choose one with --target: %s", strings.Join(names, ", "))
}

// anyone makes a grant that permits every database of the Target at the level asked for.
func (s Session) anyone(t *v1alpha1.Target) (*v1alpha1.AccessGrant, error) {
	access := v1alpha1.AccessLevel(s.Access)
	switch access {
	case "":
		access = v1alpha1.AccessReadOnly
	case v1alpha1.AccessReadOnly, v1alpha1.AccessReadWrite, v1alpha1.AccessFull:
	default:
		return nil, fmt.Errorf("--access %s is unknown: choose ReadOnly, ReadWrite or Full", s.Access)
	}
	g := &v1alpha1.AccessGrant{ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: "explain", UID: "explain", Generation: 1}}
	g.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "explain"}
	g.Spec.TargetRef.Name = t.Name
	if t.Spec.Postgres == nil && s.Access != "" {
		return nil, errors.New("--access is for databases: choose a grant with --grant")
	}
	if k := t.Spec.Kubernetes; k != nil {
		g.Spec.Kubernetes = &v1alpha1.KubernetesPermissions{Namespaces: []string{"default"}, Secrets: v1alpha1.SecretsDenied, Exec: v1alpha1.ExecCommands}
		if len(k.Roles) > 0 {
			g.Spec.Kubernetes.RoleRef = k.Roles[0]
		}
	} else if t.Spec.SSH != nil {
		g.Spec.SSH = &v1alpha1.SSHPermissions{Logins: t.Spec.SSH.Logins, Channels: []v1alpha1.SSHChannel{v1alpha1.SSHExec}, Terminal: v1alpha1.SSHGated}
	} else {
		g.Spec.Postgres = &v1alpha1.PostgresPermissions{Databases: []string{"*"}, Access: access}
	}
	g.Spec.Credentials.Delivery = v1alpha1.DeliverySecret
	return g, nil
}

// settle makes a grant an open one.
func settle(g *v1alpha1.AccessGrant, now time.Time) {
	before, after := metav1.NewTime(now.Add(-time.Minute)), metav1.NewTime(now.Add(time.Hour))
	g.Spec.DesiredState, g.Spec.StartsAt, g.Spec.ExpiresAt = v1alpha1.GrantActive, nil, nil
	g.Spec.Duration = &metav1.Duration{Duration: 2 * time.Hour}
	g.DeletionTimestamp = nil
	g.Status = v1alpha1.AccessGrantStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, ObservedGeneration: g.Generation},
			{Type: v1alpha1.ConditionApproved, Status: metav1.ConditionTrue, ObservedGeneration: g.Generation},
		},
		ApprovedAt: &before, StartsAt: &before, ExpiresAt: &after,
		Verifiers: []v1alpha1.CredentialVerifier{{ID: credential, NotBefore: before, ExpiresAt: after}},
	}
}

func (s Session) database(g *v1alpha1.AccessGrant) string {
	if s.Database != "" {
		return s.Database
	}
	if g.Spec.Postgres == nil {
		return "postgres"
	}
	for _, d := range g.Spec.Postgres.Databases {
		if !strings.Contains(d, "*") {
			return d
		}
	}
	return "postgres"
}
