#!/bin/bash
# Shows the product at work on a real cluster: a grant opens PostgreSQL through the gate, values come back
# masked, commands are refused or wait for a person, everything is recorded, and revocation cuts at once.
# Without KUBECONFIG it starts the local cluster of hack/cluster.
set -Eeuo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/shop.sh"
began=$SECONDS
work=$(mktemp -d)
trap 'echo "demo: the last command failed (line $LINENO)" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

prepare() {
  step "Preparing: programs, images and a cluster"
  hack/preflight.sh
  # The proxy's C parser takes minutes on one core, when it is compiled for the first time: begin at once.
  go build github.com/pganalyze/pg_query_go/v6 >/dev/null 2>&1 &
  local parser=$!
  if [ -z "${KUBECONFIG:-}" ]; then
    LOCAL=1
    run hack/cluster/cluster.sh up
    KUBECONFIG=$(hack/cluster/cluster.sh kubeconfig); export KUBECONFIG
  fi
  wait $parser || true # what is wrong shows in the build itself
  run make --no-print-directory images
  kubectl version >/dev/null || fail "the cluster of KUBECONFIG=$KUBECONFIG does not answer"
}

install() {
  step "1. Install the operator"
  local where=config/default again=""
  if [ -n "${REGISTRY:-}" ]; then where=$(registry_overlay); fi
  if kubectl -n cardea-system get deployment cardea-operator >/dev/null 2>&1; then again=1; fi
  run kubectl apply --server-side -k "$where"
  if [ -n "$again" ]; then run kubectl -n cardea-system rollout restart deployment/cardea-operator; fi
  note "So that you need not wait five minutes at the end, a proxy with nothing to do is scaled to zero after 10 s:"
  run kubectl -n cardea-system set env deployment/cardea-operator CARDEA_PROXY_IDLE_TIMEOUT=10s
  run kubectl -n cardea-system rollout status deployment/cardea-operator --timeout=300s
}

# registry_overlay writes a kustomization that takes the images from REGISTRY and prints its folder.
registry_overlay() {
  mkdir -p bin/demo
  cat > bin/demo/kustomization.yaml <<K
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../config/default]
images: [{name: localhost/cardea-operator, newName: ${REGISTRY%/}/cardea-operator}]
patches:
- target: {kind: Deployment, name: cardea-operator}
  patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: cardea-operator, namespace: cardea-system}
    spec: {template: {spec: {containers: [{name: operator, env: [{name: CARDEA_PROXY_IMAGE, value: "${REGISTRY%/}/cardea-proxy:dev"}]}]}}}
K
  echo bin/demo
}

grant() {
  step "2. Grant the report agent one hour of the orders database"
  note "The namespace shop has a PostgreSQL of its own and agrees, by a label, that the gate namespace $GATE may deliver credentials into it."
  shop_database
  # A revoked grant stays revoked: one that an earlier demo left makes room, with its proxy, whose image may have
  # changed, and the agent, whose pod still holds the old credential.
  if kubectl -n $GATE get accessgrant report-agent >/dev/null 2>&1; then
    run kubectl -n $GATE delete accessgrant report-agent
    run kubectl -n $GATE delete pods --all --wait=false
    run kubectl -n shop delete deployment report-agent --ignore-not-found
  fi
  wait_for 120 "every node knows of the operator" kubectl apply --dry-run=server -f config/samples/postgres/ || true   # what is wrong shows in the next line
  run kubectl apply -f config/samples/postgres/
  wait_for 300 "the grant is ready" kubectl -n $GATE wait --for=condition=Ready accessgrant/report-agent --timeout=1s ||
    { kubectl -n $GATE get accessgrants,targets -o yaml; fail "the grant did not become ready; its conditions are above"; }
  run kubectl -n $GATE get accessgrants,targets,pods
  note "The credential lies in a Secret of the agent's namespace, and expires with the grant:"
  run kubectl -n shop get secret cardea-report-agent
  run kubectl apply -f bin/demo/report-agent.yaml
  run kubectl -n shop rollout status deployment/report-agent --timeout=300s
  wait_for 120 "every node knows of the gate" agent "SELECT 1" || true
}

psql_command() { printf 'uri=$(cat /var/run/cardea/uri); psql "$uri"'; printf ' -c "%s"' "$@"; }
agent() { kubectl -n shop exec deploy/report-agent -- sh -c "$(psql_command "$@")"; }
show_agent() { show kubectl -n shop exec deploy/report-agent -- sh -c "$(psql_command "$@")"; }

