package postgres

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	// rolePrefix begins the name of every role that a gate makes.
	rolePrefix = "cardea_"
	// roleGrant is how much of the grant's name is in a role's: a database administrator
	// sees the names of roles first. With what follows it stays within the 63 bytes that an
	// identifier has.
	roleGrant = 30
	// roleMark begins the comment on every role that a gate makes.
	roleMark = "cardea "
)

// role is a role of the target's that was made for one connection.
type role struct {
	roles    *roles
	session  *session.Session
	login    session.Login
	database string
	once     sync.Once
}

// roleComment is the comment on a role: by it, and not by the name alone, a role is known
// to be a gate's.
type roleComment struct {
	Gate     string    `json:"gate"`
	Grant    string    `json:"grant"`
	GrantUID string    `json:"grantUID"`
	Session  string    `json:"session"`
	Proxy    string    `json:"proxy"`
	Since    time.Time `json:"since"`
}

// make makes a role for the session, if its Target asks for that; else it returns nil.
func (r *roles) make(ctx context.Context, s *session.Session, admin session.Login) (*role, error) {
	a := s.Admission()
	spec := a.Target.Spec.Postgres
	if spec == nil || spec.EphemeralRole == nil {
		return nil, nil
	}
	if r.upkeep == nil {
		return nil, target("the target wants a role for each session, which this gate does not make", errors.New("no upkeep of roles"))
	}
	made := &role{roles: r, session: s, database: a.Request.Database}
	err := r.do(ctx, s, admin, made.database, func(q *admins) error {
		// A second attempt, on another connection, is for another role: what became of the first
		// is not known.
		made.forget()
		if err := made.name(a.Grant.Name); err != nil {
			return err
		}
		made.login.Certificate = admin.Certificate
		r.enter(made)
		statement, err := made.create(spec.EphemeralRole, r.engine.c.Now())
		if err != nil {
			return err
		}
		_, err = q.query(ctx, statement)
		return err
	})
	if err != nil {
		made.end()
		return nil, roleError(err)
	}
	return made, nil
}

// name makes up name and password of the role.
func (o *role) name(grant string) error {
	var random [12 + 32]byte
	if _, err := io.ReadFull(o.roles.engine.c.Random, random[:]); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	legible := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, grant)
	o.login = session.Login{
		Username: rolePrefix + legible[:min(len(legible), roleGrant)] + "_" + hex.EncodeToString(random[:12]),
		Password: base64.RawURLEncoding.EncodeToString(random[12:]),
	}
	return nil
}

// create is the statement that makes the role. It may have a second connection, that of a
// witness. The password is in it as a verifier, since
// servers log statements; the role can do nothing but what the roles it is in can.
func (o *role) create(spec *v1alpha1.EphemeralRole, now time.Time) (string, error) {
	a := o.session.Admission()
	var salt [16]byte
	if _, err := io.ReadFull(o.roles.engine.c.Random, salt[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	verifier, err := credentials.NewSCRAM(o.login.Password, salt[:], credentials.Iterations)
	if err != nil {
		return "", err
	}
	comment, err := json.Marshal(roleComment{Gate: a.Grant.Namespace, Grant: a.Grant.Name, GrantUID: string(a.Grant.UID),
		Session: o.session.Name(), Proxy: o.roles.upkeep.Proxy, Since: now.UTC().Truncate(time.Second)})
	if err != nil {
		return "", err
	}
	in := make([]string, len(spec.InRoles))
	for i, name := range spec.InRoles {
		in[i] = quoteIdentifier(name)
	}
	name := quoteIdentifier(o.login.Username)
	return fmt.Sprintf("CREATE ROLE %s WITH LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"+
		" CONNECTION LIMIT 2 PASSWORD %s VALID UNTIL %s IN ROLE %s; COMMENT ON ROLE %s IS %s",
		name, quoteLiteral(verifier.String()), quoteLiteral(a.ExpiresAt.UTC().Format(time.RFC3339)), strings.Join(in, ", "),
		name, quoteLiteral(roleMark+string(comment))), nil
}

// end has the role dropped. It does not block, and may be called on nil and again.
func (o *role) end() {
	if o != nil {
		o.once.Do(o.forget)
	}
}

// forget has what was made so far dropped, if anything.
func (o *role) forget() {
	if o.login.Username != "" {
		o.roles.leave(o)
	}
}

// stands returns what a role is called where sessions of one grant are compared: roles that
// differ by their names alone have the same rights.
func (u *upstream) stands(name string) string {
	if u.role != nil && u.role.login.Username == name {
		return "the session's own"
	}
	return name
}

// parseComment parses the comment on a role.
func parseComment(name, comment string) (roleComment, bool) {
	var c roleComment
	text, ok := strings.CutPrefix(comment, roleMark)
	if !ok || !strings.HasPrefix(name, rolePrefix) || json.Unmarshal([]byte(text), &c) != nil {
		return roleComment{}, false
	}
	return c, c.Session != "" && c.Proxy != "" && !c.Since.IsZero()
}

// roleError says why a role could not be made: to the client that the target refuses, and in
// the Target's condition what to do.
func roleError(err error) error {
	const sentence = "the target's role for this session cannot be made"
	refused := new(sqlError)
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.state {
	case "42501":
		err = fmt.Errorf("the login of adminSecretRef needs CREATEROLE and, from version 16 on, the roles of inRoles WITH ADMIN OPTION: %w", err)
	case "42704":
		err = fmt.Errorf("a role of inRoles does not exist: %w", err)
	case "25006":
		err = fmt.Errorf("the server is read-only, such as a standby: %w", err)
	}
	return target(sentence, err)
}

func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteLiteral quotes for a connection with standard_conforming_strings on.
func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
