package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	// linger is how long an administrator's connection waits for more to do: one serves a
	// burst of sessions, and none stays.
	linger = 2 * time.Second
	// maxRows and maxAnswer, in bytes, bound an answer to the gate's own question.
	maxRows   = 1000
	maxAnswer = 2 << 20
	// closing is how long taking leave of the server may take.
	closing = time.Second
	// maxServerText is how much of a server's message goes into a condition.
	maxServerText = 300
)

// administration are the settings of an administrator's connection. Nothing that somebody
// put into a schema of the database is found by the names in the gate's statements.
var administration = []parameter{
	{"application_name", "cardea: roles"}, {"client_encoding", "UTF8"}, {"standard_conforming_strings", "on"},
	{"search_path", "pg_catalog"}, {"statement_timeout", "10s"}, {"lock_timeout", "5s"},
	{"default_transaction_read_only", "off"}, {"DateStyle", "ISO"},
}

// sqlError is a server's refusal of one of the gate's own statements.
type sqlError struct{ state, message string }

func (e *sqlError) Error() string {
	return fmt.Sprintf("SQLSTATE %s: %s", e.state, policy.Printable(e.message, maxServerText))
}

// admins is a connection as the administrator's login. One statement runs at a time.
type admins struct{ up *upstream }

// query runs statements, which are one transaction, and returns the rows of all of them.
func (q *admins) query(ctx context.Context, statements string) ([][]string, error) {
	if strings.ContainsRune(statements, 0) {
		return nil, errors.New("a zero byte in a statement")
	}
	stop := guard(ctx, q.up.conn)
	defer stop()
	if _, err := q.up.conn.Write(appendMessage(nil, msgQuery, appendString(nil, statements))); err != nil {
		return nil, target("the target closed the connection", err)
	}
	var rows [][]string
	var refused error
	size := 0
	for {
		kind, b, err := q.up.next()
		if err != nil {
			return nil, err
		}
		switch kind {
		case msgDataRow:
			if size += len(b); len(rows) >= maxRows || size > maxAnswer {
				return nil, target("the target does not speak PostgreSQL's protocol", errors.New("the answer is too long"))
			}
			row, err := decodeRow(b)
			if err != nil {
				return nil, target("the target does not speak PostgreSQL's protocol", err)
			}
			rows = append(rows, row)
		case msgErrorResponse:
			refused = &sqlError{state: errorField(b, 'C'), message: errorField(b, 'M')}
		case msgReadyForQuery:
			return rows, refused
		case msgRowDescription, msgCommandComplete, msgEmptyQuery, msgNotice, msgParameterStatus, msgNotification:
		default:
			return nil, target("the target does not speak PostgreSQL's protocol", errProtocol)
		}
	}
}

// decodeRow reads a row in text format; NULL is empty.
func decodeRow(b []byte) ([]string, error) {
	r := body{b: b}
	n := r.int16()
	row := make([]string, 0, min(n, 16))
	for range n {
		size := r.int32()
		if size < 0 {
			row = append(row, "")
			continue
		}
		row = append(row, string(bytes.Clone(r.take(int(size)))))
	}
	return row, r.end()
}

// major is the server's major version; 0 if it does not say.
func (q *admins) major() int {
	version := q.up.report("server_version")
	end := strings.IndexFunc(version, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(version)
	}
	n, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return n
}

// keeperKey names a connection: another Target, spec or database has another.
type keeperKey struct {
	target     types.UID
	generation int64
	database   string
}

// keeper holds one administrator's connection while somebody uses it, and a little longer.
type keeper struct {
	turn  chan struct{} // holds a token while somebody uses the connection
	users int           // guarded by roles.mu
	idle  *time.Timer   // likewise

	q     *admins // nil when there is none; by whoever has the turn
	login session.Login
}

// do runs f with an administrator's connection to a database. If a connection that had
// waited turns out broken, f runs again on a new one.
func (r *roles) do(ctx context.Context, s *session.Session, login session.Login, database string, f func(*admins) error) error {
	t := s.Admission().Target
	key := keeperKey{t.UID, t.Generation, database}
	k := r.hold(key)
	defer r.release(key, k)
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return target("the target does not answer", context.Cause(ctx))
	}
	defer func() { <-k.turn }()
	if k.q != nil && (k.login.Username != login.Username || k.login.Password != login.Password) {
		k.close()
	}
	for {
		waited := k.q != nil
		if !waited {
			up, err := connectAs(ctx, r.engine, s, login, database, administration)
			if err != nil {
				return err
			}
			k.q, k.login = &admins{up}, login
		}
		err := f(k.q)
		refused := new(sqlError)
		if err == nil || errors.As(err, &refused) {
			return err
		}
		k.close()
		if !waited || ctx.Err() != nil {
			return err
		}
	}
}

// close closes the connection, if there is one. It does not wait for a server that does not
// read.
func (k *keeper) close() {
	if k.q != nil {
		_ = k.q.up.conn.SetDeadline(soon(closing))
		_, _ = k.q.up.conn.Write([]byte{msgTerminate, 0, 0, 0, 4})
		k.q.up.close()
		k.q = nil
	}
}

func (r *roles) hold(key keeperKey) *keeper {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keepers[key]
	if k == nil {
		k = &keeper{turn: make(chan struct{}, 1)}
		r.keepers[key] = k
	}
	k.users++
	if k.idle != nil {
		k.idle.Stop()
		k.idle = nil
	}
	return k
}

// release gives the connection back; the last to do so has it closed soon.
func (r *roles) release(key keeperKey, k *keeper) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k.users--; k.users > 0 {
		return
	}
	k.idle = time.AfterFunc(linger, func() {
		r.mu.Lock()
		over := k.users == 0 && r.keepers[key] == k
		if over {
			delete(r.keepers, key)
		}
		r.mu.Unlock()
		if over {
			k.close()
		}
	})
}
