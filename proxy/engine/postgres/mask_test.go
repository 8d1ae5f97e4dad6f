package postgres

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/proxy/masking"
)

type stars struct{ err error }

func (s stars) Mask(dst, src []byte) ([]byte, bool, error) {
	if string(src) == "null" {
		return dst, true, s.err
	}
	return append(dst, "***"...), false, s.err
}

func dataRow(t testing.TB, values ...[]byte) []byte {
	t.Helper()
	b, err := (&pgproto3.DataRow{Values: values}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b[headSize:]
}

func TestRowPlan(t *testing.T) {
	plan := &rowPlan{columns: []columnPlan{{}, {mask: stars{}}, {mask: masking.For(stars{}, masking.Type{})}}}
	for name, test := range map[string]struct {
		row  []byte
		want [][]byte
	}{
		"values":           {dataRow(t, []byte("plain"), []byte("secret"), []byte("5")), [][]byte{[]byte("plain"), []byte("***"), nil}},
		"NULL stays NULL":  {dataRow(t, nil, nil, nil), [][]byte{nil, nil, nil}},
		"masked to NULL":   {dataRow(t, nil, []byte("null"), nil), [][]byte{nil, nil, nil}},
		"empty":            {dataRow(t, []byte{}, []byte{}, nil), [][]byte{{}, []byte("***"), nil}},
		"a column too few": {dataRow(t, []byte("a"), []byte("b")), nil},
		"one too many":     {dataRow(t, nil, nil, nil, []byte("secret")), nil},
		"a row that lies":  {[]byte{0, 3, 0, 0, 0, 9, 'x'}, nil},
		"bytes behind it":  {append(dataRow(t, nil, nil, nil), 'x'), nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := plan.apply([]byte("before"), test.row, nil)
			if test.want == nil {
				if err == nil || string(out) != "before" {
					t.Errorf("out = %q, err = %v", out, err)
				}
				return
			}
			var got pgproto3.DataRow
			if err != nil || got.Decode(out[len("before")+headSize:]) != nil || len(got.Values) != len(test.want) {
				t.Fatalf("out = %q, err = %v", out, err)
			}
			for i, v := range got.Values {
				if string(v) != string(test.want[i]) || (v == nil) != (test.want[i] == nil) {
					t.Errorf("value %d is %q", i, v)
				}
			}
		})
	}
	failing := &rowPlan{columns: []columnPlan{{mask: stars{err: errors.New("cannot")}}}}
	if out, _, err := failing.apply(nil, dataRow(t, []byte("secret")), nil); err == nil || len(out) != 0 {
		t.Errorf("a mask that fails lets %q through", out)
	}
}

func BenchmarkMaskedRow(b *testing.B) {
	plan := &rowPlan{columns: []columnPlan{{}, {mask: stars{}}}}
	row := dataRow(b, []byte("12345"), []byte("secret"))
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, _, err = plan.apply(out[:0], row, nil); err != nil {
			b.Fatal(err)
		}
	}
}
