#!/bin/bash
# The first process of the cluster's own network, mount, process, host name and IPC namespaces: it lays out
# mounts and network, starts everything and holds it. When it is killed the kernel ends all of it.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$RUN"/{log,etcd,kubelet,containerd,varlog,cni-state,cni-conf,sysctl}

mount --make-rshared /      # unshare made it private from the host; kubelet's volumes propagate inside
hostname "$NODE"
mount -t tmpfs -o mode=755 run /run; mkdir -p /run/lock
mkdir -p /var/lib/kubelet /var/lib/cni
mount --bind "$RUN/varlog" /var/log
mount --bind "$RUN/kubelet" /var/lib/kubelet; mount --make-rshared /var/lib/kubelet
mount --bind "$RUN/cni-state" /var/lib/cni
# kubelet sets these, and they are not namespaced: it gets files to write to instead of the host's settings.
for s in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  f=$RUN/sysctl/${s//\//_}; cat "/proc/sys/$s" > "$f"; mount --bind "$f" "/proc/sys/$s"
done

ip link set lo up
for _ in $(seq 1200); do ip link show node0 >/dev/null 2>&1 && break; sleep .05; done
ip addr add "$NODE_IP/30" dev node0; ip link set node0 up; ip route add default via "$HOST_IP"
echo 1 > /proc/sys/net/ipv4/ip_forward
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi
ulimit -n "$(ulimit -Hn)"

# An overlay cannot lie on an overlay, as it would where the machine itself is a container.
snapshotter=overlayfs
case $(stat -fc %T "$RUN") in overlayfs | UNKNOWN*794c7630*) snapshotter=native ;; esac
cat > "$RUN/containerd.toml" <<C
version = 2
root = "$RUN/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$CNI_BIN"
    conf_dir = "$RUN/cni-conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$RUNC"
        SystemdCgroup = false
C
cat > "$RUN/cni-conf/10-bridge.conflist" <<C
{"cniVersion": "1.0.0", "name": "k8s", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "/var/lib/cni/networks", "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
echo "nameserver $NODE_IP" > "$RUN/resolv.conf"
cat > "$RUN/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: $CGROUP
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/kubelet-serving.crt
tlsPrivateKeyFile: $RUN/pki/kubelet-serving.key
clusterDomain: cluster.local
clusterDNS: [$NODE_IP]
resolvConf: $RUN/resolv.conf
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
volumePluginDir: $RUN/volume-plugins
oomScoreAdj: 0
nodeStatusUpdateFrequency: 5s
podLogsDir: $RUN/varlog/pods
C
cat > "$RUN/kube-proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $RUN/kube-proxy.conf}
mode: $PROXY_MODE
clusterCIDR: $POD_CIDR
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
hostnameOverride: $NODE
oomScoreAdj: 0
nodePortAddresses: [primary]
C
cat > "$RUN/Corefile" <<C
.:53 {
  bind $NODE_IP
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $RUN/coredns.conf
    pods insecure
    ttl 1
  }
  cache 1
}
C

start() { local name=$1; shift; "$@" >"$RUN/log/$name.log" 2>&1 </dev/null & echo "started $name $!"; }
export KUBECONFIG=$RUN/admin.conf
P=$RUN/pki
start etcd "$BIN/server" --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
start containerd containerd -c "$RUN/containerd.toml" -l info
start kube-apiserver "$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --secure-port 6443 --advertise-address "$NODE_IP" \
  --tls-cert-file "$P/apiserver.crt" --tls-private-key-file "$P/apiserver.key" --client-ca-file "$P/ca.crt" \
  --kubelet-client-certificate "$P/apiserver-kubelet-client.crt" --kubelet-client-key "$P/apiserver-kubelet-client.key" \
  --kubelet-certificate-authority "$P/ca.crt" --kubelet-preferred-address-types InternalIP \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$P/sa.pub" --service-account-signing-key-file "$P/sa.key" \
  --requestheader-client-ca-file "$P/ca.crt" --requestheader-allowed-names front-proxy-client \
  --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
  --proxy-client-cert-file "$P/front-proxy-client.crt" --proxy-client-key-file "$P/front-proxy-client.key" \
  --service-cluster-ip-range "$SVC_CIDR" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged
for _ in $(seq 3000); do ctr version >/dev/null 2>&1 && break; sleep .1; done
( for f in "$CACHE"/images/*.tar; do ctr -n k8s.io images import "$f" || exit 1; done; echo ok > "$RUN/images.done" ) &
for _ in $(seq 3000); do "$BIN/kubectl" get --raw /readyz >/dev/null 2>&1 && break; sleep .1; done
start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$RUN/controller-manager.conf" --leader-elect=false --bind-address 127.0.0.1 \
  --node-monitor-period 1s --kube-api-qps 500 --kube-api-burst 1000 --use-service-account-credentials \
  --service-account-private-key-file "$P/sa.key" --root-ca-file "$P/ca.crt" \
  --cluster-signing-cert-file "$P/ca.crt" --cluster-signing-key-file "$P/ca.key" --cluster-cidr "$POD_CIDR"
start kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$RUN/scheduler.conf" --leader-elect=false --kube-api-qps 500 --kube-api-burst 1000 --bind-address 127.0.0.1
start kubelet "$BIN/kubelet" --config "$RUN/kubelet.yaml" --kubeconfig "$RUN/kubelet.conf" --node-ip "$NODE_IP" --hostname-override "$NODE" --v 2
start kube-proxy "$BIN/kube-proxy" --config "$RUN/kube-proxy.yaml"
start coredns "$BIN/coredns" -conf "$RUN/Corefile"
trap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM INT
while :; do wait -n || true; sleep 1; done
