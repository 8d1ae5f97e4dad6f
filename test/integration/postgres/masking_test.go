package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

const customers = `create table customers(id int primary key, name text, email text, ssn varchar(20), balance numeric, born date);
insert into customers values (1, 'Ada', 'ada@example.com', '123-45-6789', 1834.75, '1815-12-10'), (2, 'Bob', 'bob@example.com', '987-65-4321', 12.5, null), (3, 'Cy', null, '555-44-3333', 99999.01, null);
create table orders(id int primary key, customer_id int, note text); insert into orders values (10, 1, 'first'), (11, 2, 'second')`

var secrets = []string{"ada@example.com", "bob@example.com", "123-45-6789", "987-65-4321", "555-44-3333", "1834.75", "99999.01", "1815-12-10"}

func keepLast4() v1alpha1.MaskFunction {
	return v1alpha1.MaskFunction{Partial: &v1alpha1.PartialFunction{KeepLast: 4}}
}

func noSecret(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s holds %q: %s", what, s, text)
		}
	}
}

func TestG3MaskedValuesStayMasked(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "*.*.ssn", "*.*.balance", "*.*.born"))
	c := g.grant("agent", v1alpha1.AccessReadWrite)
	ctx := context.Background()

	t.Run("simple", func(t *testing.T) {
		out, errs := psql(t, g.uri(c, "postgres", ""), "select * from customers order by id;\nselect count(*) from orders;\n")
		if want := "1|Ada|***********.com|*******6789||\n2|Bob|***********.com|*******4321||\n3|Cy||*******3333||\n2\n"; out != want || errs != "" {
			t.Errorf("out = %q, stderr = %q", out, errs)
		}
	})
	t.Run("describe commands", func(t *testing.T) {
		out, errs := psql(t, g.uri(c, "postgres", ""), "begin;\nselect id from orders where id = 10;\ncommit;\nselect 1;\n")
		if errs != "" || !strings.HasPrefix(out, "BEGIN\n10\nCOMMIT\n1") {
			t.Errorf("out = %q, stderr = %q", out, errs)
		}
	})
	t.Run("extended", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", ""))
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			for range 2 {
				rows, err := conn.Query(ctx, "select ssn, email, id, name, balance::numeric from customers where id = $1", mode, 1)
				if err == nil {
					rows.Close()
					err = rows.Err()
				}
				if err == nil {
					t.Errorf("%v: a cast of a masked column passed", mode)
				}
				var ssn, email, name string
				var id int
				var balance *float64
				if err := conn.QueryRow(ctx, "select ssn, email, id, name, balance from customers where id = $1", mode, 1).Scan(&ssn, &email, &id, &name, &balance); err != nil ||
					ssn != "*******6789" || email != "***********.com" || id != 1 || name != "Ada" || balance != nil {
					t.Errorf("%v: %q %q %d %q %v, %v", mode, ssn, email, id, name, balance, err)
				}
			}
		}
		// Text formats too: results in the format that the client did not ask for elsewhere.
		r := conn.PgConn().ExecParams(ctx, "select ssn, balance from customers where id = 1", nil, nil, nil, []int16{1, 0}).Read()
		if r.Err != nil || string(r.Rows[0][0]) != "*******6789" || r.Rows[0][1] != nil {
			t.Errorf("rows = %q, %v", r.Rows, r.Err)
		}
	})
	t.Run("portal with a row limit", func(t *testing.T) {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "select ssn from customers order by id"), bind("", "", 0), execute("", 1), execute("", 1), execute("", 0), sync())
		got := fe.untilReady()
		if strings.Count(got, "DataRow(*******") != 3 || strings.Count(got, "PortalSuspended") != 2 {
			t.Errorf("got %s", got)
		}
		noSecret(t, "answer", got)
	})
	t.Run("errors are withheld", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", ""))
		_, err := conn.Exec(ctx, "insert into customers values (1, 'x', 'y', 'z', 1, null)")
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || pe.Code != "23505" || pe.Detail != "" || pe.ConstraintName != "" {
			t.Errorf("err = %#v", err)
		}
		for _, q := range []string{"select * from nowhere", "select 1/0", "select nothing from customers"} {
			if _, err := conn.Exec(ctx, q); err == nil {
				t.Errorf("%s passed", q)
			}
		}
	})
	t.Run("COPY", func(t *testing.T) {
		conn := connect(t, g.uri(c, "postgres", ""))
		n, err := conn.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"id", "customer_id", "note"}, pgx.CopyFromSlice(1000, func(i int) ([]any, error) { return []any{100 + i, 1, "x"}, nil }))
		if n != 1000 || err != nil {
			t.Error(n, err)
		}
		if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader("123-45-6789\t1\tx\n"), "copy orders from stdin"); sqlState(err) != "22P02" || strings.Contains(err.Error(), "123") {
			t.Errorf("err = %v", err)
		}
		out, errs := psql(t, g.uri(c, "postgres", ""), "copy orders (id) to stdout;\ncopy orders from stdin;\n1\t2\tx\n\\.\nselect count(*) from orders;\n")
		if !strings.HasPrefix(out, "10\n11\n100\n") || !strings.HasSuffix(out, "COPY 1\n1003\n") || errs != "" {
			t.Errorf("out = %q, stderr = %q", out[max(0, len(out)-100):], errs)
		}
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "copy orders from stdin"), bind("", "", 0), execute("", 0), sync(), &pgproto3.CopyData{Data: []byte("3\t1\tx\n")}, &pgproto3.CopyDone{}, sync())
		if got := fe.untilReady(); got != "ParseComplete BindComplete CopyInResponse Complete(COPY 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	before := len(server.Log(t))
	for name, q := range map[string]string{
		"expression":   "select upper(ssn) from customers",
		"condition":    "select id from customers where ssn = '123-45-6789'",
		"order":        "select id from customers order by ssn",
		"whole row":    "select customers from customers",
		"json":         "select to_json(c) from customers c",
		"union":        "select ssn || '' from customers union all select name from customers",
		"copy":         "copy customers to stdout (format binary)",
		"copy query":   "copy (select upper(ssn) from customers) to stdout",
		"do":           "do $$ begin raise notice '%', (select ssn from customers limit 1); end $$",
		"cursor":       "declare c cursor with hold for select upper(ssn) from customers",
		"prepare":      "prepare p as select upper(ssn) from customers",
		"view":         "create view v as select ssn from customers",
		"table":        "create table t as select ssn from customers",
		"search path":  "set search_path = pg_temp, public",
		"query_to_xml": "select query_to_xml('select ssn from customers', true, true, '')",
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			out, errs := psql(t, g.uri(c, "postgres", "")+"&application_name=refusals", q+";\nselect 42;\n")
			if !strings.Contains(errs, "CDA-") || !strings.Contains(out, "42") {
				t.Errorf("out = %q, stderr = %q", out, errs)
			}
			noSecret(t, "output", out+errs)
			conn := connect(t, g.uri(c, "postgres", ""))
			if _, err := conn.Exec(ctx, q, pgx.QueryExecModeDescribeExec); err == nil {
				t.Error("passed in the extended protocol")
			}
			if log := server.Log(t)[before:]; strings.Contains(log, q) {
				t.Errorf("the server's log holds the statement")
			}
		})
	}
	t.Run("a rule added to a live session", func(t *testing.T) {
		plain := start(t, server)
		c := plain.grant("agent", v1alpha1.AccessReadWrite)
		conn := connect(t, plain.uri(c, "postgres", ""))
		var ssn string
		query := "select ssn from customers where id = 1"
		if err := conn.QueryRow(ctx, query).Scan(&ssn); err != nil || ssn != "123-45-6789" {
			t.Fatal(ssn, err)
		}
		apply(plain, masking(keepLast4(), "*.*.ssn"))
		if err := conn.QueryRow(ctx, query).Scan(&ssn); err != nil || ssn != "*******6789" {
			t.Fatalf("a statement prepared before the rule shows %q, %v", ssn, err)
		}
	})
	noSecret(t, "recording", g.events(t))
}
