#!/bin/bash
# A real Kubernetes of one node on this machine, without Docker and without a registry. README.md beside
# this file says how it works.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$HERE/pki.sh"

usage() {
  cat <<U
usage: $0 COMMAND      (CLUSTER_ID=$CLUSTER_ID)
  packages            install the Debian packages that a node needs (root)
  build               compile Kubernetes $KUBERNETES_VERSION, etcd and CoreDNS into $CACHE; skips what is there
  up                  start the cluster and wait until it takes pods
  down                end it and check that nothing is left
  run CMD...          up, CMD with KUBECONFIG set, down whatever happens
  load IMAGE.tar...   import image archives into the running cluster
  user NAME GROUP...  write a kubeconfig for a user of these groups and print its path
  kubeconfig          print the path of the administrator's kubeconfig
  enter CMD...        run a command inside the node's namespaces
U
}

fail() { echo "cluster.sh: $*" >&2; exit 1; }
kubectl() { timeout 60 "$BIN/kubectl" --kubeconfig "$RUN/admin.conf" "$@"; }

packages() {
  apt-get install -y --no-install-recommends containerd runc containernetworking-plugins iptables nftables conntrack busybox-static iproute2 openssl gcc libc6-dev
}

# first prints the id of the node's first process, if it lives. A process of another namespace that happens
# to have the recorded number is not it.
first() {
  local p; p=$(cat "$RUN/first" 2>/dev/null) || return 1
  [ "$(readlink "/proc/$p/ns/pid" 2>/dev/null)" = "$(cat "$RUN/namespace" 2>/dev/null)" ] && grep -qaz node.sh "/proc/$p/cmdline" && echo "$p"
}
answers() { first >/dev/null && kubectl get --raw /readyz >/dev/null 2>&1; }
need_up() { answers || fail "cluster $CLUSTER_ID is not up: $0 up"; }

