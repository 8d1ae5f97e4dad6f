# Sourced by cluster.sh and node.sh: names, addresses and places, each of which the environment may set.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/../env.sh"
CLUSTER_ID=${CLUSTER_ID:-cardea}                 # names the state directory, the cgroup and the link
RUN=${CLUSTER_RUN:-${TMPDIR:-/tmp}/cardea-cluster-$CLUSTER_ID}
CACHE=${CLUSTER_CACHE:-$KUBERNETES_CACHE}
BIN=$CACHE/bin
NODE=node-$CLUSTER_ID
LINK=k8s-$CLUSTER_ID
CGROUP=/k8s-$CLUSTER_ID
PROXY_MODE=${PROXY_MODE:-nftables}               # or iptables

# Addresses follow from the ID, so that two clusters rarely meet; SLOT=N settles it when they do.
SLOT=${SLOT:-$(($(cksum <<<"$CLUSTER_ID" | cut -d' ' -f1) % 250))}
HOST_IP=10.77.$SLOT.1 NODE_IP=10.77.$SLOT.2
POD_CIDR=10.78.$SLOT.0/24 SVC_CIDR=10.79.$SLOT.0/24 API_IP=10.79.$SLOT.1

CNI_BIN=${CNI_BIN:-/usr/lib/cni}
RUNC=${RUNC:-$(command -v runc || true)}
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
  CGROUP_ROOTS=(/sys/fs/cgroup)
else
  CGROUP_ROOTS=(/sys/fs/cgroup/*/); CGROUP_ROOTS=("${CGROUP_ROOTS[@]%/}")
fi
export CLUSTER_ID CLUSTER_RUN=$RUN CLUSTER_CACHE=$CACHE SLOT PROXY_MODE CNI_BIN RUNC