use() {
  step "3. Use it: an ordinary psql in the agent's pod"
  note "One session: masked values, a refused command with the rule's name, and the session lives on."
  show_agent "SELECT * FROM customers" "DROP DATABASE orders" "SELECT id, item, amount FROM orders"
  agent "SELECT * FROM customers" "DROP DATABASE orders" "SELECT id, item, amount FROM orders" 2>&1 | tee "$work/masked" | sed 's/^/    /'
  for secret in ada@example.com 078-05-1120; do
    if grep -q "$secret" "$work/masked"; then fail "$secret came back unmasked"; fi
  done

  note "A DELETE without WHERE waits for a person:"
  show_agent "DELETE FROM orders"
  agent "DELETE FROM orders" >"$work/delete" 2>&1 &
  local psql=$!
  wait_for 120 "psql shows the request's name" request_in "$work/delete" || { cat "$work/delete"; fail "no approval request was made"; }
  local request; request=$(request_in "$work/delete")
  sed 's/^/    /' "$work/delete"
  run kubectl -n $GATE get approvalrequests
  note "Dana, of the group dba, approves:"
  approver
  run "${as_dana[@]}" patch apreq "$request" -n $GATE --subresource=status --type=merge -p '{"status":{"decisions":[{"decision":"Approved","comment":"ok"}]}}'
  wait_for 120 "psql returns" eval "! kill -0 $psql" || fail "psql still waits"
  wait $psql || true
  sed 's/^/    /' "$work/delete"
  grep -q "^DELETE 4" "$work/delete" || fail "the delete did not go through"
  note "The approval was good for once. The table is empty:"
  run kubectl -n $GATE get approvalrequests
  show_agent "SELECT id, item, amount FROM orders"
  agent "SELECT id, item, amount FROM orders" 2>&1 | sed 's/^/    /'
}

# request_in prints the name of the ApprovalRequest that a file mentions.
request_in() {
  local name
  for name in $(kubectl -n $GATE get approvalrequests -o jsonpath='{.items[*].metadata.name}'); do
    if grep -qw "$name" "$1"; then echo "$name"; return; fi
  done
  return 1
}

# approver sets as_dana to a kubectl that acts as Dana of the group dba.
approver() {
  if [ -n "${LOCAL:-}" ]; then
    as_dana=(kubectl --kubeconfig "$(hack/cluster/cluster.sh user dana dba)")
  else
    as_dana=(kubectl --as=dana --as-group=dba)
  fi
}

cluster() {
  step "4. The same for kubectl: an hour of the namespace shop, on this very cluster"
  if kubectl -n $GATE get accessgrant cluster-agent >/dev/null 2>&1; then run kubectl -n $GATE delete accessgrant cluster-agent; fi
  run kubectl apply -f config/samples/kubernetes/
  wait_for 300 "the grant is ready" kubectl -n $GATE wait --for=condition=Ready accessgrant/cluster-agent --timeout=1s ||
    { kubectl -n $GATE get accessgrant cluster-agent -o yaml; fail "the grant did not become ready; its conditions are above"; }
  run kubectl -n $GATE rollout status deployment/cardea-proxy --timeout=300s
  note "The Secret holds a kubeconfig for pods of the shop. From here the gate is reached by a forwarded port:"
  kubectl -n shop get secret cardea-cluster-agent -o go-template='{{.data.kubeconfig | base64decode}}' > "$work/kubeconfig"
  chmod 600 "$work/kubeconfig"
  show kubectl -n $GATE port-forward service/cardea-proxy :6443
  kubectl -n $GATE port-forward service/cardea-proxy :6443 > "$work/forwarded" 2>&1 &
  wait_for 60 "the port is forwarded" grep -q '^Forwarding from 127' "$work/forwarded" || { cat "$work/forwarded"; fail "the port was not forwarded"; }
  kubectl --kubeconfig "$work/kubeconfig" config set-cluster $GATE/cluster-agent --tls-server-name=cardea-proxy.$GATE.svc \
    --server="https://$(sed -n 's/^Forwarding from \(127[^ ]*\) .*/\1/p' "$work/forwarded")" >/dev/null
  wait_for 120 "every part knows of the grant" as_agent get pods || true   # what is wrong shows in the next line
  as_agent_shown auth whoami
  as_agent_shown get pods
  note "Secrets are masked, and a command is understood, in whatever shell it is wrapped:"
  as_agent_shown get secret orders-admin -o 'jsonpath={.data}'; echo
  if as_agent get secret orders-admin -o yaml | grep -q "$(kubectl -n shop get secret orders-admin -o 'jsonpath={.data.password}')"; then fail "a Secret came back unmasked"; fi
  as_agent_shown exec deployment/orders -- sh -c 'id; cat /etc/os-release; rm -rf /var/lib' || true
  note "A shell in a terminal is gated: each line is decided on before it runs."
  show kubectl exec -it deployment/orders -- sh
  { wait_shown ' \$ '; printf 'id\r'; wait_shown 'uid='; printf 'cd /etc; ls | rm -rf /var/lib\r'; wait_shown 'CDA-2001'; printf 'exit\r'; sleep 1; } |
    timeout 120 script -qec "kubectl --kubeconfig $work/kubeconfig exec -it deployment/orders -- sh" /dev/null > "$work/shell" 2>&1 || true
  tr -d '\r' < "$work/shell" | sed 's/^/    /'
  grep -q 'CDA-2001' "$work/shell" || fail "the shell was not gated"
  run kubectl patch agrant cluster-agent -n $GATE --type=merge -p '{"spec":{"desiredState":"Revoked"}}'
  wait_for 120 "nothing is left of its rights" eval '[ -z "$(kubectl -n shop get rolebindings -l access.cardea.dev/grant -o name)" ]' || fail "the grant's RoleBinding is still there"
  as_agent_shown get pods || true
}

