package postgres

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3DeclaredTypes changes the type of a masked result by that of a parameter: a plan
// for values of one type would take those of the other for what they are not.
func TestG3DeclaredTypes(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table staff (id int, salary bigint); insert into staff values (1, 123456)")
	g := start(t, server, masking(v1alpha1.MaskFunction{Number: &v1alpha1.NumberFunction{MultipleOf: 100_000}}, "public.staff.salary"))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadOnly), "postgres")
	const text = "select salary from staff union all select $1 where false"
	ask := func(types ...uint32) []byte {
		t.Helper()
		fe.send(&pgproto3.Parse{Query: text, ParameterOIDs: types},
			&pgproto3.Bind{Parameters: [][]byte{nil}, ResultFormatCodes: []int16{1}}, execute("", 0), sync())
		var value []byte
		for {
			m, err := fe.fe.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.DataRow:
				value = append([]byte(nil), m.Values[0]...)
			case *pgproto3.ErrorResponse:
				t.Fatal(m.Message)
			case *pgproto3.ReadyForQuery:
				return value
			}
		}
	}
	for range 4 {
		if v := ask(); len(v) != 8 || binary.BigEndian.Uint64(v) != 100_000 {
			t.Fatalf("masked as a bigint: %x", v)
		}
	}
	for range 2 {
		if v := ask(pgtype.Float8OID); len(v) != 8 || math.Float64frombits(binary.BigEndian.Uint64(v)) != 100_000 {
			t.Fatalf("masked as a double precision: %v", math.Float64frombits(binary.BigEndian.Uint64(v)))
		}
	}
}
