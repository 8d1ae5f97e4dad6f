package postgres

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/masking/calendar"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// matrix has a column of every type that masks may meet, and in each a value that is
// recognised by its parts.
const matrix = `create extension if not exists citext;
create type mood as enum ('sad771', 'glad772');
create type pair as (a int, b text);
create domain ssn as varchar(20) check (value <> '');
create table matrix(id int primary key,
	v_bool bool, v_int2 int2, v_int4 int4, v_int8 int8, v_float4 float4, v_float8 float8, v_numeric numeric, v_numeric_2 numeric(10,2), v_numeric_0 numeric(2,2), v_money money,
	v_text text, v_varchar varchar, v_varchar_8 varchar(8), v_bpchar char(12), v_name name, v_char "char", v_bytea bytea, v_uuid uuid,
	v_json json, v_jsonb jsonb, v_xml xml, v_inet inet, v_cidr cidr, v_macaddr macaddr, v_macaddr8 macaddr8,
	v_date date, v_time time, v_timetz timetz, v_timestamp timestamp, v_timestamptz timestamptz, v_interval interval,
	v_texts text[], v_ints int[], v_dates date[], v_range int4range, v_tsrange tsrange, v_bit bit(8), v_varbit varbit,
	v_mood mood, v_pair pair, v_ssn ssn, v_citext citext, v_tsvector tsvector, v_point point, v_oid oid);
insert into matrix values (1,
	true, 12771, 1234771, 123456789771, 771.25, 123456771.125, 12345678901234567771.50, 12345771.25, 0.77, 12345.77,
	'text-771-value', 'varchar-771-value', 'vc77-1x8', 'bpchar-77-1', 'name-771-value', 'x', '\x0077117711', '77100000-7711-4771-8771-000000000771',
	'{"a":"json-771"}', '{"a":"jsonb-771"}', '<a>771</a>', '10.77.1.7', '10.77.1.0/24', '08:00:2b:77:10:03', '08:00:2b:77:10:03:04:05',
	'1977-10-17', '17:07:10.771', '17:07:10.771+02', '1977-10-17 17:07:10.771', '1977-10-17 17:07:10.771+02', '77 days 1 hour',
	'{"text-771","b"}', '{77100,77101}', '{1977-10-17}', '[77100,77200)', '[1977-10-17 17:07:10,1977-10-18 17:07:10)', B'01110111', B'0111011101',
	'sad771', row(77100,'pair-771'), 'ssn-771-value', 'citext-771-value', 'fat-771', '(77.1,77.2)', 77100),
	(2, null, -12771, -1234771, -123456789771, 'NaN', 'Infinity', -0.5, -12345771.25, -0.77, -1,
	'', '', '', '', '', '', '', '77100000-7711-4771-8771-000000000772', '[]', '[]', '', '::1', '::/0', '08:00:2b:77:10:04', '08:00:2b:77:10:03:04:06',
	'infinity', '00:00', '00:00+00', '-infinity', 'infinity', '0', '{}', '{}', '{}', 'empty', 'empty', B'00000000', B'', 'glad772', row(null,null), 'x', '', '', '(0,0)', 0),
	(3, false, 0, 0, 0, 0, 0, 'NaN', 0, 0, 0, 'ada@example.com', 'ada@example.com', 'a@b.co', 'ada@ex.org', 'ada@example.com', 'a', '\x00', '77100000-7711-4771-8771-000000000773', 'null', 'null', '<b/>',
	'::1', '::/0', '08:00:2b:77:10:04', '08:00:2b:77:10:03:04:06', '0044-03-15 BC', '00:00', '00:00+00', '0044-03-15 17:07:10 BC', '0044-03-15 17:07:10+00 BC', '0',
	'{}', '{}', '{}', 'empty', 'empty', B'00000000', B'', 'glad772', row(null,null), 'x', '', '', '(0,0)', 0)`

func maskFunctions() map[string]v1alpha1.MaskFunction {
	return map[string]v1alpha1.MaskFunction{
		"redact":  {Redact: &v1alpha1.RedactFunction{}},
		"partial": {Partial: &v1alpha1.PartialFunction{KeepFirst: 2}},
		"hash":    {Hash: &v1alpha1.HashFunction{Length: 26}},
		"email":   {Email: &v1alpha1.EmailFunction{}},
		"fixed":   {Fixed: &v1alpha1.FixedFunction{Value: "n/a"}},
		"month":   {Date: &v1alpha1.DateFunction{Precision: v1alpha1.PrecisionMonth}},
		"year":    {Date: &v1alpha1.DateFunction{Precision: v1alpha1.PrecisionYear}},
		"number":  {Number: &v1alpha1.NumberFunction{MultipleOf: 10000}},
		"null":    {Null: &v1alpha1.NullFunction{}},
	}
}

func secret() option {
	return func(g *gate, _ *postgres.Config) { g.input.Secret = []byte(strings.Repeat("k", 32)) }
}

