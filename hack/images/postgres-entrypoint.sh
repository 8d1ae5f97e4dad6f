#!/bin/sh
# Makes a database in $PGDATA on the first start and runs the server.
#   /etc/postgres/tls/tls.crt, tls.key, ca.crt   the server's certificate
#   /etc/postgres/init/*.sql                     run once, in order, as superuser
#   POSTGRES_PASSWORD                            the superuser's password
# Everybody signs in by TLS and SCRAM; there is no trust.
set -eu
export PGDATA="${PGDATA:-/var/lib/postgresql/data}"
umask 077
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  initdb --username postgres --auth scram-sha-256 --pwfile /tmp/password --encoding UTF8 --locale C --no-sync --no-instructions
  rm /tmp/password
  cat > "$PGDATA/pg_hba.conf" <<H
local   all all     scram-sha-256
hostssl all all all scram-sha-256
H
  pg_ctl --wait --options "-c listen_addresses= -c unix_socket_directories=/tmp" start
  for f in /etc/postgres/init/*.sql; do
    PGPASSWORD="$POSTGRES_PASSWORD" psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --host /tmp --username postgres --file "$f"
  done
  pg_ctl --wait --mode fast stop
fi
# The server wants its key to be its own and private; a mounted Secret is root's.
cp /etc/postgres/tls/tls.key /etc/postgres/tls/tls.crt /tmp/
chmod 600 /tmp/tls.key
exec postgres -c "listen_addresses=*" -c unix_socket_directories=/tmp -c jit=off \
  -c ssl=on -c ssl_cert_file=/tmp/tls.crt -c ssl_key_file=/tmp/tls.key \
  -c log_connections=on -c log_statement=all
