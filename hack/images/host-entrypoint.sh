#!/bin/sh
# Runs an SSH server and the service "orders", which SIGHUP restarts. /keys has the host's key and the public key of the
# authority whose users the server lets in.
mkdir -p /var/log/orders /srv/orders/uploads
orders() {
  n=17
  echo "orders begins" >> /var/log/orders/today.log
  while :; do echo "order $n paid with 4111 1111 1111 1111" >> /var/log/orders/today.log; n=$((n + 1)); sleep 5; done
}
orders & service=$!
trap 'kill $service; orders & service=$!' HUP
/usr/sbin/sshd -D -e -f /dev/null -p 2222 -h /keys/host -o TrustedUserCAKeys=/keys/ca.pub -o AuthorizedKeysFile=none \
  -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o UsePAM=no -o PidFile=none -o PrintMotd=no \
  -o 'Subsystem=sftp internal-sftp' & server=$!
while kill -0 $server 2>/dev/null; do wait $server; done
