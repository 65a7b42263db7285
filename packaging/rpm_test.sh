#!/bin/sh
# Install the RPM in a fresh system, let it work there, install it again, remove it. Needs root and debootstrap: the
# system is a Debian with rpm in it, which knows no dependencies of RPMs, so that files, scripts and modes are tried.
#
#   packaging/rpm_test.sh PACKAGE.rpm [ROOT]
#
# ROOT is a Debian that debootstrap has made before. SUITE and MIRROR choose another one.
set -eu

package=$1
root=${2:-}
# shellcheck source=packaging/fresh_debian.sh
. packaging/fresh_debian.sh

cp "$package" "$root/tmp/hookward.rpm"
quietly apt-get update
quietly apt-get install -y --no-install-recommends rpm python3
quietly rpm -i --nodeps /tmp/hookward.rpm

echo "installed:"
expect 'hookward version | grep -q uvloop'
expect 'getent passwd hookward | grep -q nologin'
expect 'test "$(stat -c "%U:%G %a" /etc/hookward)" = "root:hookward 750"'
expect 'test "$(stat -c "%U:%G %a" /etc/hookward/hookward.toml)" = "root:hookward 640"'
expect 'test "$(stat -c "%U:%G %a" /var/log/hookward)" = "hookward:hookward 750"'
expect 'hookward check /etc/hookward/hookward.toml --listen 127.0.0.1:0 | grep -q "Judged as the user hookward"'
expect 'su -s /bin/sh hookward -c "hookward demo" | grep -q "Every promise was kept"'
expect 'rpm -V --nodeps --nomtime hookward'

echo "installed again, over a configuration that was changed:"
inside sed -i '1i drain = "5s"' /etc/hookward/hookward.toml
quietly rpm -U --force --nodeps /tmp/hookward.rpm
expect 'grep -q drain /etc/hookward/hookward.toml && getent passwd hookward > /dev/null'

echo "removed:"
inside touch /etc/hookward/github.secret
quietly rpm -e hookward
expect 'test ! -e /usr/lib/hookward/proxy && test ! -e /usr/bin/hookward'
expect 'test -e /etc/hookward/github.secret && test -e /etc/hookward/hookward.toml.rpmsave'
