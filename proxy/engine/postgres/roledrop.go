package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	// unused is how old a role must be that nobody is signed in as, to be no longer waited
	// for: signing in takes seconds.
	unused = time.Minute
	// leaving is how long a backend may take to end by itself once its connection is closed.
	leaving = 500 * time.Millisecond
	// maxSwept is how many roles one look through a target handles.
	maxSwept = 500
)

// errRemains says that something of a role is still there.
var errRemains = errors.New("the role is still in use")

// sweep drops the roles that sessions left in a target, and returns how many it could not
// drop.
func (r *roles) sweep(ctx context.Context, s *session.Session, database string) (left int, err error) {
	login, err := s.Login(ctx)
	if err != nil {
		return 0, err
	}
	var found [][]string
	err = r.do(ctx, s, login, database, func(q *admins) error {
		// Since version 16 an administrator manages the roles that it made alone.
		mine := ""
		if q.major() >= 16 {
			mine = " AND pg_has_role(CURRENT_USER, r.oid, 'MEMBER WITH ADMIN OPTION')"
		}
		found, err = q.query(ctx, "SELECT r.rolname, d.description, coalesce(r.rolvaliduntil < now(), false), (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)"+
			" FROM pg_roles r JOIN pg_shdescription d ON d.objoid = r.oid AND d.classoid = 'pg_authid'::regclass"+
			" WHERE r.rolname LIKE "+quoteLiteral(strings.ReplaceAll(rolePrefix, "_", `\_`)+"%")+" AND d.description LIKE "+quoteLiteral(roleMark+"{%")+mine+
			fmt.Sprintf(" ORDER BY r.oid LIMIT %d", maxSwept))
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, row := range found {
		if len(row) != 4 || !r.isOver(row[0], row[1], row[2] == "t", row[3] != "0") {
			continue
		}
		if err := r.drop(ctx, s, login, database, row[0], false); err != nil {
			r.upkeep.Log.V(1).Info("A role could not be dropped", "role", row[0], "reason", err.Error())
			left++
		}
	}
	return left, nil
}

// isOver reports whether the session that a role was made for has ended. That nobody is
// signed in as it says so, but for the moment between making it and signing in; of one that
// somebody is signed in as, its time and its Session do.
func (r *roles) isOver(name, comment string, expired, used bool) bool {
	c, ok := parseComment(name, comment)
	if !ok || r.isLive(name) {
		return false
	}
	if r.knownOver(name) {
		return true
	}
	now := r.engine.c.Now()
	switch {
	case expired || r.upkeep.Ended(c.Session):
		return true
	case used:
		return false
	case c.Proxy == r.upkeep.Proxy && c.Since.Before(r.began.Truncate(time.Second)):
		return true // made by a process before this one
	}
	return now.Sub(c.Since) > unused
}

// drop drops a role: it ends what is signed in as it, hands what it owns to the first of the
// roles that it is in, takes back what was granted to it, and removes it. patient lets
// backends end by themselves for a moment. A role that is not there is no error.
func (r *roles) drop(ctx context.Context, s *session.Session, login session.Login, database, name string, patient bool) error {
	state, err := r.settle(ctx, s, login, database, name, patient)
	if err == nil && !state.exists {
		r.dropped(name)
	}
	if err != nil || !state.exists {
		return err
	}
	for _, where := range state.databases {
		err := r.do(ctx, s, login, where, func(q *admins) error { return q.disown(ctx, name, ownersOf(s)) })
		if err != nil {
			return fmt.Errorf("hand over what it owns in database %s: %w", where, err)
		}
	}
	err = r.do(ctx, s, login, database, func(q *admins) error {
		_, err := q.query(ctx, "DROP ROLE IF EXISTS "+quoteIdentifier(name))
		return err
	})
	if err == nil {
		r.dropped(name)
	}
	return err
}

func ownersOf(s *session.Session) []string {
	if p := s.Admission().Target.Spec.Postgres; p != nil && p.EphemeralRole != nil {
		return p.EphemeralRole.InRoles
	}
	return nil
}

// remains is what there is of a role.
type remains struct {
	exists    bool
	backends  bool
	databases []string // in which something depends on it
}

// settle waits until nobody is signed in as the role, and ends who is.
func (r *roles) settle(ctx context.Context, s *session.Session, login session.Login, database, name string, patient bool) (state remains, err error) {
	began, pause, ended := time.Now(), time.Millisecond, false
	for {
		err = r.do(ctx, s, login, database, func(q *admins) error {
			state, err = q.remains(ctx, name)
			if err != nil || !state.backends || ended || patient && time.Since(began) < leaving {
				return err
			}
			ended = true
			return q.terminate(ctx, name)
		})
		if err != nil || !state.backends {
			return state, err
		}
		select {
		case <-ctx.Done():
			return state, errRemains
		case <-time.After(pause):
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// remains asks what there is of a role.
func (q *admins) remains(ctx context.Context, name string) (remains, error) {
	rows, err := q.query(ctx, "SELECT (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid), coalesce(d.datname, current_database()), s.refobjid IS NOT NULL"+
		" FROM pg_roles r LEFT JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid"+
		" LEFT JOIN pg_database d ON d.oid = s.dbid WHERE r.rolname = "+quoteLiteral(name)+" GROUP BY 1, 2, 3 LIMIT 100")
	if err != nil {
		return remains{}, err
	}
	state := remains{exists: len(rows) > 0}
	for _, row := range rows {
		if len(row) != 3 {
			return remains{}, errMessage
		}
		state.backends = state.backends || row[0] != "0"
		if row[2] == "t" {
			state.databases = append(state.databases, row[1])
		}
	}
	return state, nil
}

// join makes the administrator a member of the role, so that it may act for it.
func (q *admins) join(name string) string {
	grant := "GRANT " + quoteIdentifier(name) + " TO CURRENT_USER"
	if q.major() >= 16 {
		grant += " WITH INHERIT TRUE, SET TRUE"
	}
	return grant
}

// terminate ends who is signed in as the role, and lets nobody else be.
func (q *admins) terminate(ctx context.Context, name string) error {
	_, err := q.query(ctx, "ALTER ROLE "+quoteIdentifier(name)+" NOLOGIN; "+q.join(name)+
		"; SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.usename = "+quoteLiteral(name))
	return err
}

// disown hands what the role owns in this database to the first of the roles it is in that
// can own it, and takes back what was granted to it.
func (q *admins) disown(ctx context.Context, name string, preferred []string) error {
	owners, err := q.owners(ctx, name, preferred)
	if err != nil {
		return err
	}
	if len(owners) == 0 {
		return errors.New("it is in no role that could own what it made")
	}
	for _, o := range owners {
		statements := []string{q.join(name)}
		to := quoteIdentifier(o.name)
		if !o.ours {
			statements = append(statements, q.join(o.name))
		}
		statements = append(statements, "REASSIGN OWNED BY "+quoteIdentifier(name)+" TO "+to, "DROP OWNED BY "+quoteIdentifier(name))
		if !o.ours {
			statements = append(statements, "REVOKE "+to+" FROM CURRENT_USER")
		}
		// One transaction: nobody sees the administrator in that role.
		if _, err = q.query(ctx, strings.Join(statements, "; ")); err == nil {
			return nil
		}
	}
	return err
}

type owner struct {
	name string
	ours bool // the administrator has its rights already
}

// owners are the roles that a role is in, the preferred ones first.
func (q *admins) owners(ctx context.Context, name string, preferred []string) ([]owner, error) {
	rows, err := q.query(ctx, "SELECT g.rolname, pg_has_role(CURRENT_USER, g.oid, 'USAGE') FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"+
		" JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = "+quoteLiteral(name)+" ORDER BY g.rolname LIMIT 100")
	if err != nil {
		return nil, err
	}
	var all []owner
	for _, row := range rows {
		if len(row) != 2 {
			return nil, errMessage
		}
		all = append(all, owner{row[0], row[1] == "t"})
	}
	rank := func(o owner) int {
		if i := slices.Index(preferred, o.name); i >= 0 {
			return i
		}
		return len(preferred)
	}
	slices.SortStableFunc(all, func(a, b owner) int { return rank(a) - rank(b) })
	return all, nil
}
