package postgres

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3Majors masks, in front of every supported release, in both protocols and formats, what
// tables, views, cursors, prepared statements and writes return. Everything of this package
// runs against another release with CARDEA_TEST_POSTGRES=MAJOR.
func TestG3Majors(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			server := pgtest.StartMajor(t, major)
			server.Exec(t, "postgres", customers+"; create view v as select id, ssn as code, name from customers")
			g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn", "*.*.balance", "*.*.born"))
			c := g.grant("agent", v1alpha1.AccessReadWrite)
			simpleOf(t, g, c, major)
			extendedOf(t, g, c)
			noSecret(t, "the recording", g.events(t))
		})
	}
}

func simpleOf(t *testing.T, g *gate, c credential, major int) {
	t.Helper()
	script := `select * from customers order by id;
select code, name from v where id = 1;
begin; declare k cursor for select ssn, id from customers order by id; fetch 2 from k; commit;
prepare p(int) as select email from customers where id = $1; execute p(2);
insert into customers values (4, 'Dee', 'dee@example.com', '111-22-3334', 1, null) returning id, ssn;
update customers set name = 'Eve' where id = 4 returning *;
delete from customers where id = 4 returning email;
copy (select id, note from orders where id = 10) to stdout;
`
	want := "1|Ada|***********.com|*******6789||\n2|Bob|***********.com|*******4321||\n3|Cy||*******3333||\n" + "*******6789|Ada\n" +
		"BEGIN\nDECLARE CURSOR\n*******6789|1\n*******4321|2\nCOMMIT\n" + "PREPARE\n***********.com\n" +
		"4|*******3334\nINSERT 0 1\n" + "4|Eve|***********.com|*******3334||\nUPDATE 1\n" + "***********.com\nDELETE 1\n" + "10\tfirst\n"
	if major >= 15 {
		script += "merge into orders o using customers c on o.customer_id = c.id when matched then update set note = o.note when not matched then do nothing;\n"
		want += "MERGE 2\n"
	}
	out, errs := psql(t, g.uri(c, "postgres", ""), script)
	if out != want || errs != "" {
		t.Errorf("out = %q\nwant  %q\nstderr = %q", out, want, errs)
	}
	out, errs = psql(t, g.uri(c, "postgres", ""), "\\d customers\n\\dt\n\\dv\n\\df\n\\du\n")
	if !strings.Contains(out, "character varying(20)") || errs != "" {
		t.Errorf("out = %q, stderr = %q", out, errs)
	}
}

func extendedOf(t *testing.T, g *gate, c credential) {
	t.Helper()
	ctx := context.Background()
	conn := connect(t, g.uri(c, "postgres", ""))
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec} {
		var ssn, code, name string
		var balance *float64
		if err := conn.QueryRow(ctx, "select c.ssn, c.balance, v.code, v.name from customers c join v using (id) where id = $1", mode, 1).Scan(&ssn, &balance, &code, &name); err != nil ||
			ssn != "*******6789" || balance != nil || code != ssn || name != "Ada" {
			t.Errorf("%v: %q %v %q %q, %v", mode, ssn, balance, code, name, err)
		}
	}
	for _, format := range []int16{0, 1} {
		r := conn.PgConn().ExecParams(ctx, "select ssn, balance, id from customers where id = 1", nil, nil, nil, []int16{format}).Read()
		if r.Err != nil || string(r.Rows[0][0]) != "*******6789" || r.Rows[0][1] != nil {
			t.Errorf("format %d: rows = %q, %v", format, r.Rows, r.Err)
		}
	}
	for _, refused := range []string{"select upper(ssn) from customers", "select id from customers where ssn like '1%'", "select c from customers c", "select max(code) from v"} {
		if _, err := conn.Exec(ctx, refused); sqlState(err) != "42501" {
			t.Errorf("%s: %v", refused, err)
		}
	}
}
