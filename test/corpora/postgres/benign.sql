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
SELECT pg_catalog.set_config('search_path', '', false) -- denied: names would mean something else
select id from customers where email = 'ada@example.com' -- denied: predicate on a masked column
select lower(email) from customers -- denied: expression
select email, count(*) from customers group by email -- denied: grouping by a masked column
select code from v_customers -- denied: views are not expanded yet
merge into orders o using customers c on o.id = c.id when matched then do nothing -- denied: MERGE
SELECT result.A_ATTNUM, result.KEY_SEQ FROM (SELECT a.attnum AS A_ATTNUM, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, information_schema._pg_expandarray(i.indkey) AS KEYS FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_index i ON a.attrelid = i.indrelid) result WHERE result.A_ATTNUM = (result.KEYS).x ORDER BY result.key_seq
SELECT koi.key, koi.arridx FROM pg_index i, unnest(i.indkey, i.indoption) WITH ORDINALITY koi(key, option, arridx)
