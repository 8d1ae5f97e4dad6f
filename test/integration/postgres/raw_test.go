package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// apply puts the rules of options in force.
func apply(g *gate, options ...option) {
	g.apply(func(in *policy.Input) {
		for _, o := range options {
			o(g, &engpg.Config{})
		}
		*in = g.input
	})
}

// raw is a client that sends what it is told.
type raw struct {
	t  testing.TB
	fe *pgproto3.Frontend
	h  *pgconn.HijackedConn
}

// frontend signs in and hands the connection over.
func frontend(t testing.TB, g *gate, c credential, database string, extra ...string) *raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, g.uri(c, database, strings.Join(extra, "")))
	if err != nil {
		t.Fatal(err)
	}
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	_ = h.Conn.SetDeadline(time.Now().Add(patience))
	return &raw{t: t, fe: h.Frontend, h: h}
}

func (r *raw) send(messages ...pgproto3.FrontendMessage) {
	r.t.Helper()
	for _, m := range messages {
		r.fe.Send(m)
	}
	if err := r.fe.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// bytes sends bytes as they are.
func (r *raw) bytes(b []byte) error {
	_, err := r.h.Conn.Write(b)
	return err
}

// next returns the next message in words.
func (r *raw) next() (string, error) {
	m, err := r.fe.Receive()
	if err != nil {
		return "", err
	}
	return words(m), nil
}

// until returns all messages in words, up to the first that begins with end, or to the
// end of the connection.
func (r *raw) until(end string) string {
	var all []string
	for {
		m, err := r.next()
		if err != nil {
			return strings.Join(append(all, "closed"), " ")
		}
		all = append(all, m)
		if strings.HasPrefix(m, end) {
			return strings.Join(all, " ")
		}
	}
}

func (r *raw) untilReady() string { return r.until("Ready") }

func words(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.DataRow:
		var values []string
		for _, v := range m.Values {
			values = append(values, string(v))
		}
		return fmt.Sprintf("DataRow(%s)", strings.Join(values, "|"))
	case *pgproto3.ErrorResponse:
		return fmt.Sprintf("%s(%s %s)", m.Severity, m.Code, m.Message)
	case *pgproto3.NoticeResponse:
		return fmt.Sprintf("Notice(%s)", m.Message)
	case *pgproto3.ReadyForQuery:
		return fmt.Sprintf("Ready(%c)", m.TxStatus)
	case *pgproto3.CommandComplete:
		return fmt.Sprintf("Complete(%s)", m.CommandTag)
	case *pgproto3.CopyData:
		return fmt.Sprintf("CopyData(%s)", m.Data)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
}

func parse(name, text string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: text} }

func bind(portal, statement string, format int16, values ...string) *pgproto3.Bind {
	b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement, ResultFormatCodes: []int16{format}}
	for _, v := range values {
		b.Parameters = append(b.Parameters, []byte(v))
	}
	return b
}

func execute(portal string, rows uint32) *pgproto3.Execute {
	return &pgproto3.Execute{Portal: portal, MaxRows: rows}
}

func sync() *pgproto3.Sync              { return &pgproto3.Sync{} }
func query(text string) *pgproto3.Query { return &pgproto3.Query{String: text} }
