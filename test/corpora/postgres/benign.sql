SELECT abalance FROM pgbench_accounts WHERE aid = 1
UPDATE pgbench_accounts SET abalance = abalance + 5 WHERE aid = 1
UPDATE pgbench_tellers SET tbalance = tbalance + 5 WHERE tid = 1
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, 1, 5, CURRENT_TIMESTAMP)
select * from customers
select customers.* from customers order by id
select c.*, o.total from customers c join orders o on o.customer_id = c.id
select id, name, email, ssn from customers where id = 3
select c.name, count(*) n, sum(o.total) from customers c left join orders o on o.customer_id=c.id group by c.name having count(*) > 1 order by n desc
select x.id, x.ssn from (select id, ssn from customers where name like 'A%') x order by x.id
with q as (select id, ssn from customers) select q.ssn, o.total from q join orders o on o.customer_id = q.id
select ssn from customers where id = 1 union all select ssn from parted
select exists(select 1 from customers where id=1)
select exists(select * from customers where id=1)
insert into customers(id,name,email) values (9,'x','y') returning id, email
update customers set email = 'new@example.com' where id = 9
update customers set name = upper(name) where id = 9 returning *
delete from customers where id=9
insert into orders values (99, 1, 5) on conflict (id) do update set total = excluded.total
begin
savepoint a
rollback to a
commit
set timezone='UTC'
set client_encoding = 'UTF8'
set extra_float_digits = 3
set application_name = 'x'
show timezone
show all
reset all
select version()
select current_database(), current_schema(), current_user
select pg_catalog.current_setting('server_version_num')
explain select * from orders where id=1
explain analyze select * from orders where id=1
explain select * from customers where id=1
prepare p as select total from orders where id = $1
execute p(10)
deallocate p
begin
declare c cursor for select id, total from orders
fetch 100 from c
move c
close c
commit
select distinct name from customers
select row_number() over (partition by customer_id order by total desc), id from orders
select date_trunc('day', now()), extract(epoch from now())
select array_agg(id order by id), string_agg(name, ',') from customers
select case when total > 10 then 'big' else 'small' end from orders
select id from orders where total between 1 and 100 and id in (10, 11) and customer_id is not null
select o.* from orders o where o.customer_id = any(array[1,2])
select coalesce(sum(total), 0)::text from orders
select generate_series(1, 3)
select n from generate_series(1, 3) n
select * from jsonb_each('{"a": 1}'::jsonb)
values (1, 'a'), (2, 'b')
with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) select n from r
create temp table scratch (id int primary key, note text default 'x' not null)
insert into scratch values (1), (2)
select * from scratch
drop table scratch
create temp table totals as select customer_id, sum(total) as total from orders group by 1
select * from totals
copy (select id, total from orders) to stdout
copy orders to stdout
copy customers (id, name) to stdout
select nextval('numbers')
select tableoid::regclass, ctid from customers
select row_to_json(o) from orders o
select to_json(o.total) from orders o
select name from customers where name ~ '^A' or name similar to 'B%'
select count(*) filter (where total > 5), avg(total), max(total) from orders
truncate system_like
begin
lock table orders in access share mode
rollback
SELECT n.nspname as "Schema", c.relname as "Name", CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' END as "Type", pg_catalog.pg_get_userbyid(c.relowner) as "Owner" FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2
SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND (c.relname) LIKE 'cus%' AND pg_catalog.pg_table_is_visible(c.oid) LIMIT 1000
select t.oid, t.typname from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typname = 'citext'
SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
select id from customers where email = 'ada@example.com' -- denied: predicate on a masked column
select lower(email) from customers -- denied: expression
select email, count(*) from customers group by email -- denied: grouping by a masked column
select code from v_customers -- denied: the view computes a value from a masked column
select code, name from v_names where id = 1
select n.name, o.total from v_names n join orders o on o.customer_id = n.id order by o.id
SELECT result.A_ATTNUM, result.KEY_SEQ FROM (SELECT a.attnum AS A_ATTNUM, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, information_schema._pg_expandarray(i.indkey) AS KEYS FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_index i ON a.attrelid = i.indrelid) result WHERE result.A_ATTNUM = (result.KEYS).x ORDER BY result.key_seq
SELECT koi.key, koi.arridx FROM pg_index i, unnest(i.indkey, i.indoption) WITH ORDINALITY koi(key, option, arridx)
SELECT "orders"."id", "orders"."customer_id", "orders"."total" FROM "orders" WHERE "orders"."id" = 10 LIMIT 21
SELECT "customers".* FROM "customers" WHERE "customers"."id" = 1 LIMIT 1
SELECT "customers"."id" AS "id", "customers"."name" AS "name", "customers"."email" AS "email" FROM "customers" ORDER BY "customers"."id" ASC LIMIT 25 OFFSET 0
SELECT COUNT(*) AS "__count" FROM "orders"
SELECT COUNT(*) FROM "orders" WHERE "orders"."customer_id" = 1
SELECT 1 AS one FROM "customers" WHERE "customers"."id" = 1 LIMIT 1
SELECT (1) AS "a" FROM "orders" WHERE "orders"."total" > 5 LIMIT 1
SELECT "orders".* FROM "orders" INNER JOIN "customers" ON "customers"."id" = "orders"."customer_id" WHERE "customers"."name" = 'Ada Lovelace'
SELECT DISTINCT "orders"."customer_id" FROM "orders" ORDER BY "orders"."customer_id"
SELECT "orders"."id" FROM "orders" WHERE "orders"."customer_id" IN (SELECT U0."id" FROM "customers" U0 WHERE U0."name" LIKE 'A%')
SELECT "orders"."id" FROM "orders" WHERE NOT EXISTS (SELECT 1 FROM "customers" U0 WHERE U0."id" = "orders"."customer_id")
SELECT "customers"."id", (SELECT COUNT(U0."id") FROM "orders" U0 WHERE U0."customer_id" = "customers"."id") AS "n" FROM "customers"
SELECT c0."id", c0."name" FROM "customers" AS c0 WHERE (c0."id" = ANY('{1,2}'::int[]))
SELECT t1.id AS t1_id, t1.total AS t1_total, t2.id AS t2_id, t2.name AS t2_name FROM orders t1 LEFT OUTER JOIN customers t2 ON t2.id = t1.customer_id ORDER BY t1.id DESC
SELECT anon_1.customer_id, anon_1.s FROM (SELECT orders.customer_id AS customer_id, sum(orders.total) AS s FROM orders GROUP BY orders.customer_id) AS anon_1 WHERE anon_1.s > 5
INSERT INTO "orders" ("id", "customer_id", "total") VALUES (50, 1, 9.5) RETURNING "orders"."id"
INSERT INTO "orders" ("id", "customer_id", "total") VALUES (51, 1, 9.5), (52, 2, 1.25) ON CONFLICT DO NOTHING
INSERT INTO orders (id, customer_id, total) VALUES (50, 1, 2) ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total, customer_id = EXCLUDED.customer_id RETURNING id
UPDATE "orders" SET "total" = 10.5 WHERE "orders"."id" = 50
UPDATE "orders" SET "total" = ("orders"."total" + 1) WHERE "orders"."id" IN (50, 51)
UPDATE orders SET total = v.t FROM (VALUES (50, 1.5), (51, 2.5)) AS v(id, t) WHERE v.id = orders.id
UPDATE orders SET total = CASE WHEN id = 50 THEN 3 WHEN id = 51 THEN 4 ELSE total END WHERE id IN (50, 51)
DELETE FROM "orders" WHERE "orders"."id" IN (SELECT "orders"."id" FROM "orders" WHERE "orders"."id" = 52)
DELETE FROM orders WHERE id = ANY('{50,51}')
SELECT date_trunc('month', now())::date AS month, count(*) AS n FROM orders GROUP BY 1 ORDER BY 1
SELECT customer_id, sum(total) AS revenue, avg(total) AS mean, min(total), max(total) FROM orders GROUP BY customer_id ORDER BY revenue DESC NULLS LAST
SELECT c.name, sum(o.total) AS revenue FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY 1 HAVING sum(o.total) > 5 ORDER BY 2 DESC LIMIT 10
SELECT customer_id, total, sum(total) OVER (PARTITION BY customer_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM orders
SELECT id, total, total - lag(total) OVER (ORDER BY id) AS change FROM orders
SELECT id, ntile(4) OVER (ORDER BY total) AS quartile, percent_rank() OVER (ORDER BY total) FROM orders
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) AS median FROM orders
SELECT customer_id, count(*) FROM orders GROUP BY ROLLUP (customer_id)
SELECT customer_id, grouping(customer_id), sum(total) FROM orders GROUP BY GROUPING SETS ((customer_id), ())
SELECT d::date AS day, count(o.id) FROM generate_series(timestamp '2026-01-01', timestamp '2026-01-07', interval '1 day') d LEFT JOIN orders o ON o.id = extract(day FROM d) GROUP BY 1 ORDER BY 1
WITH totals AS (SELECT customer_id, sum(total) AS s FROM orders GROUP BY 1), ranked AS (SELECT *, rank() OVER (ORDER BY s DESC) AS r FROM totals) SELECT * FROM ranked WHERE r <= 3
SELECT c.id, x.id, x.total FROM customers c CROSS JOIN LATERAL (SELECT o.id, o.total FROM orders o WHERE o.customer_id = c.id ORDER BY o.total DESC LIMIT 1) x
SELECT c.id, c.ssn, o.total FROM customers c LEFT JOIN LATERAL (SELECT total FROM orders WHERE customer_id = c.id LIMIT 1) o ON true ORDER BY c.id
SELECT * FROM (SELECT id, name, row_number() OVER (ORDER BY id) AS rn FROM customers) q WHERE rn BETWEEN 1 AND 2
SELECT json_agg(json_build_object('id', o.id, 'total', o.total)) FROM orders o
SELECT coalesce(json_agg(t), '[]') FROM (SELECT id, total FROM orders) t
SELECT o.id, CASE WHEN o.total >= 100 THEN 'large' WHEN o.total >= 10 THEN 'medium' ELSE 'small' END AS size, count(*) OVER () AS full_count FROM orders o
SELECT round(avg(total), 2), count(DISTINCT customer_id) FROM orders
SELECT string_agg(name, ', ' ORDER BY name) FROM customers
SELECT initcap(name), length(name), left(name, 1), split_part(name, ' ', 2) FROM customers
SELECT id FROM orders WHERE (customer_id, total) IN ((1, 20), (2, 7.25))
SELECT id FROM orders WHERE total IS DISTINCT FROM 20 AND customer_id IS NOT NULL
SELECT id FROM orders TABLESAMPLE SYSTEM (100)
SELECT * FROM orders ORDER BY id FETCH FIRST 2 ROWS ONLY
SELECT id FROM orders WHERE id > 10 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
SELECT id, name, ssn FROM customers WHERE id > 0 ORDER BY id LIMIT 50
SELECT id, email, card, balance FROM customers WHERE name ILIKE '%ada%'
SELECT id, 'customer' AS kind FROM customers UNION ALL SELECT id, 'order' FROM orders
SELECT id FROM orders EXCEPT SELECT id FROM customers
SELECT o.id FROM orders o WHERE o.total = (SELECT max(i.total) FROM orders i WHERE i.customer_id = o.customer_id)
SELECT to_char(now(), 'YYYY-MM-DD'), current_date - 7, now() AT TIME ZONE 'UTC'
SELECT NULLIF(total, 0), greatest(total, 10), least(total, 10), abs(total) FROM orders
SELECT array_agg(DISTINCT customer_id) FROM orders
SELECT unnest(ARRAY[1, 2, 3]) AS n
SELECT key, value FROM jsonb_each_text('{"a": 1}')
SELECT x.id FROM jsonb_to_recordset('[{"id": 1}]') AS x(id int)
SELECT '{"a": {"b": 1}}'::jsonb #>> '{a,b}', '{"a": 1}'::jsonb @> '{}'
SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1
SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position
SELECT c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c WHERE c.conrelid = 'orders'::regclass
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = 'orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'orders'
SHOW server_version
SHOW transaction_isolation
SET statement_timeout = '30s'
SET datestyle = 'ISO, MDY'
BEGIN READ ONLY
SELECT count(*) FROM orders
COMMIT
EXPLAIN (FORMAT JSON) SELECT * FROM orders WHERE customer_id = 1
PREPARE orm (int) AS SELECT "orders"."total" FROM "orders" WHERE "orders"."id" = $1
EXECUTE orm (10)
DEALLOCATE orm
merge into orders o using customers c on o.id = c.id when matched then do nothing
MERGE INTO orders o USING (VALUES (10, 5), (300, 6)) v(id, total) ON o.id = v.id WHEN MATCHED THEN UPDATE SET total = v.total WHEN NOT MATCHED THEN INSERT (id, total) VALUES (v.id, v.total)
MERGE INTO customers c USING (VALUES (1, 'x')) v(id, name) ON c.id = v.id WHEN MATCHED AND v.name = 'y' THEN DELETE WHEN MATCHED THEN UPDATE SET name = v.name, email = 'z@example.com' WHEN NOT MATCHED THEN DO NOTHING
with q as (select id, customer_id from orders) merge into customers c using q on q.customer_id = c.id when not matched then insert (id, name, email) values (q.id, default, 'n@example.com')
explain merge into orders o using customers c on o.id = c.id when matched then delete
INSERT INTO customers (id, name, email) VALUES (310, 'a', 'b') ON CONFLICT DO NOTHING
INSERT INTO customers (id, name, email) VALUES (310, 'a', 'b') ON CONFLICT (id) DO NOTHING RETURNING id
INSERT INTO "customers" ("id", "name", "email") VALUES (310, 'a', 'b'), (311, 'c', 'd') ON CONFLICT ("id") DO UPDATE SET "name" = EXCLUDED."name", "email" = EXCLUDED."email" RETURNING "id", "email"
INSERT INTO customers AS t (id, name, email) VALUES (310, 'a', 'b') ON CONFLICT ON CONSTRAINT customers_pkey DO UPDATE SET name = EXCLUDED.name || t.name, email = 'c' WHERE t.name <> EXCLUDED.name
INSERT INTO customers (id, name, email) SELECT id + 400, name, null FROM orders JOIN (SELECT 10 AS oid, 'x' AS name) x ON x.oid = orders.id ON CONFLICT (id) DO UPDATE SET (name, email) = (EXCLUDED.name, EXCLUDED.email) -- denied: what a query yields is written to a masked column
UPDATE customers SET (name, email) = ('n', 'e@example.com') WHERE id = 310
UPDATE customers SET (name, balance) = ROW('n', 5) WHERE id = 310
WITH RECURSIVE t(id, email, depth) AS (SELECT id, email, 1 FROM customers WHERE id = 1 UNION ALL SELECT c.id, c.email, t.depth + 1 FROM customers c JOIN t ON c.id = t.id + 1 WHERE t.depth < 5) SELECT * FROM t
SELECT row_to_json(t.*) FROM (SELECT id, name FROM customers) t
SELECT count(o.*) FROM orders o
SELECT u.id, o.total FROM orders o JOIN orders p USING (id) AS u
SELECT * FROM orders o JOIN orders p USING (id) AS u
INSERT INTO orders (id, total) SELECT x.id, x.total FROM jsonb_to_recordset('[{"id":900,"total":1}]') AS x(id int, total numeric)
SELECT x.a FROM json_to_record('{"a":1}') AS x(a int, b text)
SELECT x.orders, y.n FROM (SELECT 1 AS orders) x, (SELECT orders.id AS n FROM orders LIMIT 1) y, (SELECT 2 AS n) z WHERE z.n = 2
SELECT u.x, o.id FROM orders o, unnest(ARRAY[o.id, o.customer_id]) u(x)
SELECT x FROM unnest(string_to_array('a,b', ',')) x
SELECT x, n FROM unnest('{a,b}'::text[]) WITH ORDINALITY u(x, n)
SELECT u.id FROM unnest('{1,2}'::int[], ARRAY['a', 'b']) u(id, name)
SELECT x FROM unnest(ARRAY(SELECT id FROM orders)) x
SELECT x FROM unnest(array_remove('{1,2}'::int[], 2)) x
SELECT x FROM unnest(ARRAY['2020-01-01'::date, current_date]) x
SELECT o FROM orders o
SELECT x.o FROM (SELECT o FROM orders o LIMIT 1) x
DELETE FROM customers WHERE id = 999
UPDATE customers SET id = 998 WHERE id = 999
SELECT set_config('bytea_output', 'hex', false) FROM pg_show_all_settings() WHERE name = 'bytea_output'
SELECT pg_catalog.set_config('application_name', 'a tool', false)
SELECT pg_try_advisory_lock(4711), pg_advisory_unlock(4711)
SELECT pid, usename, application_name, state, query, pg_blocking_pids(pid) FROM pg_stat_activity
SELECT * FROM pg_stat_activity
SELECT * FROM pg_locks
SELECT l.transactionid::varchar::bigint AS transaction_id FROM pg_locks l WHERE l.transactionid IS NOT NULL ORDER BY age(l.transactionid) DESC LIMIT 1
SELECT n.nspname, c.relname, stat.n_live_tup FROM pg_class c JOIN pg_namespace n ON c.relnamespace = n.oid LEFT JOIN pg_stat_user_tables stat ON n.nspname = stat.schemaname AND c.relname = stat.relname
SELECT c.relname, a.*, pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value FROM pg_attribute a JOIN pg_class c ON a.attrelid = c.oid LEFT JOIN pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum WHERE NOT a.attisdropped AND c.oid = 'customers'::regclass ORDER BY a.attnum
SELECT x.* FROM (SELECT i.*, pg_stat_get_numscans(i.indexrelid) AS index_num_scans FROM pg_index i) x
SELECT gss_authenticated, encrypted FROM pg_stat_gssapi WHERE pid = pg_backend_pid()
SELECT s FROM generate_series(1, 2) i, string_to_array(current_setting('search_path'), ',') s
SET check_function_bodies = false
SET default_tablespace = ''
SET default_table_access_method = heap
SET synchronous_commit = off
create table invoices (id serial primary key, order_id int not null references orders(id), total numeric(10,2) default 0 check (total >= 0), note text collate "C", made timestamptz default now(), twice numeric generated always as (total * 2) stored, unique (order_id, note))
create index invoices_note on invoices (lower(note) text_pattern_ops) where total > 0
alter table invoices add column paid boolean not null default false, alter column note set default 'none', add constraint positive check (id > 0)
insert into invoices (order_id, total, note) values (10, 5, 'a') returning id, twice
create temp view paid_invoices as select i.id, c.name from invoices i join orders o on o.id = i.order_id join customers c on c.id = o.customer_id where i.paid
create or replace temp view paid_invoices as select i.id, c.name, i.note from invoices i join orders o on o.id = i.order_id join customers c on c.id = o.customer_id
select * from paid_invoices
select id, contact from mv_logins
select ctid, contact from mv_logins where id > 0 order by id
comment on table invoices is 'what is to be paid'
analyze invoices
drop view paid_invoices
drop index invoices_note
drop table invoices
drop table if exists nothing_like_it
create sequence tickets_seq increment by 5 start with 10
select last_value, is_called from tickets_seq
drop sequence tickets_seq
create type state as enum ('open', 'closed')
create temp table tasks (id int, state state default 'open')
alter table tasks alter column id type bigint
insert into tasks values (1, 'closed'), (2, default)
select id from tasks where state = 'closed'::state or state = any('{open}'::public.state[])
create schema attic
create table attic.kept (id int, note text)
drop table attic.kept
drop schema attic
with recursive t(id, parent) as (values (1, 0), (2, 1), (3, 2)), s(id, parent) as (select id, parent from t where id = 1 union all select t.id, t.parent from t join s on t.parent = s.id) search depth first by id set path cycle id set looped using route select id, path, looped, route from s order by path
select * from rows from (generate_series(1, 3), unnest(array['a','b']::text[])) with ordinality as x(n, letter, at)
select xmlelement(name item, xmlattributes(o.id as id), xmlforest(o.total, o.customer_id as customer)) from orders o
select x.* from orders o, xmltable('/a' passing xmlelement(name a, o.id) columns id int path '.', n for ordinality) x
select xmlserialize(content xmlconcat('<a/>', '<b/>') as text)
create table if not exists customers (id int)
create table if not exists public.customers (id int)
alter table if exists nothing_like_it drop column a
SELECT a.attname, pg_index_column_has_property(i.indexrelid, 1, 'asc'), pg_index_has_property(i.indexrelid, 'clusterable'), pg_indexam_has_property(c.relam, 'can_unique') FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = c.oid
SELECT pg_relation_filenode('orders'::regclass), pg_relation_filepath('orders'::regclass)
copy customers to stdout
copy customers (id, ssn, name) to stdout with (format csv, header, delimiter ';', null 'none')
copy (select c.id, c.ssn, o.total from customers c join orders o on o.customer_id = c.id) to stdout csv header force quote *
update logins set name = 'Ada L.' where id = 1
select relname, n_tup_upd, n_tup_hot_upd from pg_stat_user_tables
update parted set id = 2 where id = 1
explain analyze select * from customers where id=1
explain (analyze, verbose, costs off) select id, name from customers order by name
explain (analyze, timing off) select name from customers where id=1 limit 1
explain analyze select count(*) from customers
SELECT pg_catalog.set_config('search_path', '', false)
