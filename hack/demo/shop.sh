# Sourced by the demo and the end-to-end tests: what the shop runs by itself, before and without the gate.

# shop_manifest FILE prints a manifest with its images taken from REGISTRY, where it is set.
shop_manifest() { sed "s#image: localhost/#image: ${registry%/}/#" "$1"; }
registry=${REGISTRY:-localhost}

# shop_database makes the namespace shop with its PostgreSQL, whose certificate authority the gate is told of.
shop_database() {
  local tls=bin/demo/tls
  mkdir -p $tls
  run kubectl apply -f config/samples/postgres/00-namespaces.yaml
  if ! kubectl -n shop get deployment orders >/dev/null 2>&1; then
    make_certificate $tls
    secret generic orders-admin "--from-literal=password=$(openssl rand -hex 16)" "--from-literal=app-password=$(app_password)"
    secret tls orders-tls --cert $tls/tls.crt --key $tls/tls.key
    kubectl -n shop create configmap orders-init --from-file=hack/demo/shop/init.sql --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    kubectl -n shop create configmap orders-ca --from-file=ca.crt=$tls/ca.crt --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  fi
  shop_manifest hack/demo/shop/database.yaml > bin/demo/database.yaml
  shop_manifest hack/demo/shop/report-agent.yaml > bin/demo/report-agent.yaml
  run kubectl apply -f bin/demo/database.yaml
  run kubectl -n shop rollout status deployment/orders --timeout=90s
  kubectl -n shop get configmap orders-ca -o 'jsonpath={.data.ca\.crt}' > $tls/given.crt
  kubectl -n $GATE create configmap orders-ca --from-file=ca.crt=$tls/given.crt --dry-run=client -o yaml | kubectl apply -f - >/dev/null
}

secret() {
  kubectl -n shop create secret "$@" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
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
