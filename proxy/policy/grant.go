package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Bounds of a grant, the same as in the API's schema. PostgreSQL cuts longer names of
// databases itself, and a cut name is another database.
const (
	maxDatabases    = 64
	maxDatabaseName = 63
	maxDuration     = 8760 * time.Hour
)

// checkGrant says what is wrong with a grant by itself.
func checkGrant(g *v1alpha1.AccessGrant) error {
	if err := checkSubject(g.Spec.Subject); err != nil {
		return fmt.Errorf("spec.subject: %w", err)
	}
	if g.Spec.Subject.Kind == v1alpha1.SubjectGroup {
		return errors.New("spec.subject: a Group needs delivery by Exchange, which this version does not offer; name a ServiceAccount or a User")
	}
	if d := g.Spec.Credentials.Delivery; !isDelivery(d) {
		return fmt.Errorf("spec.credentials.delivery: %q is not Secret", d)
	}
	if (g.Spec.ExpiresAt == nil) == (g.Spec.Duration == nil) {
		return errors.New("exactly one of spec.expiresAt and spec.duration must be set")
	}
	if d := g.Spec.Duration; d != nil && (d.Duration <= 0 || d.Duration > maxDuration) {
		return errors.New("spec.duration: must be more than 0s and at most 8760h")
	}
	if s, e := g.Spec.StartsAt, g.Spec.ExpiresAt; s != nil && e != nil && !s.Time.Before(e.Time) {
		return errors.New("spec.startsAt must be before spec.expiresAt")
	}
	if s := g.Spec.DesiredState; s != v1alpha1.GrantActive && s != v1alpha1.GrantRevoked {
		return fmt.Errorf("spec.desiredState: %q is not Active or Revoked", s)
	}
	blocks := 0
	for _, set := range []bool{g.Spec.Postgres != nil, g.Spec.Kubernetes != nil, g.Spec.SSH != nil} {
		if set {
			blocks++
		}
	}
	if blocks > 1 {
		return errors.New("at most one of spec.postgres, spec.kubernetes and spec.ssh may be set")
	}
	if err := checkSSH(g.Spec.SSH); err != nil {
		return err
	}
	if err := checkKubernetes(g.Spec.Kubernetes); err != nil {
		return err
	}
	return checkPermissions(g.Spec.Postgres)
}

func isDelivery(d v1alpha1.CredentialDelivery) bool { return d == v1alpha1.DeliverySecret }

func checkPermissions(p *v1alpha1.PostgresPermissions) error {
	if p == nil {
		return nil
	}
	if n := len(p.Databases); n == 0 || n > maxDatabases {
		return fmt.Errorf("spec.postgres.databases: must have 1 to %d items", maxDatabases)
	}
	for i, d := range p.Databases {
		if d == "" || len(d) > maxDatabaseName {
			return fmt.Errorf("spec.postgres.databases[%d]: must be 1 to %d bytes", i, maxDatabaseName)
		}
	}
	if !isAccessLevel(p.Access) {
		return fmt.Errorf("spec.postgres.access: %q is not ReadOnly, ReadWrite or Full", p.Access)
	}
	return nil
}

// expiry returns when a grant ends: the earliest of what the operator found and what the
// spec says now, which may have shrunk since. It reports false for a grant whose end is
// not known.
func expiry(g *v1alpha1.AccessGrant) (time.Time, bool) {
	if g.Status.ExpiresAt.IsZero() {
		return time.Time{}, false
	}
	end := g.Status.ExpiresAt.Time
	if e := g.Spec.ExpiresAt; e != nil {
		end = earliest(end, e.Time)
	}
	if d := g.Spec.Duration; d != nil {
		if g.Status.ApprovedAt.IsZero() {
			return time.Time{}, false
		}
		from := g.Status.ApprovedAt.Time
		if s := g.Spec.StartsAt; s != nil && s.After(from) {
			from = s.Time
		}
		end = earliest(end, from.Add(d.Duration))
	}
	return end, true
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// permits reports whether a grant permits a database. Names are compared exactly, letter
// by letter.
func permits(p *v1alpha1.PostgresPermissions, database string) bool {
	if database == "" || len(database) > maxDatabaseName {
		return false
	}
	for _, pattern := range p.Databases {
		if newGlob(pattern, false).match(database) {
			return true
		}
	}
	return false
}
