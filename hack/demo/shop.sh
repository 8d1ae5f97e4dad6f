# Sourced by the demo and the end-to-end tests: what the shop runs by itself, before and without the gate.

# shop_manifest FILE prints a manifest with its images taken from REGISTRY, where it is set.
shop_manifest() { sed "s#image: localhost/#image: ${registry%/}/#" "$1"; }
registry=${REGISTRY:-localhost}

# shop_database makes the namespace shop with its PostgreSQL, whose certificate authority the gate is told of.
shop_database() {
  local tls=bin/demo/tls
  mkdir -p $tls
  run kubectl apply -f config/samples/postgres/00-namespaces.yaml
  kubectl -n shop delete deployment orders --ignore-not-found --wait --cascade=foreground >/dev/null   # it begins anew each time
  make_certificate $tls
  put shop secret generic orders-admin "--from-literal=password=$(openssl rand -hex 16)" "--from-literal=app-password=$(app_password)"
  put shop secret tls orders-tls --cert $tls/tls.crt --key $tls/tls.key
  put shop configmap orders-init --from-file=hack/demo/shop/init.sql
  put $GATE configmap orders-ca --from-file=$tls/ca.crt
  shop_manifest hack/demo/shop/database.yaml > bin/demo/database.yaml
  shop_manifest hack/demo/shop/report-agent.yaml > bin/demo/report-agent.yaml
  run kubectl apply -f bin/demo/database.yaml
  run kubectl -n shop rollout status deployment/orders --timeout=300s
}

# shop_host makes a host of the shop that trusts the gate's authority for it, and prints the samples of SSH as they
# are for that host into bin/demo/ssh.
shop_host() {
  local keys=bin/demo/keys
  rm -rf $keys bin/demo/ssh; mkdir -p $keys bin/demo/ssh
  ssh-keygen -q -t ed25519 -N '' -C '' -f $keys/ca
  ssh-keygen -q -t ed25519 -N '' -C '' -f $keys/host
  put shop secret generic orders-host-keys --from-file=$keys/host --from-file=$keys/ca.pub
  put $GATE secret generic orders-host-ca --type=kubernetes.io/ssh-auth --from-file=ssh-privatekey=$keys/ca
  kubectl -n $GATE label --overwrite secret orders-host-ca access.cardea.dev/target=orders-host >/dev/null
  for f in config/samples/ssh/*.yaml; do
    sed -e "s#hostKeys: .*#hostKeys: [\"$(cut -d' ' -f1,2 $keys/host.pub)\"]#" -e 's/port: 22$/port: 2222/' -e 's/systemctl status \*/ps/; s/systemctl restart orders/kill -HUP 1/; s/systemctl restart/kill/' "$f" > "bin/demo/ssh/${f##*/}"
  done
  shop_manifest hack/demo/shop/host.yaml > bin/demo/host.yaml
  kubectl -n shop delete deployment orders-host --ignore-not-found --wait --cascade=foreground >/dev/null
  run kubectl apply -f bin/demo/host.yaml
  run kubectl -n shop rollout status deployment/orders-host --timeout=300s
}

# put NAMESPACE KIND... makes an object or replaces what it says.
put() {
  local namespace=$1; shift
  kubectl -n "$namespace" create "$@" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
}

# app_password prints the password of the login that the samples give to the gate.
app_password() {
  kubectl create --dry-run=client -f config/samples/postgres/10-login.yaml -o 'jsonpath={.stringData.password}'
}

make_certificate() {
  local dir=$1
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ca.key"
  openssl req -x509 -new -key "$dir/ca.key" -sha256 -days 365 -subj "/CN=shop database CA" -out "$dir/ca.crt"
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/tls.key"
  openssl req -new -key "$dir/tls.key" -subj /CN=orders -out "$dir/tls.csr"
  openssl x509 -req -in "$dir/tls.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 365 -sha256 -out "$dir/tls.crt" \
    -extfile <(printf 'subjectAltName=DNS:orders.shop.svc\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n') 2>/dev/null
  rm "$dir/ca.key"
}
