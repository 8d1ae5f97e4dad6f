# Sourced by cluster.sh: the cluster's certificate authority, its certificates and kubeconfigs.
PKI=$RUN/pki

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# issue FILE COMMON-NAME ORGANISATIONS(comma separated) SUBJECT-ALT-NAMES
issue() {
  local file=$1 subject="" org
  for org in ${3//,/ }; do subject+="/O=$org"; done
  new_key "$file.key"
  openssl req -new -key "$file.key" -subj "$subject/CN=$2" -out "$file.csr" 2>/dev/null
  openssl x509 -req -in "$file.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 30 -sha256 -out "$file.crt" -extfile <(
    printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n%s\n' "${4:+subjectAltName=$4}") 2>/dev/null
  rm "$file.csr"
}

# kubeconfig FILE CERTIFICATE: signs in with CERTIFICATE.crt and CERTIFICATE.key
kubeconfig() {
  (umask 077; cat > "$1") <<K
apiVersion: v1
kind: Config
clusters: [{name: cardea-local, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: me, user: {client-certificate-data: $(base64 -w0 "$2.crt"), client-key-data: $(base64 -w0 "$2.key")}}]
contexts: [{name: cardea-local, context: {cluster: cardea-local, user: me}}]
current-context: cardea-local
K
}

make_pki() {
  mkdir -p "$PKI"; chmod 700 "$PKI"
  new_key "$PKI/ca.key"
  openssl req -x509 -new -key "$PKI/ca.key" -sha256 -days 30 -subj /CN=k8s-ca -out "$PKI/ca.crt" 2>/dev/null
  issue "$PKI/apiserver" kube-apiserver "" "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$API_IP"
  issue "$PKI/kubelet-serving" "system:node:$NODE" system:nodes "DNS:$NODE,IP:$NODE_IP,IP:127.0.0.1"
  issue "$PKI/apiserver-kubelet-client" kube-apiserver-kubelet-client system:masters
  issue "$PKI/front-proxy-client" front-proxy-client ""
  issue "$PKI/admin" admin system:masters
  issue "$PKI/kubelet" "system:node:$NODE" system:nodes
  issue "$PKI/controller-manager" system:kube-controller-manager ""
  issue "$PKI/scheduler" system:kube-scheduler ""
  issue "$PKI/kube-proxy" system:kube-proxy ""
  issue "$PKI/coredns" system:coredns ""
  local user
  for user in admin kubelet controller-manager scheduler kube-proxy coredns; do kubeconfig "$RUN/$user.conf" "$PKI/$user"; done
  new_key "$PKI/sa.key"
  openssl ec -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
}
