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