// TestG3MaskedValuesAreValid reads every function over every type in both formats: what
// arrives is a value of the type, the same in both, and nothing of the original.
func TestG3MaskedValuesAreValid(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", matrix)
	direct, err := pgx.Connect(context.Background(), server.URI("postgres", "postgres", server.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	for name, f := range maskFunctions() {
		t.Run(name, func(t *testing.T) {
			g := start(t, server, masking(f, "*.matrix.v_*"), secret())
			conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessReadOnly), "postgres", ""))
			text := readMatrix(t, conn, 0)
			binary := readMatrix(t, conn, 1)
			for row := range text.values {
				for i, column := range text.columns {
					if i == 0 {
						continue
					}
					a, b := shown(text.values[row][i]), shown(binary.values[row][i])
					if a != b && !strings.HasPrefix(column, "v_float") {
						t.Errorf("%s of row %d is %q as text and %q in binary", column, row+1, a, b)
					}
					if raw := text.raw[row][i]; raw != nil {
						if row == 0 && strings.Contains(string(raw), "77") && !strings.HasPrefix(name, "hash") && !isRounded(name, column) {
							t.Errorf("%s shows %q", column, raw)
						}
						if _, err := direct.Exec(context.Background(), fmt.Sprintf("select cast('%s' as %s)", strings.ReplaceAll(string(raw), "'", "''"), typeOf(t, direct, column))); err != nil {
							t.Errorf("%s: %q is no value of its type: %v", column, raw, err)
						}
					}
				}
			}
		})
	}
}

// isRounded reports whether a function is to leave a part of a column's value.
func isRounded(function, column string) bool {
	switch function {
	case "number", "month", "year":
		return strings.HasPrefix(column, "v_int8") || strings.HasPrefix(column, "v_numeric") || strings.HasPrefix(column, "v_float8") || strings.Contains(column, "date") || strings.Contains(column, "timestamp")
	}
	return false
}

type read struct {
	columns []string
	values  [][]any
	raw     [][][]byte
}

func readMatrix(t *testing.T, conn *pgx.Conn, format int16) read {
	t.Helper()
	rows, err := conn.Query(context.Background(), "select * from matrix order by id", pgx.QueryResultFormats{format})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var r read
	for _, f := range rows.FieldDescriptions() {
		r.columns = append(r.columns, f.Name)
	}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatalf("format %d: %v", format, err)
		}
		raw := make([][]byte, len(values))
		for i, v := range rows.RawValues() {
			if v != nil {
				raw[i] = append([]byte{}, v...)
			}
		}
		r.values, r.raw = append(r.values, values), append(r.raw, raw)
	}
	if rows.Err() != nil || len(r.values) != 3 {
		t.Fatalf("format %d: %d rows, %v", format, len(r.values), rows.Err())
	}
	return r
}

func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []byte:
		return hex.EncodeToString(v)
	}
	return fmt.Sprintf("%v", v)
}

