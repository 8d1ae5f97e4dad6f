-- Runs once, as superuser. :app_password is the password of the login that only the gate holds.
\getenv app_password APP_PASSWORD
CREATE ROLE app LOGIN PASSWORD :'app_password';
CREATE DATABASE orders OWNER app;
\connect orders
SET ROLE app;
CREATE TABLE customers (
  id    integer PRIMARY KEY,
  name  text NOT NULL,
  email text NOT NULL,
  ssn   text NOT NULL,
  city  text NOT NULL
);
CREATE TABLE orders (
  id          integer PRIMARY KEY,
  customer_id integer NOT NULL REFERENCES customers,
  item        text NOT NULL,
  amount      numeric(10, 2) NOT NULL
);
INSERT INTO customers VALUES
  (1, 'Ada Byron', 'ada@example.com', '078-05-1120', 'London'),
  (2, 'Grace Murray', 'grace@example.com', '219-09-9999', 'Arlington'),
  (3, 'Edsger Dijkstra', 'edsger@example.com', '457-55-5462', 'Nuenen');
INSERT INTO orders VALUES
  (101, 1, 'analytical engine', 1500.00),
  (102, 2, 'nanosecond of wire', 0.30),
  (103, 2, 'compiler', 990.00),
  (104, 3, 'shortest path', 42.00);
