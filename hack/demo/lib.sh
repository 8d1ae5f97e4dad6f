# Sourced by the demo's scripts: showing what is run, and waiting for what takes time.
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
cd "$ROOT"
GATE=shop-gate
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s\n' "$*" | fold -s -w 110; }
fail() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }

# show CMD... prints a command as one would type it; run shows what it answers too.
show() {
  local word line='$'
  for word; do
    if [[ $word =~ ^[A-Za-z0-9_./:=@,+-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/\'\\\'\'}'"; fi
  done
  printf '%s\n' "$line"
}
run() { show "$@"; "$@" 2>&1 | sed -u 's/^/    /'; }

# wait_for SECONDS WHAT CMD... polls until CMD succeeds, with a dot each second.
wait_for() {
  local began=$SECONDS limit=$1 what=$2 dots=0; shift 2
  printf '%s  waiting: %s ' "$dim" "$what"
  until "$@" >/dev/null 2>&1; do
    if [ $((SECONDS - began)) -gt "$limit" ]; then printf '%s\n' "$plain"; return 1; fi
    if [ $((SECONDS - began)) -gt $dots ]; then dots=$((SECONDS - began)); printf .; fi
    sleep .1
  done
  printf ' %ds%s\n' $((SECONDS - began)) "$plain"
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