# as_agent is kubectl with the grant's kubeconfig.
as_agent() { kubectl --kubeconfig "$work/kubeconfig" "$@"; }
as_agent_shown() { show kubectl "$@"; as_agent "$@" 2>&1 | sed -u 's/^/    /'; }
wait_shown() { local i; for i in $(seq 600); do if grep -q "$1" "$work/shell" 2>/dev/null; then return; fi; sleep .1; done; }

host() {
  step "5. The same for ssh: an hour on a host of the shop"
  if kubectl -n $GATE get accessgrant host-agent >/dev/null 2>&1; then run kubectl -n $GATE delete accessgrant host-agent; fi
  shop_host
  run kubectl apply -f bin/demo/ssh/
  wait_for 300 "the grant is ready" kubectl -n $GATE wait --for=condition=Ready accessgrant/host-agent --timeout=1s ||
    { kubectl -n $GATE get accessgrant host-agent -o yaml; fail "the grant did not become ready; its conditions are above"; }
  run kubectl -n $GATE rollout status deployment/cardea-proxy --timeout=300s
  note "The Secret holds a key with a certificate, and all that ssh needs to know. From here the gate is reached by a forwarded port:"
  mkdir -p "$work/ssh"
  for key in config known_hosts id_ed25519 id_ed25519-cert.pub; do
    kubectl -n shop get secret cardea-host-agent -o go-template="{{index .data \"$key\" | base64decode}}" | sed "s#/var/run/cardea#$work/ssh#" > "$work/ssh/$key"
  done
  chmod 600 "$work"/ssh/*
  show kubectl -n $GATE port-forward service/cardea-proxy :2222
  kubectl -n $GATE port-forward service/cardea-proxy :2222 > "$work/forwarded-ssh" 2>&1 &
  wait_for 60 "the port is forwarded" grep -q '^Forwarding from 127' "$work/forwarded-ssh" || { cat "$work/forwarded-ssh"; fail "the port was not forwarded"; }
  wait_for 120 "every part knows of the grant" on_host id || true   # what is wrong shows in the next line
  note "What the host prints is masked, and a command is understood, in whatever it is wrapped:"
  on_host_shown tail -n 2 /var/log/orders/today.log
  if on_host tail /var/log/orders/today.log | grep -q 4111; then fail "a card number came back unmasked"; fi
  on_host_shown 'cd /srv; ls | xargs rm -rf' || true
  note "Files are written in one folder alone; a restart waits for a person:"
  show scp README.md orders-host:/etc/
  scp -q -F "$work/ssh/config" "${forwarded[@]}" README.md orders-host:/etc/ 2>&1 | sed 's/^/    /' || true
  show ssh orders-host kill -HUP 1
  on_host kill -HUP 1 >"$work/restart" 2>&1 &
  local ssh=$!
  wait_for 120 "ssh shows the request's name" request_in "$work/restart" || { cat "$work/restart"; fail "no approval request was made"; }
  approver
  run "${as_dana[@]}" patch apreq "$(request_in "$work/restart")" -n $GATE --subresource=status --type=merge -p '{"status":{"decisions":[{"decision":"Approved","comment":"ok"}]}}'
  wait $ssh || { cat "$work/restart"; fail "the restart did not go through"; }
  sed 's/^/    /' "$work/restart"
  note "All of it is in the recording:"
  local session
  session=$(kubectl -n $GATE get sessions.access.cardea.dev -o jsonpath='{.items[?(@.spec.grantRef.name=="host-agent")].metadata.name}')
  wait_for 120 "the recording is stored" eval "kubectl access replay ${session##* } -n $GATE | grep -q 'kill -HUP'" || true
  run kubectl access replay "${session##* }" -n $GATE
  run kubectl patch agrant host-agent -n $GATE --type=merge -p '{"spec":{"desiredState":"Revoked"}}'
}

# on_host is ssh with the grant's files.
on_host() {
  forwarded=(-o HostName=127.0.0.1 -o "HostKeyAlias=cardea-proxy.$GATE.svc" -o "Port=$(sed -n 's/^Forwarding from 127[^:]*:\([0-9]*\) .*/\1/p' "$work/forwarded-ssh")")
  ssh -F "$work/ssh/config" "${forwarded[@]}" orders-host "$@"
}
on_host_shown() { show ssh orders-host "$@"; on_host "$@" 2>&1 | sed -u 's/^/    /'; }