build() {
  mkdir -p "$BIN" "$CACHE/images" "$CACHE/envtest"
  exec 9>"$CACHE/lock"; flock 9
  # Without the version the API server and the node call themselves v0.0.0-master+$Format.
  local x=k8s.io/component-base/version v=v$KUBERNETES_VERSION minor=${KUBERNETES_VERSION#*.} name package flags out going began
  local stamp="-X $x.gitVersion=$v -X $x.gitMajor=${v:1:1} -X $x.gitMinor=${minor%.*} -X $x.gitTreeState=clean -X $x.gitCommit=$v -X $x.buildDate=1970-01-01T00:00:00Z"
  for package in go.etcd.io/etcd/server/v3:server k8s.io/kubernetes/cmd/{kube-apiserver,kubectl,kube-controller-manager,kube-scheduler,kubelet,kube-proxy} ./dns:coredns; do
    name=${package##*[/:]}; out=$BIN/$name; package=${package%:*}
    [ -x "$out" ] && continue
    flags="-s -w $stamp"; [ "$name" = coredns ] && flags="-s -w"
    echo "building $name (the first ones take minutes)"
    (cd "$HERE/k8s" && exec go build -mod=mod -ldflags="$flags" -o "$out.part" "$package") & going=$! began=$SECONDS
    while kill -0 $going 2>/dev/null; do
      sleep 1
      [ $(((SECONDS - began) % 30)) != 0 ] || [ $SECONDS = $began ] || echo "  still building $name: $((SECONDS - began))s"
    done
    wait $going || fail "$name could not be built"
    mv "$out.part" "$out"
  done
  ln -sfn ../bin/server "$CACHE/envtest/etcd"
  for name in kube-apiserver kubectl; do ln -sfn "../bin/$name" "$CACHE/envtest/$name"; done
  if [ ! -s "$CACHE/images/pause.tar" ]; then
    gcc -Os -static -s -o "$CACHE/pause" "$HERE/pause/pause.c"
    (cd "$HERE/../images" && go run . -out "$CACHE/images" -pause "$CACHE/pause" pause)
  fi
  flock -u 9
}

make_cgroup() {
  local c f
  if [ "${CGROUP_ROOTS[0]}" = /sys/fs/cgroup ]; then
    for f in cpu cpuset memory pids io hugetlb; do echo "+$f" > /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true; done
  fi
  for c in "${CGROUP_ROOTS[@]}"; do
    mkdir -p "$c$CGROUP"
    for f in cpuset.cpus cpuset.mems; do
      if [ -f "$c/$f" ] && [ -f "$c$CGROUP/$f" ]; then cat "$c/$f" > "$c$CGROUP/$f" 2>/dev/null || true; fi
    done
  done
}

wait_for() { # SECONDS WHAT CMD...
  local until=$((SECONDS + $1)) what=$2; shift 2
  while [ $SECONDS -lt "$until" ]; do
    if "$@" >/dev/null 2>&1; then echo "  ${SECONDS}s $what"; return; fi
    first >/dev/null || break
    sleep .1
  done
  tail -n 15 "$RUN"/log/*.log "$RUN/node.log" >&2 || true
  fail "waited in vain for: $what (logs above and in $RUN/log)"
}
node_is() { kubectl get node "$NODE" -o "jsonpath=$1" | grep -qx "$2"; }

up() {
  if answers; then echo "cluster $CLUSTER_ID is up already: export KUBECONFIG=$RUN/admin.conf"; return; fi
  [ "$(id -u)" = 0 ] || fail "needs root: namespaces, mounts and cgroups"
  [ -n "$RUNC" ] && command -v containerd >/dev/null || fail "containerd or runc is missing: $0 packages"
  [[ $CLUSTER_ID =~ ^[a-z0-9]{1,10}$ ]] || fail "CLUSTER_ID must be 1 to 10 of a-z0-9"
  build
  down
  ip -o addr show | grep -qF " $HOST_IP/" && fail "$HOST_IP is in use, by another cluster? Set SLOT to a number below 250"
  mkdir -p "$RUN"; chmod 755 "$RUN"
  make_pki
  make_cgroup
  setsid unshare --net --mount --pid --uts --ipc --fork --kill-child --mount-proc --propagation private "$HERE/node.sh" >"$RUN/node.log" 2>&1 </dev/null &
  local outer=$! p=""
  for _ in $(seq 1200); do p=$(tr -d ' ' < "/proc/$outer/task/$outer/children" 2>/dev/null || true); [ -n "$p" ] && grep -qaz node.sh "/proc/$p/cmdline" && break; sleep .05; done
  [ -n "$p" ] || fail "no namespaces: $(cat "$RUN/node.log")"
  echo "$p" > "$RUN/first"; readlink "/proc/$p/ns/pid" > "$RUN/namespace"
  ip link add "$LINK" type veth peer name node0 netns "$p"
  ip addr add "$HOST_IP/30" dev "$LINK"; ip link set "$LINK" up
  wait_for 300 "the API server is ready" kubectl get --raw /readyz
  ip route replace "$POD_CIDR" via "$NODE_IP"; ip route replace "$SVC_CIDR" via "$NODE_IP"   # pods and services answer from here
  kubectl apply -f "$HERE/bootstrap.yaml" >/dev/null
  wait_for 300 "the node is ready" node_is '{.status.conditions[?(@.type=="Ready")].status}' True
  wait_for 300 "the node takes pods" node_is '{.metadata.name}/{.spec.taints}' "$NODE/"
  wait_for 300 "images are imported" test -s "$RUN/images.done"
  wait_for 300 "namespaces have accounts" kubectl -n default get serviceaccount default
  echo "cluster $CLUSTER_ID is up: export KUBECONFIG=$RUN/admin.conf"
}

# Killing the first process of the namespaces ends all others, pods' too; their mounts and links go with them.
down() {
  local p c left=0 ns
  ns=$(cat "$RUN/namespace" 2>/dev/null || true)
  if p=$(first); then
    kill -9 "$p"; for _ in $(seq 1200); do [ -e "/proc/$p" ] || break; sleep .05; done
  fi
  ip link del "$LINK" 2>/dev/null || true
  for c in "${CGROUP_ROOTS[@]}"; do
    for _ in $(seq 600); do [ -d "$c$CGROUP" ] || break; find "$c$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || sleep .1; done
    if [ -d "$c$CGROUP" ]; then echo "left: $c$CGROUP" >&2; left=1; fi
  done
  rm -rf --one-file-system "$RUN" || left=1
  if [ -e "$RUN" ]; then echo "left: $RUN" >&2; left=1; fi
  if grep -F " $RUN" /proc/self/mountinfo >&2; then echo "left: mounts" >&2; left=1; fi
  if ip link show "$LINK" >/dev/null 2>&1; then echo "left: link $LINK" >&2; left=1; fi
  if [ -n "$ns" ] && find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/pid' -lname "$(sed 's/[][]/\\&/g' <<<"$ns")" 2>/dev/null | grep . >&2; then echo "left: processes" >&2; left=1; fi
  return $left
}

# run lives in a process namespace of its own: were this script killed, the kernel would end everything in it.
run() {
  [ $# -gt 0 ] || { usage; exit 2; }
  if [ -n "${CLUSTER_INSIDE:-}" ]; then up; KUBECONFIG=$RUN/admin.conf "$@"; return; fi
  local rc=0
  CLUSTER_INSIDE=1 setpriv --pdeathsig KILL unshare --pid --mount --fork --kill-child --mount-proc "$0" run "$@" || rc=$?
  down || rc=1
  return $rc
}

digest_of() { tar -xOf "$1" index.json | grep -o '"digest":"[^"]*"' | head -n 1 | cut -d'"' -f4; }
name_of() { tar -xOf "$1" index.json | grep -o '"io.containerd.image.name":"[^"]*"' | cut -d'"' -f4; }

load() {
  need_up
  local f there
  there=$(enter ctr -n k8s.io images ls | awk '{print $1, $3}')
  for f; do
    if grep -qx "$(name_of "$f") $(digest_of "$f")" <<<"$there"; then continue; fi
    enter ctr -n k8s.io images import --digests=false - < "$f" || fail "$f cannot be imported"
  done
}

user() {
  need_up
  local name=$1; shift
  mkdir -p "$RUN/users"
  issue "$RUN/users/$name" "$name" "$(IFS=,; echo "$*")"
  kubeconfig "$RUN/users/$name.conf" "$RUN/users/$name"
  echo "$RUN/users/$name.conf"
}

enter() { nsenter -t "$(first)" -m -n -p -u -i -- "$@"; }

command=${1:-}; [ $# -eq 0 ] || shift
case $command in
packages | build | up | down | run | load | enter) "$command" "$@" ;;
user) [ $# -gt 0 ] || { usage; exit 2; }; user "$@" ;;
kubeconfig) echo "$RUN/admin.conf" ;;
"" | help | -h | --help) usage ;;
*) usage >&2; exit 2 ;;
esac
