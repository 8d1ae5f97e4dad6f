#!/bin/bash
# Checks what a machine needs for `make test` and `make demo`: root, namespaces, cgroups, disk, memory, Go and
# programs. As root on Debian it installs what is missing; otherwise it prints the one line to type.
set -uo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
problems=()

# has PROGRAM-OR-FILE-PATTERN
has() { command -v "$1" >/dev/null 2>&1 || compgen -G "$1" >/dev/null; }

missing=()
while read -r what package; do
  has "$what" || missing+=("$package")
done <<'P'
gcc gcc
/usr/lib/*/libc.a libc6-dev
make make
curl curl
bzip2 bzip2
git git
openssl openssl
ps procps
ip iproute2
iptables iptables
nft nftables
conntrack conntrack
containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
busybox busybox-static
/usr/lib/postgresql/*/bin/postgres postgresql
/usr/lib/postgresql/*/bin/psql postgresql-client
/usr/share/postgresql/*/extension/pgcrypto.control postgresql-contrib
/usr/sbin/pgbouncer pgbouncer
/etc/ssl/certs/ca-certificates.crt ca-certificates
/usr/share/zoneinfo/UTC tzdata
/usr/bin/script bsdutils
java default-jdk-headless
/usr/share/java/postgresql.jar libpostgresql-jdbc-java
/usr/bin/ssh openssh-client
/usr/sbin/sshd openssh-server
/usr/lib/openssh/sftp-server openssh-sftp-server
/usr/bin/rsync rsync
/usr/lib/python3/dist-packages/psycopg2 python3-psycopg2
/usr/lib/python3/dist-packages/psycopg python3-psycopg
/usr/lib/python3/dist-packages/sqlalchemy python3-sqlalchemy
/usr/lib/python3/dist-packages/django python3-django
/usr/lib/python3/dist-packages/paramiko python3-paramiko
P
# A node of another origin than Debian's does not go with Debian's packages of its modules.
node_modules=$CARDEA_CACHE/node
if has node && has npm; then
  has "$node_modules/node_modules/pg/package.json" || has /usr/share/nodejs/pg/package.json ||
    npm install --silent --no-audit --no-fund --prefix "$node_modules" "pg@$NODE_POSTGRES_VERSION" >/dev/null ||
    problems+=("npm cannot install pg, which tests use")
else
  has /usr/share/nodejs/pg/package.json || missing+=(node-pg)
  # It brings the servers of hack/postgres.sh.
  has npm || missing+=(npm)
fi
# The container images want a shell that needs no libraries.
if has busybox && ldd "$(command -v busybox)" >/dev/null 2>&1; then missing+=(busybox-static); fi

# install keeps every service that a package brings from starting: only the programs are wanted.
install() {
  local policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.conf log rc
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  # Without this Debian makes a PostgreSQL of its own on port 5432.
  if [ ! -e $clusters ]; then mkdir -p /etc/postgresql-common; echo 'create_main_cluster = false' > $clusters; fi
  export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
  log=$(mktemp)
  (apt-get -o Acquire::Retries=3 update -q && apt-get -o Acquire::Retries=3 install -qy --no-install-recommends "$@") </dev/null >"$log" 2>&1
  rc=$?
  [ $rc = 0 ] || tail -n 20 "$log"
  rm -f "$log"
  return $rc
}

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && has apt-get; then
    echo "installing: ${missing[*]}"
    install "${missing[@]}" || problems+=("these packages could not be installed: ${missing[*]}")
  elif has apt-get; then
    problems+=("packages are missing: sudo apt-get install -y --no-install-recommends ${missing[*]}")
  else
    problems+=("these Debian packages, or what your system calls them, are missing: ${missing[*]}")
  fi
fi

# PostgreSQL's own regression tests, which test/differential runs.
regress=$CARDEA_CACHE/postgresql-$POSTGRESQL_SOURCE_VERSION
if [ ! -e "$regress/parallel_schedule" ]; then
  archive=postgresql-15_$POSTGRESQL_SOURCE_VERSION.orig.tar.bz2 got=
  mirrors=$(has apt-get && apt-get --print-uris update 2>/dev/null | sed -n "s#^'\(.*/\)dists/.*#\1#p" | grep debian | sort -u)
  mkdir -p "$regress"
  for mirror in $mirrors; do
    for pool in pool/main pool/updates/main; do
      [ -z "$got" ] && curl -sSf --retry 3 -o "$regress/$archive" "$mirror$pool/p/postgresql-15/$archive" 2>/dev/null &&
        echo "$POSTGRESQL_SOURCE_SHA256  $regress/$archive" | sha256sum -c --quiet - >/dev/null 2>&1 && got=yes
    done
  done
  if [ -n "$got" ] && tar -xjf "$regress/$archive" -C "$regress" --strip-components=4 --wildcards '*/src/test/regress/sql' '*/src/test/regress/data' \
    '*/src/test/regress/parallel_schedule'; then :; else
    problems+=("no mirror of apt's configuration has the source of PostgreSQL $POSTGRESQL_SOURCE_VERSION as it is known here (hack/env.sh)")
  fi
  rm -f "$regress/$archive"
fi

hack/postgres.sh || problems+=("servers of the PostgreSQL releases that tests run against are missing: see above, then hack/postgres.sh")

want=$(awk '$1 == "go" {print $2}' go.mod)
got=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
if [ -z "$got" ]; then
  problems+=("Go $want or later is missing: https://go.dev/dl")
elif [ "$(printf '%s\n' "$want" "$got" | sort -V | head -n 1)" != "$want" ]; then
  problems+=("Go $got is too old: $want or later is needed, https://go.dev/dl")
fi

# With a cluster of the user's own none of what follows is needed.
if [ -z "${KUBECONFIG:-}" ]; then
  if [ "$(id -u)" != 0 ]; then
    problems+=("the local cluster needs root: sudo -E env PATH=\$PATH make ... (or set KUBECONFIG to a cluster you have)")
  else
    unshare --net --mount --pid --uts --ipc --fork true 2>/dev/null || problems+=("namespaces cannot be made here: run on a machine or a privileged container")
    for c in /sys/fs/cgroup/memory /sys/fs/cgroup; do
      [ -d "$c" ] && { [ -w "$c" ] && mkdir "$c/cardea-preflight" 2>/dev/null && rmdir "$c/cardea-preflight" || problems+=("cgroups cannot be made in $c: run on a machine or a privileged container"); break; }
    done
  fi
  memory=$(awk '$1 == "MemAvailable:" {print int($2 / 1024)}' /proc/meminfo)
  [ "$memory" -ge 3000 ] || problems+=("$memory MiB of memory are free, 3000 are needed")
fi
needed=4; [ -x "$KUBERNETES_CACHE/bin/kubelet" ] || needed=14
mkdir -p "$CARDEA_CACHE"
for dir in "$CARDEA_CACHE" "${TMPDIR:-/tmp}"; do
  free=$(df -BG --output=avail "$dir" | tail -n 1 | tr -dc 0-9)
  [ "$free" -ge $needed ] || problems+=("$free GiB of disk are free under $dir, $needed are needed")
  needed=4
done

if [ ${#problems[@]} -gt 0 ]; then
  printf 'preflight: %s\n' "${problems[@]}" >&2
  exit 1
fi
echo "preflight: this machine has what it takes (Go $got, $(nproc) cores${memory:+, $memory MiB of memory free})"