audit() {
  step "6. See what happened"
  run kubectl -n $GATE get cardea
  run kubectl access sessions -n $GATE
  local grant session
  grant=$(kubectl -n $GATE get accessgrant report-agent -o jsonpath='{.metadata.uid}')
  session=$(kubectl -n $GATE get sessions.access.cardea.dev -o jsonpath="{.items[?(@.spec.grantRef.uid==\"$grant\")].metadata.name}")
  session=${session%% *}
  wait_for 120 "the recording is stored" kubectl access replay "$session" -n $GATE || true
  run kubectl access replay "$session" -n $GATE
}

revoke() {
  step "7. Revoke the database, in the middle of a session"
  local query='SELECT id, name FROM customers'
  show kubectl -n shop exec deploy/report-agent -- sh -c "uri=\$(cat /var/run/cardea/uri); echo '$query \\watch 0.1' | psql \"\$uri\""
  { kubectl -n shop exec deploy/report-agent -- sh -c "uri=\$(cat /var/run/cardea/uri); echo '$query \\watch 0.1' | psql \"\$uri\"" >"$work/open" 2>&1 || true; milliseconds >"$work/cut"; } &
  local psql=$! written
  wait_for 120 "psql shows rows" grep -q Ada "$work/open" || { cat "$work/open"; fail "psql could not read"; }
  run kubectl patch agrant report-agent -n $GATE --type=merge -p '{"spec":{"desiredState":"Revoked"}}'
  written=$(milliseconds)
  wait_for 120 "psql ends" test -s "$work/cut" || fail "psql was not cut"
  wait $psql || true
  note "psql ended $(($(cat "$work/cut") - written)) ms after kubectl returned, with:"
  sed -n '/CDA-/,$p' "$work/open" | sed 's/^/    /'
  grep -q CDA- "$work/open" || fail "psql was not told why"
  wait_for 120 "the credential is gone" eval "! kubectl -n shop get secret cardea-report-agent" || fail "the Secret is still there"
  run kubectl -n shop get secret cardea-report-agent || true
  run kubectl -n $GATE get accessgrants
  wait_for 180 "the proxy is scaled to zero" test_replicas 0 || fail "the proxy still runs"
  run kubectl -n $GATE get deployment,pods
}

test_replicas() { [ "$(kubectl -n $GATE get deployment cardea-proxy -o jsonpath='{.spec.replicas}')" = "$1" ]; }

prepare
install
grant
use
cluster
host
audit
revoke

step "Done in $((SECONDS - began)) s. The cluster is yours:"
echo "    export KUBECONFIG=$KUBECONFIG PATH=$ROOT/bin:$KUBERNETES_CACHE/bin:\$PATH"
echo "    kubectl get cardea -A"
echo "and make demo-down removes everything that this made."
