import os

import psycopg
from psycopg.rows import dict_row

masked = "MASKED" in os.environ
with psycopg.connect("") as connection:
    for binary in False, True:
        with connection.cursor(binary=binary) as c:
            row = c.execute("select id, name, email from customers where id = %s", (1,)).fetchone()
            print(row)
            assert row[1] == "Ada" and (row[2] != "canary-ada@example.com") == masked
            assert c.execute("select tags, detail, at from orders where id = 2").fetchone()[1] == {"n": 2}
    # Prepared by the driver after some uses.
    for i in range(10):
        assert connection.execute("select total from orders where id = %s", (i + 1,)).fetchone()[0] * 2 == 3 * (i + 1)
    with connection.transaction(), connection.cursor() as c:
        c.executemany("insert into plain (note) values (%s)", [("psycopg3 %d" % i,) for i in range(30)])
        with c.copy("copy plain (note) from stdin") as copy:
            copy.write_row(("psycopg3 copied",))
        with c.copy("copy plain (note) to stdout") as copy:
            assert sum("psycopg3" in r[0] for r in copy.rows()) == 31
    with connection.cursor("server_side", row_factory=dict_row) as c:
        c.execute("select id from orders order by id")
        assert len(c.fetchmany(7)) == 7
    assert connection.execute("delete from plain where note like 'psycopg3 %'").rowcount == 31
    connection.commit()
    with connection.pipeline():
        a = connection.execute("select 1")
        b = connection.execute("select note from orders where id = %s", (4,))
        assert (a.fetchone()[0], b.fetchone()[0]) == (1, "note 4")
    try:
        connection.execute("select 1/0")
        raise SystemExit("no error")
    except psycopg.errors.DivisionByZero:
        connection.rollback()
print("done")
