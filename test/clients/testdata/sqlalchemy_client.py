import os
import warnings

import sqlalchemy as sa

warnings.simplefilter("ignore")  # of the type of a column that nobody asked for
masked = "MASKED" in os.environ
engine = sa.create_engine("postgresql+psycopg2://", future=True)
inspector = sa.inspect(engine)
assert inspector.get_schema_names() == ["archive", "information_schema", "public"], inspector.get_schema_names()
assert set(inspector.get_table_names()) >= {"customers", "orders", "plain"}
assert "totals" in inspector.get_view_names()
metadata = sa.MetaData()
metadata.reflect(bind=engine, resolve_fks=True)
orders = metadata.tables["orders"]
assert [k.column.table.name for k in orders.c.customer.foreign_keys] == ["customers"]
assert isinstance(orders.c.total.type, sa.NUMERIC) and orders.c.total.comment == "in euros"
inspector.get_indexes("orders"), inspector.get_check_constraints("orders"), inspector.get_unique_constraints("orders")
inspector.get_view_definition("totals"), inspector.get_sequence_names(), inspector.get_enums()
inspector.get_table_comment("customers"), inspector.get_pk_constraint("orders"), inspector.get_columns("orders", schema="archive")
customers, plain = metadata.tables["customers"], metadata.tables["plain"]
with engine.begin() as connection:
    row = connection.execute(sa.select(customers).where(customers.c.id == 1)).one()
    print(row)
    assert (row.email != "canary-ada@example.com") == masked
    new = connection.execute(plain.insert().returning(plain.c.id), [{"note": "alchemy"}]).scalar_one()
    assert connection.execute(plain.delete().where(plain.c.id == new)).rowcount == 1
    joined = sa.select(customers.c.name, sa.func.sum(orders.c.total)).join(orders, orders.c.customer == customers.c.id).group_by(customers.c.name)
    assert len(connection.execute(joined).all()) == 2
    # On a target with masks only temporary tables can be made.
    other, prefixes = sa.MetaData(), ["TEMPORARY"] if masked else []
    sa.Table("alchemy", other, *[sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("name", sa.String(20), index=not masked)], prefixes=prefixes)
    other.create_all(connection)
    other.drop_all(connection)
print("done")