func typeOf(t *testing.T, conn *pgx.Conn, column string) string {
	t.Helper()
	var name string
	if err := conn.QueryRow(context.Background(), "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'matrix'::regclass and attname = $1", column).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMaskedValuesByFunction(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", matrix+`; create table joined(v_text text, v_int8 int8, v_int4 int4, v_numeric numeric, v_bpchar char(20), v_bytea bytea);
insert into joined values ('text-771-value', 1234771, 1234771, 1234771.00, 'text-771-value', 'text-771-value')`)
	read := func(t *testing.T, f v1alpha1.MaskFunction, statements ...string) string {
		t.Helper()
		g := start(t, server, masking(f, "*.*.v_*"), secret())
		out, errs := psql(t, g.uri(g.grant("agent", v1alpha1.AccessReadOnly), "postgres", ""), strings.Join(statements, ";\n")+";\n")
		if errs != "" {
			t.Errorf("stderr = %q", errs)
		}
		return out
	}
	month := v1alpha1.MaskFunction{Date: &v1alpha1.DateFunction{Precision: v1alpha1.PrecisionMonth}}
	for name, tc := range map[string]struct {
		f          v1alpha1.MaskFunction
		statements []string
		want       string
	}{
		"months": {month, []string{"select v_date, v_timestamp, v_timestamptz from matrix order by id"},
			"1977-10-01|1977-10-01 00:00:00|1977-10-01 00:00:00+00\ninfinity|-infinity|infinity\n0044-03-01 BC|0044-03-01 00:00:00 BC|0044-03-01 00:00:00+00 BC\n"},
		"the zone of the session tells nothing": {month, []string{"set timezone = '+14:00'", "select v_timestamptz from matrix where id = 1", "set timezone = '-14:00'", "select v_timestamptz from matrix where id = 1"},
			"SET\n1977-10-01 00:00:00+00\nSET\n1977-10-01 00:00:00+00\n"},
		"another style is not read": {month, []string{"set datestyle = 'German'", "select v_date, v_timestamptz from matrix where id = 1"}, "SET\n|\n"},
		"weeks": {v1alpha1.MaskFunction{Date: &v1alpha1.DateFunction{Precision: v1alpha1.PrecisionWeek}}, []string{"select v_date, v_timestamp from matrix where id <> 2 order by id"},
			"1977-10-17|1977-10-17 00:00:00\n0044-03-11 BC|0044-03-11 00:00:00 BC\n"},
		"numbers": {v1alpha1.MaskFunction{Number: &v1alpha1.NumberFunction{MultipleOf: 1000}}, []string{"select v_int2, v_int4, v_int8, v_float4, v_float8, v_numeric, v_numeric_2, v_numeric_0, v_money from matrix order by id"},
			"12000|1234000|123456789000|0|1.23456e+08|12345678901234567000|12345000|0|\n-12000|-1234000|-123456789000|||0|-12345000|0|\n0|0|0|0|0||0|0|\n"},
		"no value of a text type": {v1alpha1.MaskFunction{Number: &v1alpha1.NumberFunction{MultipleOf: 1000}}, []string{"select v_text, v_date, v_bytea from matrix where id = 1"}, "||\n"},
		"cut to the column":       {v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, []string{"select v_varchar_8, v_bpchar, v_text from matrix where id = 1"}, "[redacte|[redacted]|[redacted]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(t, tc.f, tc.statements...); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	t.Run("hashes join", func(t *testing.T) {
		hash := v1alpha1.MaskFunction{Hash: &v1alpha1.HashFunction{Length: 26}}
		a := strings.Split(strings.TrimSpace(read(t, hash, "select v_text, v_int4 from matrix where id = 1")), "|")
		b := strings.Split(strings.TrimSpace(read(t, hash, "set bytea_output = 'escape'", "select v_text, v_int4, v_int8, v_bpchar, v_numeric, v_bytea from joined")), "|")
		if len(a) != 2 || len(b) != 6 || strings.TrimPrefix(b[0], "SET\n") != a[0] || b[1] != a[1] || b[3] != a[0][:20] || len(a[0]) != 26 {
			t.Errorf("%q and %q do not join", a, b)
		}
		var small, big int64
		if _, err := fmt.Sscan(b[1]+" "+b[2], &small, &big); err != nil || small != big&0x7fffffff {
			t.Errorf("the integer %s is not the lower bits of the bigint %s", b[1], b[2])
		}
	})
}

// TestDatesAreCutLikeTheServerDoes compares with date_trunc over the whole range.
func TestDatesAreCutLikeTheServerDoes(t *testing.T) {
	server := pgtest.Start(t, "timezone = 'UTC'")
	server.Exec(t, "postgres", `create table days(id int primary key, v_day date, v_time timestamp);
insert into days select i, d, d + (i % 86400) * interval '1 second' from (select i, date '4700-01-01 BC' + i * 1237 as d from generate_series(1, 3000) i) s;
insert into days values (0, '4714-11-24 BC', '294276-12-31 23:59:59.999999')`)
	for _, p := range []v1alpha1.DatePrecision{v1alpha1.PrecisionYear, v1alpha1.PrecisionQuarter, v1alpha1.PrecisionMonth, v1alpha1.PrecisionWeek, v1alpha1.PrecisionDay, v1alpha1.PrecisionHour} {
		t.Run(string(p), func(t *testing.T) {
			g := start(t, server, masking(v1alpha1.MaskFunction{Date: &v1alpha1.DateFunction{Precision: p}}, "*.*.v_*"))
			conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessReadOnly), "postgres", ""))
			unit := strings.ToLower(string(p))
			want := server.Query(t, "postgres", fmt.Sprintf("select (case when '%[1]s' = 'hour' then v_day::text else date_trunc('%[1]s', v_day::timestamp)::date::text end), date_trunc('%[1]s', v_time)::text from days where id > 0 order by id", unit))
			for format := range int16(2) {
				rows := conn.PgConn().ExecParams(context.Background(), "select v_day, v_time from days where id > 0 order by id", nil, nil, nil, []int16{format}).Read()
				if rows.Err != nil || len(rows.Rows) != len(want) {
					t.Fatalf("%d rows, %v", len(rows.Rows), rows.Err)
				}
				for i, row := range rows.Rows {
					day, moment := string(row[0]), string(row[1])
					if format == 1 {
						day = string(calendar.OfDays(int64(int32(binary.BigEndian.Uint32(row[0])))).AppendDate(nil))
						moment = string(calendar.OfMicros(int64(binary.BigEndian.Uint64(row[1]))).AppendTime(nil, ""))
					}
					if day != want[i][0] || moment != want[i][1] {
						t.Fatalf("format %d, row %d: %s and %s, want %v", format, i, day, moment, want[i])
					}
				}
			}
		})
	}
}

func TestHashWithoutKeyWithholds(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(v1alpha1.MaskFunction{Hash: &v1alpha1.HashFunction{}}, "*.*.ssn"))
	out, errs := psql(t, g.uri(g.grant("agent", v1alpha1.AccessReadOnly), "postgres", ""), "select ssn from customers;\n")
	if out != "" || !strings.Contains(errs, string(policy.CodeMaskedColumn)) {
		t.Errorf("out = %q, stderr = %q", out, errs)
	}
	noSecret(t, "the recording", g.events(t))
}
