#!/bin/sh
# Install the package in a fresh Debian, let it work there, install it again, remove it, purge it. Needs root and
# debootstrap.
#
#   packaging/deb_test.sh PACKAGE.deb [ROOT]
#
# ROOT is a Debian that debootstrap has made before; it is left as it is, with the package purged. SUITE and MIRROR
# choose another one.
set -eu

package=$1
root=${2:-}
# shellcheck source=packaging/fresh_debian.sh
. packaging/fresh_debian.sh

cp "$package" "$root/tmp/hookward.deb"
quietly apt-get update
quietly apt-get install -y --no-install-recommends systemd-standalone-sysusers logrotate /tmp/hookward.deb

echo "installed:"
expect 'hookward version | grep -q uvloop'
expect 'getent passwd hookward | grep -q nologin'
expect 'test "$(stat -c "%U:%G %a" /etc/hookward)" = "root:hookward 750"'
expect 'su -s /bin/sh hookward -c "hookward check --config /etc/hookward/hookward.toml" | grep -q "Local only"'
expect '! su -s /bin/sh nobody -c "cat /etc/hookward/hookward.toml" 2> /dev/null'
expect 'su -s /bin/sh hookward -c "hookward demo --once" | grep -q "Every promise was kept"'
expect 'bash -c ". /usr/share/bash-completion/completions/hookward && complete -p hookward" | grep -q _hookward'
expect 'dpkg -L hookward | grep -q /man1/hookward.1.gz && dpkg -L hookward | grep -q /man5/hookward.toml.5.gz'
expect 'dpkg -L hookward | grep -q /system/hookward.service'
expect 'dpkg --verify hookward'
expect 'test -e /etc/logrotate.d/hookward && test -e /usr/share/doc/hookward/docs/monitoring/alerts.yml'
expect 'grep -q signature_mismatch /usr/share/doc/hookward/docs/log-reference.md'

echo "the first route, by root, for the service:"
inside sh -c 'cat >> /etc/hookward/hookward.toml' << 'TOML'
access_log = "/var/log/hookward/access.log"
[route.github]
path = "/hooks/github"
provider = "github"
secrets = ["file:/etc/hookward/github.secret"]
TOML
config=/etc/hookward/hookward.toml
inside sed -i 's/127.0.0.1:8080/127.0.0.1:0/' $config # the ports are those of the host
expect "! hookward check $config 2> /tmp/said && grep -q 'hookward gen-secret github --out /etc/hookward/github.secret' /tmp/said"
expect 'hookward gen-secret github --out /etc/hookward/github.secret'
expect 'test "$(stat -c "%U:%G %a" /etc/hookward/github.secret)" = "root:hookward 640"'
expect "hookward check $config | grep -q 'Judged as the user hookward'"
expect "runuser -u hookward -- hookward check --config $config --access-log off --listen 127.0.0.1:0 > /dev/null"
inside chown root:root /etc/hookward/github.secret
expect "! hookward check $config > /dev/null 2> /tmp/said && grep -q 'chown root:hookward' /tmp/said"
inside sh -c "$(inside sed -n 's/.*as root: //p' /tmp/said)"
expect "hookward check $config > /dev/null"
inside sed -i 's#/var/log/hookward/#/var/log/other/#' $config
expect "! hookward check $config > /dev/null 2> /tmp/said && grep -q 'add LogsDirectory=' /tmp/said"
inside sed -i 's#/var/log/other/#/var/log/hookward/#' $config

echo "its log is turned over, while no service runs:"
inside sh -c 'install -d -o hookward -g hookward -m 0750 /var/log/hookward'
inside runuser -u hookward -- sh -c 'echo a line > /var/log/hookward/access.log'
expect 'logrotate --force /etc/logrotate.d/hookward && test -s /var/log/hookward/access.log.1'

echo "installed again, over a configuration that was changed:"
inside sh -c 'sed -i "1i drain = \"5s\"" /etc/hookward/hookward.toml'
quietly dpkg -i /tmp/hookward.deb
expect 'grep -q drain /etc/hookward/hookward.toml'

echo "removed:"
quietly apt-get remove -y hookward
expect 'test ! -e /usr/lib/hookward && test ! -e /usr/bin/hookward && test -e /etc/hookward/hookward.toml'

echo "purged:"
quietly apt-get purge -y hookward
expect 'test ! -e /etc/hookward/hookward.toml && test -e /etc/hookward/github.secret'
inside rm -r /etc/hookward /tmp/hookward.deb /tmp/log /tmp/said
