#!/bin/sh
# Let a real systemd run the units: one that is started as the first process of a fresh Debian, in namespaces of its own.
# Nothing of the host is seen from there but the folder of the report, and of that Debian nothing is changed by it. Needs
# root, debootstrap and systemd-nspawn (Debian: systemd-container).
#
#   packaging/systemd_test.sh PACKAGE.deb [ROOT]
#
# ROOT is a Debian with systemd that debootstrap has made before; the package is installed in it. SUITE and MIRROR choose
# another one: bookworm has systemd 252, which knows no Type=notify-reload, trixie has 257.
set -eu

package=$1
root=${2:-}
work=$(mktemp -d /tmp/hookward-systemd.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
if [ -z "$root" ]; then
    root=$work/root
    mkdir -m 0755 "$root"
    chmod 0755 "$work"
    debootstrap --variant=minbase --include=systemd,systemd-sysv "${SUITE:-trixie}" "$root" ${MIRROR:+"$MIRROR"} > /dev/null
fi

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
quietly() { inside sh -c "$* > /root/log 2>&1 || { cat /root/log; exit 1; }"; }

cp "$package" "$root/root/hookward.deb"
quietly apt-get update
quietly apt-get install -y --reinstall --no-install-recommends curl openssl /root/hookward.deb
install -m 0755 packaging/systemd_trial.sh "$root/usr/local/bin/systemd-trial"
cat > "$root/etc/systemd/system/trial.service" << 'UNIT'
[Unit]
Description=What systemd_trial.sh does; systemd ends with it
Requires=basic.target
After=basic.target
SuccessAction=exit
FailureAction=exit
FailureActionExitStatus=1

[Service]
Type=oneshot
ExecStart=/usr/local/bin/systemd-trial
StandardOutput=file:/report/log
StandardError=inherit
TimeoutStartSec=150
UNIT

# A host without systemd can neither register the container nor give it a unit of its own.
[ -d /run/systemd/system ] || set -- --keep-unit
[ "${1:-}" = --keep-unit ] || set --
mkdir "$work/report"
code=0
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout --kill-after=10 180 systemd-nspawn --quiet --directory="$root" \
    --volatile=overlay --private-network --register=no "$@" --console=pipe --bind="$work/report:/report" \
    --boot systemd.unit=trial.service > "$work/console" 2>&1 < /dev/null || code=$?
cat "$work/report/log" 2> /dev/null || cat "$work/console"
exit "$code"
