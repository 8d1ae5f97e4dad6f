import io
import os

import psycopg2
import psycopg2.extras

masked = "MASKED" in os.environ
connection = psycopg2.connect("")
with connection, connection.cursor() as c:
    c.execute("select id, name, email from customers where id = %s", (1,))
    row = c.fetchone()
    print(row)
    assert row[1] == "Ada" and (row[2] != "canary-ada@example.com") == masked
    c.execute("select tags, detail, at, total from orders order by id")
    assert c.fetchone()[0] == ["a", "b1"]
    psycopg2.extras.execute_values(c, "insert into plain (note) values %s", [("psycopg2 %d" % i,) for i in range(30)])
    c.copy_from(io.StringIO("psycopg2 a\npsycopg2 b\n"), "plain", columns=("note",))
    out = io.StringIO()
    c.copy_expert("copy plain (note) to stdout", out)
    assert out.getvalue().count("psycopg2") == 32, out.getvalue()
with connection, connection.cursor("server_side") as c:
    c.itersize = 5
    c.execute("select id from orders order by id")
    assert [r[0] for r in c] == list(range(1, 21))
with connection, connection.cursor("server_side_masked", scrollable=True) as c:
    c.itersize = 1
    c.execute("select name, email from customers where id < %s order by id", (3,))
    rows = list(c)
    print(rows)
    assert rows[0][0] == "Ada" and all(r[1] is not None and ("canary" in r[1]) != masked for r in rows), rows
    c.scroll(0, mode="absolute")
    assert c.fetchone() == rows[0]
with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as c:
    c.execute("delete from plain where note like 'psycopg2 %'")
    assert c.rowcount == 32
try:
    with connection, connection.cursor() as c:
        c.execute("select 1/0")
    raise SystemExit("no error")
except psycopg2.errors.DivisionByZero:
    pass
connection.autocommit = True
with connection.cursor() as c:
    c.execute("show server_version")
connection.close()
print("done")
