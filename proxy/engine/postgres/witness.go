package postgres

import (
	"context"
	"encoding/binary"
	"fmt"

	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// Witness implements pgsql.Witness by a second connection to the target, as the same login
// and with the same settings, which is opened when it is needed first and ends with the
// session. Each question is a transaction of its own.
func (r *relay) Witness(ctx context.Context, list ...pgsql.Question) ([][][]*string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.engine.c.Limits.SignIn)
	defer cancel()
	if r.witness == nil {
		w, err := r.callWitness(ctx)
		if err != nil {
			return nil, err
		}
		r.witness = w
	}
	answers, err := r.witness.ask(ctx, list)
	if err != nil {
		r.witness.close()
		r.witness = nil
	}
	return answers, err
}

func (r *relay) callWitness(ctx context.Context) (*upstream, error) {
	parameters, err := r.conn.start.settings(r.s)
	if err != nil {
		return nil, err
	}
	login, err := r.s.Login(ctx)
	if err != nil {
		return nil, target("the target's login cannot be read", err)
	}
	if r.up.role != nil {
		login = r.up.role.login
	}
	w, err := connectAs(ctx, r.engine, r.s, login, r.s.Admission().Request.Database, parameters)
	if err != nil {
		return nil, err
	}
	if err := w.usable(r.s); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// ask asks questions by the extended protocol and returns the rows of each.
func (u *upstream) ask(ctx context.Context, list []pgsql.Question) ([][][]*string, error) {
	stop := guard(ctx, u.conn)
	defer stop()
	var m []byte
	for _, q := range list {
		at := len(m)
		m = appendString(append(beginMessage(m, msgParse), 0), q.SQL)
		m = endMessage(append(m, 0, 0), at)
		at = len(m)
		m = append(beginMessage(m, msgBind), 0, 0, 0, 0)
		m = binary.BigEndian.AppendUint16(m, uint16(len(q.Arguments))) //nolint:gosec // a handful
		for _, a := range q.Arguments {
			m = append(binary.BigEndian.AppendUint32(m, uint32(len(a))), a...) //nolint:gosec // bounded by the statement
		}
		m = appendExecute(endMessage(append(m, 0, 0), at), "")
		m = append(m, msgSync, 0, 0, 0, 4)
	}
	if _, err := u.conn.Write(m); err != nil {
		return nil, target("the target closed the connection", err)
	}
	answers := make([][][]*string, 0, len(list))
	for range list {
		rows, err := u.answer()
		if err != nil {
			return nil, err
		}
		answers = append(answers, rows)
	}
	return answers, nil
}

// answer reads the answer to one question, to its ReadyForQuery.
func (u *upstream) answer() ([][]*string, error) {
	q, complete := newInquiry(), false
	for {
		kind, size, err := u.in.head()
		if err == nil && size > maxInquiry {
			err = errFrame
		}
		if err != nil {
			return nil, target("the target does not speak PostgreSQL's protocol", err)
		}
		m, err := u.in.whole(size)
		if err != nil {
			return nil, target("the target closed the connection", err)
		}
		switch kind {
		case msgDataRow:
			if err := q.add(m[headSize:]); err != nil {
				return nil, target("the target does not speak PostgreSQL's protocol", err)
			}
		case msgCommandComplete:
			complete = true
		case msgErrorResponse:
			return nil, fmt.Errorf("a witness was refused: SQLSTATE %s", errorField(m[headSize:], 'C'))
		case msgReadyForQuery:
			if !complete || len(m) != headSize+1 || m[headSize] != idle {
				return nil, target("the target does not speak PostgreSQL's protocol", errProtocol)
			}
			return q.rows, nil
		case msgParseComplete, msgBindComplete, msgNotice, msgParameterStatus, msgNotification:
		default:
			return nil, target("the target does not speak PostgreSQL's protocol", errProtocol)
		}
	}
}

var _ pgsql.Witness = (*relay)(nil)
