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
if [ -z "$root" ]; then
    root=$(mktemp -d /tmp/hookward-deb.XXXXXX)
    chmod 0755 "$root" # mktemp closes it to all users but root
    trap 'rm -rf --one-file-system "$root"' EXIT
    debootstrap --variant=minbase "${SUITE:-bookworm}" "$root" ${MIRROR:+"$MIRROR"} > /dev/null
fi

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
quietly() { inside sh -c "$* > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }"; }
expect() { inside sh -c "$*" || { echo "FAILED: $*"; exit 1; }; echo "ok  $*"; }

cp "$package" "$root/tmp/hookward.deb"
quietly apt-get update
quietly apt-get install -y --no-install-recommends systemd-standalone-sysusers /tmp/hookward.deb

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

echo "installed again, over a configuration that was changed:"
inside sh -c 'echo "drain = \"5s\"" >> /etc/hookward/hookward.toml; touch /etc/hookward/github.secret'
quietly dpkg -i /tmp/hookward.deb
expect 'grep -q drain /etc/hookward/hookward.toml'

echo "removed:"
quietly apt-get remove -y hookward
expect 'test ! -e /usr/lib/hookward && test ! -e /usr/bin/hookward && test -e /etc/hookward/hookward.toml'

echo "purged:"
quietly apt-get purge -y hookward
expect 'test ! -e /etc/hookward/hookward.toml && test -e /etc/hookward/github.secret'
inside rm -r /etc/hookward /tmp/hookward.deb /tmp/log
